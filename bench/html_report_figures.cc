#include "bench/html_report_figures.h"

#include <algorithm>
#include <cmath>

#include "bench/plot_bars.h"
#include "bench/plot_roofline.h"
#include "bench/plot_scale.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

// "82 %", or "45 % to 86 %".
std::string RangeText(double low, double high, std::string (*text)(double)) {
  return text(low) == text(high) ? text(low) : text(low) + " to " + text(high);
}

struct Found {
  bool any_peak = false, any_reads = false;
  Bound reads = Bound::kMemory;
  double low = INFINITY, high = 0;  // shares of heed
};

Bar BarOf(const Results& results, const Entry& entry, const Palette& palette) {
  Bar bar{entry.library, palette.style(entry.library), 0, "", tooltip_of(entry)};
  if (!has_time(entry)) {
    bar.text = entry.error.empty() ? "not timed" : "failed";
    return bar;
  }
  bar.value = share_of_limit(results, entry);
  bar.text = bar.value > 0 ? percent_text(bar.value) + " \u00b7 " : "";
  bar.text += duration_text(best_seconds(entry));
  return bar;
}

std::vector<BarGroup> GroupsOf(const Results& results, const Palette& palette,
                               const std::string& operation, size_t threads, Found* found) {
  std::vector<BarGroup> groups;
  std::vector<size_t> of_reads;
  for (const std::string& shape : shapes_of(results, operation)) {
    BarGroup group{readable(shape), {}};
    bool reads = false;
    for (const Key& key : palette.keys()) {
      const Entry* entry = find_entry(results, operation, shape, threads, key.name);
      if (entry == nullptr) continue;
      group.bars.push_back(BarOf(results, *entry, palette));
      if (const Bound bound = bound_of(*entry); bound != Bound::kFlops) {
        reads = true;
        found->reads = bound;
      }
      const double share = group.bars.back().value;
      if (key.name != "heed" || share <= 0) continue;
      found->low = std::min(found->low, share);
      found->high = std::max(found->high, share);
    }
    if (group.bars.empty()) continue;
    (reads ? found->any_reads : found->any_peak) = true;
    if (reads) of_reads.push_back(groups.size());
    groups.push_back(std::move(group));
  }
  for (const size_t i : of_reads) {
    if (found->any_peak) groups[i].name = "of " + name_of(found->reads) + ": " + groups[i].name;
  }
  return groups;
}

}  // namespace

std::vector<Figure> roofline_figures(const Results& results, const Palette& palette) {
  std::vector<Figure> figures;
  for (const size_t threads : shown_threads(results)) {
    const Limits* limits = limits_of(results, threads);
    if (limits == nullptr || !(limits->flops > 0)) continue;
    RooflinePlot plot;
    plot.limits = *limits;
    for (const Entry& entry : results.entries) {
      if (entry.threads != threads || !has_time(entry)) continue;
      if (!(entry.flops > 0) || !(entry.bytes > 0)) continue;
      plot.points.push_back({entry.flops / entry.bytes, entry.flops / best_seconds(entry),
                             palette.style(entry.library), entry.operation, tooltip_of(entry)});
    }
    if (plot.points.empty()) continue;
    plot.title = threads_text(threads) + ": operations under the roofs";
    plot.description = "Roofline: GFLOP/s over flops per byte, both logarithmic; " +
                       std::to_string(plot.points.size()) + " problems; peak " +
                       flops_text(limits->flops) + ".";
    figures.push_back({plot.title, roofline_plot(plot)});
  }
  return figures;
}

std::vector<Figure> share_figures(const Results& results, const Palette& palette) {
  std::vector<Figure> figures;
  for (const std::string& operation : operations_of(results)) {
    for (const size_t threads : shown_threads(results)) {
      Found found;
      BarPlot plot;
      plot.groups = GroupsOf(results, palette, operation, threads, &found);
      if (found.high <= 0) continue;
      const std::string first = name_of(found.any_peak ? Bound::kFlops : found.reads);
      const std::string limit = found.any_peak && found.any_reads ? "its limits" : first;
      plot.axis = "share of " + first;
      plot.tick_text = [](double tick) { return tick_text(tick * 100) + "%"; };
      plot.full = 1;
      plot.title = operation + ", " + threads_text(threads) + ": heed reaches " +
                   RangeText(found.low, found.high, percent_text) + " of " + limit;
      plot.description =
          "Bars: share of " + limit + " and time of the best run, by shape and " + "library.";
      figures.push_back({plot.title, bar_plot(plot)});
    }
  }
  return figures;
}

}  // namespace heed::bench
