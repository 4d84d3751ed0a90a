// The figures over lengths.
#include <algorithm>
#include <cmath>
#include <functional>

#include "bench/html_report_figures.h"
#include "bench/plot_line.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

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
          sweep.memory = bound_of(*entry) == Bound::kMemory;
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
  plot.y_text = [](double tick) {
    if (tick >= 1) return tick_text(tick) + " s";
    if (tick >= 1e-3) return tick_text(tick * 1e3) + " ms";
    return tick_text(tick * 1e6) + " us";
  };
  plot.y_kind = Scale::Kind::kLog;
  return Finished(sweep, "time", std::move(plot));
}

Figure RateFigure(const Results& results, const Palette& palette, const Sweep& sweep) {
  LinePlot plot = PlotOf(results, palette, sweep, rate_of);
  plot.y_name = sweep.memory ? "GB/s" : "GFLOP/s";
  plot.y_text = [](double tick) { return tick_text(tick / 1e9); };
  const Limits* limits = limits_of(results, sweep.threads);
  const double limit = limits == nullptr ? 0
                       : sweep.memory    ? memory_bandwidth(*limits)
                                         : limits->flops;
  if (limit > 0) {
    AddLine(
        sweep, sweep.memory ? "memory" : "fma peak", 7, [&](const std::string&) { return limit; },
        &plot);
  }
  return Finished(sweep, sweep.memory ? "GB read per second" : "GFLOP per second", std::move(plot));
}

// Beside what the operands take, and what all scores would.
Figure MemoryFigure(const Results& results, const Palette& palette, const Sweep& sweep) {
  LinePlot plot =
      PlotOf(results, palette, sweep, [](const Entry& entry) { return entry.workspace_bytes; });
  plot.y_name = "memory held beside the operands";
  plot.y_text = bytes_text;
  plot.y_kind = Scale::Kind::kLog2;
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
