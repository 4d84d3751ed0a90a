// The figures over threads.
#include <algorithm>
#include <cmath>

#include "bench/html_report_figures.h"
#include "bench/plot_bars.h"
#include "bench/plot_line.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

constexpr size_t kMostLines = kStyles - 1;  // grey is for the limits

std::vector<std::string> Split(const std::string& shape) {
  std::vector<std::string> parts(1);
  for (const char c : shape) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

struct ShapeNames {
  std::string meaning;             // "heads/len" of a name like "12/1024"; "" where names say it
  std::vector<std::string> names;  // as the shapes
};

// Whether each part is "key:value" with the key that stands at its place in all shapes.
bool KeysAlike(const std::vector<std::vector<std::string>>& all) {
  const auto key_of = [](const std::string& part) { return part.substr(0, part.find(':')); };
  for (const auto& parts : all) {
    if (parts.size() != all.front().size()) return false;
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool has_key = parts[i].find(':') != std::string::npos;
      if (!has_key || key_of(parts[i]) != key_of(all.front()[i])) return false;
    }
  }
  return true;
}

// Names as short as the end of a line has room for: the parts that not all shapes have, and of those
// the values where the keys are the same.
ShapeNames ShortNames(const std::vector<std::string>& shapes) {
  std::vector<std::vector<std::string>> all;
  for (const std::string& shape : shapes) all.push_back(Split(shape));
  const bool values = KeysAlike(all);
  ShapeNames result;
  const auto add = [](const std::string& part, std::string* to) {
    *to += (to->empty() ? "" : "/") + part;
  };
  for (const auto& parts : all) {
    result.names.emplace_back();
    for (const std::string& part : parts) {
      const bool common = std::all_of(all.begin(), all.end(), [&](const auto& other) {
        return std::find(other.begin(), other.end(), part) != other.end();
      });
      if (common && all.size() > 1) continue;
      const size_t colon = part.find(':');
      add(values ? part.substr(colon + 1) : part, &result.names.back());
      if (values && result.names.size() == 1) add(part.substr(0, colon), &result.meaning);
    }
  }
  return result;
}

// heed's best runs of one shape, by threads.
struct Runs {
  std::string shape;
  std::vector<const Entry*> entries;

  double speedup(const Entry& entry) const {
    return best_seconds(*entries.front()) / best_seconds(entry);
  }
};

std::vector<Runs> RunsOf(const Results& results, const std::string& operation) {
  std::vector<Runs> all;
  for (const std::string& shape : shapes_of(results, operation)) {
    Runs runs{shape, {}};
    for (const size_t threads : threads_of(results)) {
      const Entry* entry = find_entry(results, operation, shape, threads, "heed");
      if (entry != nullptr && has_time(*entry)) runs.entries.push_back(entry);
    }
    if (runs.entries.size() >= 2) all.push_back(std::move(runs));
  }
  return all;
}

double PeakOf(const Limits& limits) { return limits.flops; }

constexpr struct {
  const char* name;
  double (*limit)(const Limits&);
} kLimits[] = {{"fma peak", &PeakOf}, {"memory", &memory_bandwidth}};

// How many times as much a limit is with so many threads; 0: not known.
double GrowthOf(const Results& results, size_t from, size_t to, double (*limit)(const Limits&)) {
  const Limits* few = limits_of(results, from);
  const Limits* many = limits_of(results, to);
  return few == nullptr || many == nullptr || !(limit(*few) > 0) ? 0 : limit(*many) / limit(*few);
}

// "matmul: 1.24x to 2.03x as fast with 2 threads (heads/len)": of those with the most threads.
std::string ScalingTitle(const std::string& operation, const std::vector<Runs>& all) {
  size_t most = 0;
  for (const Runs& runs : all) most = std::max(most, runs.entries.back()->threads);
  double low = INFINITY, high = 0;
  for (const Runs& runs : all) {
    if (runs.entries.back()->threads != most) continue;
    const double speedup = runs.speedup(*runs.entries.back());
    low = std::min(low, speedup);
    high = std::max(high, speedup);
  }
  const std::string first = times_text(low), last = times_text(high);
  return operation + ": " + (first == last ? first : first + " to " + last) + " as fast with " +
         threads_text(most);
}

// Two numbers of threads are no line: a bar is how many times as fast the more are.
Figure SpeedupBars(const Results& results, const std::string& operation,
                   const std::vector<Runs>& all, const ShapeNames& names) {
  BarPlot plot;
  plot.title = ScalingTitle(operation, all);
  plot.description = "Bars: how many times as fast, by shape.";
  plot.axis = "times as fast" + (names.meaning.empty() ? "" : ", by " + names.meaning);
  plot.tick_text = tick_text;
  plot.groups.emplace_back();
  const size_t from = all.front().entries.front()->threads;
  const size_t to = all.front().entries.back()->threads;
  for (size_t i = 0; i < all.size(); ++i) {
    const Entry& entry = *all[i].entries.back();
    plot.groups[0].bars.push_back({names.names[i], 0, all[i].speedup(entry),
                                   times_text(all[i].speedup(entry)), tooltip_of(entry)});
  }
  for (const auto& [name, limit] : kLimits) {
    const double growth = GrowthOf(results, from, to, limit);
    if (growth > 0)
      plot.groups[0].bars.push_back({name, kPlainStyle, growth, times_text(growth), ""});
  }
  plot.full = static_cast<double>(to) / static_cast<double>(from);
  return {plot.title, bar_plot(plot)};
}

Figure EfficiencyLines(const Results& results, const std::string& operation,
                       const std::vector<Runs>& all, const ShapeNames& names) {
  LinePlot plot;
  plot.title = ScalingTitle(operation, all);
  if (all.size() > kMostLines) {
    plot.title +=
        "; lines: " + std::to_string(kMostLines) + " of " + std::to_string(all.size()) + " shapes";
  }
  plot.description = "Lines: speed per thread, beside that with the fewest, by shape.";
  plot.x_name = names.meaning.empty() ? "threads" : "threads; lines: " + names.meaning;
  plot.y_name = "speed per thread";
  plot.y_text = [](double tick) { return tick_text(tick * 100) + "%"; };
  for (size_t i = 0; i < std::min(all.size(), kMostLines); ++i) {
    Series series{names.names[i], i < kPlainStyle ? i : i + 1, {}, false};
    const double base = static_cast<double>(all[i].entries.front()->threads);
    for (const Entry* entry : all[i].entries) {
      const double threads = static_cast<double>(entry->threads);
      series.points.push_back(
          {threads, all[i].speedup(*entry) * base / threads, tooltip_of(*entry)});
    }
    plot.series.push_back(std::move(series));
  }
  const std::vector<size_t> counts = threads_of(results);
  for (const auto& [name, limit] : kLimits) {
    Series series{name, kPlainStyle, {}, true};
    for (const size_t threads : counts) {
      const double per_thread = static_cast<double>(counts.front()) / static_cast<double>(threads);
      const double growth = GrowthOf(results, counts.front(), threads, limit);
      series.points.push_back({static_cast<double>(threads), growth * per_thread, ""});
    }
    plot.series.push_back(std::move(series));
  }
  return {plot.title, line_plot(plot)};
}

}  // namespace

std::vector<Figure> scaling_figures(const Results& results) {
  std::vector<Figure> figures;
  const bool lines = threads_of(results).size() > 2;
  for (const std::string& operation : operations_of(results)) {
    const std::vector<Runs> all = RunsOf(results, operation);
    if (all.empty()) continue;
    std::vector<std::string> shapes;
    for (const Runs& runs : all) shapes.push_back(runs.shape);
    const ShapeNames names = ShortNames(shapes);
    figures.push_back((lines ? EfficiencyLines : SpeedupBars)(results, operation, all, names));
  }
  return figures;
}

}  // namespace heed::bench
