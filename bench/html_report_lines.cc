// The figures that are lines: over threads and over lengths.
#include <algorithm>
#include <cmath>
#include <functional>

#include "bench/html_report_figures.h"
#include "bench/plot_line.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

constexpr size_t kMostLines = 8;

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
  std::string meaning;  // "heads/len", what the parts of each name are; "" where they say it
  std::vector<std::string> names;
};

// Names as short as the end of a line has room for: the values of those parts that differ.
ShapeNames ShortNames(const std::vector<std::string>& shapes) {
  std::vector<std::vector<std::string>> all;
  for (const std::string& shape : shapes) all.push_back(Split(shape));
  const std::vector<std::string>& first = all.front();
  const auto key_of = [](const std::string& part) { return part.substr(0, part.find(':')); };
  for (const auto& parts : all) {
    bool alike = parts.size() == first.size();
    for (size_t i = 0; alike && i < parts.size(); ++i) {
      alike = parts[i].find(':') != std::string::npos && key_of(parts[i]) == key_of(first[i]);
    }
    if (!alike) return {"", shapes};
  }
  ShapeNames short_names{"", std::vector<std::string>(shapes.size())};
  for (size_t i = 0; i < first.size(); ++i) {
    const bool same = std::all_of(all.begin(), all.end(),
                                  [&](const auto& parts) { return parts[i] == first[i]; });
    if (same && shapes.size() > 1) continue;
    const auto add = [](const std::string& part, std::string* to) {
      *to += (to->empty() ? "" : "/") + part;
    };
    add(key_of(first[i]), &short_names.meaning);
    for (size_t j = 0; j < all.size(); ++j) {
      add(all[j][i].substr(all[j][i].find(':') + 1), &short_names.names[j]);
    }
  }
  return short_names;
}

// heed's speed beside that with the fewest threads.
Series Speedup(const Results& results, const std::string& operation, const std::string& shape) {
  Series series;
  double base = 0;
  for (const size_t threads : threads_of(results)) {
    const Entry* entry = find_entry(results, operation, shape, threads, "heed");
    if (entry == nullptr || !has_time(*entry)) continue;
    if (base == 0) base = best_seconds(*entry);
    series.points.push_back(
        {static_cast<double>(threads), base / best_seconds(*entry), tooltip_of(*entry)});
  }
  return series;
}

double MemoryOf(const Limits& limits) {
  return limits.bandwidth.empty() ? 0 : limits.bandwidth.back().bytes_per_second;
}

double PeakOf(const Limits& limits) { return limits.flops; }

// How a limit grows with the threads.
Series Growth(const Results& results, const std::string& name, double (*limit_of)(const Limits&)) {
  Series series{name, 1, {}, true};
  double base = 0;
  for (const size_t threads : threads_of(results)) {
    const Limits* limits = limits_of(results, threads);
    if (limits == nullptr || !(limit_of(*limits) > 0)) continue;
    if (base == 0) base = limit_of(*limits);
    series.points.push_back({static_cast<double>(threads), limit_of(*limits) / base, ""});
  }
  return series;
}

Figure ScalingFigure(const Results& results, const std::string& operation,
                     std::vector<std::string> shapes, std::vector<Series> lines) {
  const std::string count = std::to_string(shapes.size());
  const bool cut = shapes.size() > kMostLines;
  if (cut) {
    shapes.resize(kMostLines);
    lines.resize(kMostLines);
  }
  const ShapeNames names = ShortNames(shapes);
  LinePlot plot;
  double low = INFINITY, high = 0, most = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].name = names.names[i];
    lines[i].style = i;
    const Point& end = lines[i].points.back();
    if (end.x > most) low = high = end.y;
    most = std::max(most, end.x);
    if (end.x < most) continue;
    low = std::min(low, end.y);
    high = std::max(high, end.y);
  }
  const std::string first = short_number(low), last = short_number(high);
  plot.title = operation + ": " + (first == last ? first : first + " to " + last) +
               " times as fast with " + threads_text(static_cast<size_t>(most));
  if (!names.meaning.empty()) plot.title += " (lines: " + names.meaning + ")";
  if (cut) plot.title += ", first " + std::to_string(kMostLines) + " of " + count + " shapes";
  plot.description = "Lines: speed beside that with the fewest threads, over threads, by shape.";
  plot.x_name = "threads";
  plot.y_name = "times as fast";
  plot.y_text = short_number;
  plot.log_y = true;
  plot.series = std::move(lines);
  plot.series.push_back(Growth(results, "fma peak", PeakOf));
  plot.series.push_back(Growth(results, "memory", MemoryOf));
  return {plot.title, line_plot(plot)};
}

// One operation at shapes that differ in length only, with one number of threads.
struct Sweep {
  std::string operation, rest;
  size_t threads = 1;
  std::vector<std::string> shapes;  // by length
  bool memory = false;
};

std::vector<Sweep> SweepsOf(const Results& results) {
  std::vector<Sweep> sweeps;
  for (const std::string& operation : operations_of(results)) {
    std::vector<std::string> rests;
    for (const std::string& shape : shapes_of(results, operation)) {
      const Length length = length_of(shape);
      const auto seen = std::find(rests.begin(), rests.end(), length.rest);
      if (length.len > 0 && seen == rests.end()) rests.push_back(length.rest);
    }
    for (const std::string& rest : rests) {
      for (const size_t threads : shown_threads(results)) {
        Sweep sweep{operation, rest, threads, {}, false};
        for (const std::string& shape : shapes_of(results, operation)) {
          const Length length = length_of(shape);
          const Entry* entry = find_entry(results, operation, shape, threads, "heed");
          if (!(length.len > 0) || length.rest != rest) continue;
          if (entry == nullptr || !has_time(*entry)) continue;
          sweep.shapes.push_back(shape);
          sweep.memory = bound_by_memory(*entry);
        }
        std::sort(sweep.shapes.begin(), sweep.shapes.end(),
                  [](const auto& a, const auto& b) { return length_of(a).len < length_of(b).len; });
        if (sweep.shapes.size() >= 3) sweeps.push_back(std::move(sweep));
      }
    }
  }
  return sweeps;
}

LinePlot PlotOf(const Results& results, const Palette& palette, const Sweep& sweep,
                double (*value)(const Entry&)) {
  LinePlot plot;
  plot.x_name = sweep.memory ? "tokens in the cache" : "tokens";
  for (const Key& key : palette.keys()) {
    Series series{key.name, key.style, {}, false};
    for (const std::string& shape : sweep.shapes) {
      const Entry* entry = find_entry(results, sweep.operation, shape, sweep.threads, key.name);
      if (entry == nullptr || !has_time(*entry) || !(value(*entry) > 0)) continue;
      series.points.push_back({length_of(shape).len, value(*entry), tooltip_of(*entry)});
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

void AddLine(const Sweep& sweep, const std::string& name, size_t style,
             const std::function<double(const std::string&)>& value, LinePlot* plot) {
  Series series{name, style, {}, true};
  for (const std::string& shape : sweep.shapes) {
    series.points.push_back({length_of(shape).len, value(shape), ""});
  }
  plot->series.push_back(std::move(series));
}

std::string TitleOf(const Sweep& sweep, const std::string& what) {
  return sweep.operation + ", " + readable(sweep.rest) + ", " + threads_text(sweep.threads) + ": " +
         what;
}

Figure Finished(const Sweep& sweep, const std::string& what, LinePlot plot) {
  plot.title = TitleOf(sweep, what);
  plot.description = "Lines over " + plot.x_name + ", by library; " + plot.y_name + ".";
  return {plot.title, line_plot(plot)};
}

Figure TimeFigure(const Results& results, const Palette& palette, const Sweep& sweep) {
  LinePlot plot = PlotOf(results, palette, sweep, best_seconds);
  plot.y_name = "time of the best run";
  plot.y_text = duration_text;
  plot.log_y = true;
  return Finished(sweep, "time", std::move(plot));
}

std::string Giga(double value) { return short_number(value / 1e9); }

Figure RateFigure(const Results& results, const Palette& palette, const Sweep& sweep) {
  LinePlot plot = PlotOf(results, palette, sweep, rate_of);
  plot.y_name = sweep.memory ? "GB/s" : "GFLOP/s";
  plot.y_text = Giga;
  const Limits* limits = limits_of(results, sweep.threads);
  const double limit = limits == nullptr ? 0 : sweep.memory ? MemoryOf(*limits) : limits->flops;
  if (limit > 0) {
    AddLine(
        sweep, sweep.memory ? "memory" : "fma peak", 7, [&](const std::string&) { return limit; },
        &plot);
  }
  return Finished(sweep, sweep.memory ? "bytes read per second" : "arithmetic per second",
                  std::move(plot));
}

// Beside what the operands take, and what all scores would.
Figure MemoryFigure(const Results& results, const Palette& palette, const Sweep& sweep) {
  LinePlot plot =
      PlotOf(results, palette, sweep, [](const Entry& entry) { return entry.workspace_bytes; });
  plot.y_name = "memory held beside the operands";
  plot.y_text = bytes_text;
  plot.log_y = true;
  AddLine(
      sweep, "operands", 7,
      [&](const std::string& shape) {
        return find_entry(results, sweep.operation, shape, sweep.threads, "heed")->bytes;
      },
      &plot);
  AddLine(
      sweep, "all scores", 1,
      [](const std::string& shape) {
        const double len = length_of(shape).len;
        return number_in(shape, "heads") * len * len * 4;
      },
      &plot);
  return Finished(sweep, "memory", std::move(plot));
}

}  // namespace

std::vector<Figure> scaling_figures(const Results& results) {
  std::vector<Figure> figures;
  for (const std::string& operation : operations_of(results)) {
    std::vector<std::string> shapes;
    std::vector<Series> lines;
    for (const std::string& shape : shapes_of(results, operation)) {
      Series line = Speedup(results, operation, shape);
      if (line.points.size() < 2) continue;
      shapes.push_back(shape);
      lines.push_back(std::move(line));
    }
    if (!lines.empty()) figures.push_back(ScalingFigure(results, operation, shapes, lines));
  }
  return figures;
}

std::vector<Figure> length_figures(const Results& results, const Palette& palette,
                                   bool memory_bound) {
  std::vector<Figure> figures;
  for (const Sweep& sweep : SweepsOf(results)) {
    if (sweep.memory != memory_bound) continue;
    figures.push_back(TimeFigure(results, palette, sweep));
    figures.push_back(RateFigure(results, palette, sweep));
    const bool memory_known =
        std::any_of(results.entries.begin(), results.entries.end(), [&](const Entry& entry) {
          return entry.operation == sweep.operation && entry.workspace_bytes > 0;
        });
    if (!sweep.memory && memory_known) figures.push_back(MemoryFigure(results, palette, sweep));
  }
  return figures;
}

}  // namespace heed::bench
