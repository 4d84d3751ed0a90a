// A comparison as text and as HTML.
#include <algorithm>

#include "bench/compare.h"
#include "bench/html_report_figures.h"
#include "bench/html_report_page.h"
#include "bench/plot.h"
#include "bench/plot_bars.h"
#include "bench/plot_scale.h"
#include "bench/results_text.h"
#include "tools/svg.h"
#include "tools/utf8.h"

namespace heed::bench {
namespace {

std::string Letter(size_t file) { return std::string(1, static_cast<char>('A' + file % 26)); }

// Colours in the order of the files, grey last.
size_t StyleOf(size_t file) {
  const size_t style = file % kStyles;
  return style == kStyles - 1 ? kPlainStyle : style < kPlainStyle ? style : style + 1;
}

bool Timed(const Entry* entry) { return entry != nullptr && has_time(*entry); }

// "5.13 ms", "1.20x", "83%": best time, speed beside the first file, share of the limit.
std::vector<std::string> CellsOf(const Comparison& comparison, const Comparison::Row& row,
                                 size_t file) {
  const Entry* entry = row.entries[file];
  if (entry == nullptr) return {"missing", "-", "-"};
  if (!has_time(*entry)) return {entry->error.empty() ? "not timed" : "failed", "-", "-"};
  const double best = best_seconds(*entry);
  const Entry* first = row.entries.front();
  const double share = share_of_limit(comparison.files[file], *entry);
  return {duration_text(best), Timed(first) ? times_text(best_seconds(*first) / best) : "-",
          share > 0 ? percent_text(share) : "-"};
}

std::string Padded(const std::string& text, size_t width, bool left = false) {
  const size_t length = tools::split_characters(text).size();
  const std::string blank(length < width ? width - length : 0, ' ');
  return left ? text + blank : blank + text;
}

std::vector<std::string> HeaderOf(const Comparison& comparison, const std::string& first) {
  std::vector<std::string> header = {first};
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    const std::string letter = Letter(i);
    header.insert(header.end(),
                  {letter + " best", i == 0 ? "" : letter + " speed", letter + " share"});
  }
  return header;
}

std::vector<std::string> LineOf(const Comparison& comparison, const Comparison::Row& row) {
  std::vector<std::string> line = {row.name};
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    std::vector<std::string> cells = CellsOf(comparison, row, i);
    if (i == 0) cells[1].clear();  // beside itself
    line.insert(line.end(), cells.begin(), cells.end());
  }
  return line;
}

std::string AboutFile(const Results& results) {
  const Limits* limits = results.limits.empty() ? nullptr : &results.limits.back();
  std::string text =
      "heed " + results.heed + ", " + results.cpu + ", " + results.target + ", " + results.compiler;
  if (limits == nullptr) return text;
  text += "; " + threads_text(limits->threads) + ": peak " + flops_text(limits->flops);
  if (memory_bandwidth(*limits) > 0) {
    text += ", memory " + bandwidth_text(memory_bandwidth(*limits));
  }
  return text;
}

// The first file's entry, or another's where that is missing: what all have in common.
const Entry& AnyOf(const Comparison::Row& row) {
  return **std::find_if(row.entries.begin(), row.entries.end(),
                        [](const Entry* entry) { return entry != nullptr; });
}

BarGroup GroupOf(const Comparison& comparison, const Comparison::Row& row) {
  const Entry& any = AnyOf(row);
  BarGroup group{readable(any.shape), {}};
  if (any.library != "heed") group.name += ", " + any.library;
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    const std::vector<std::string> cells = CellsOf(comparison, row, i);
    Bar bar{Letter(i) + " " + comparison.names[i], StyleOf(i), 0, cells[0], ""};
    if (Timed(row.entries[i])) {
      const double seconds = best_seconds(*row.entries[i]);
      const double first = Timed(row.entries[0]) ? best_seconds(*row.entries[0]) : 0;
      bar.value = first > 0 ? first / seconds : 0;
      bar.text = (first > 0 ? cells[1] + " \u00b7 " : "") + cells[0];
      bar.tooltip = comparison.names[i] + ": " + tooltip_of(*row.entries[i]);
    }
    group.bars.push_back(std::move(bar));
  }
  return group;
}

// One figure per operation and number of threads.
std::vector<Figure> FiguresOf(const Comparison& comparison) {
  std::vector<std::pair<std::string, BarPlot>> plots;
  for (const Comparison::Row& row : comparison.rows) {
    const Entry& any = AnyOf(row);
    const std::string title = any.operation + ", " + threads_text(any.threads);
    auto plot = std::find_if(plots.begin(), plots.end(),
                             [&](const auto& known) { return known.first == title; });
    if (plot == plots.end()) plot = plots.insert(plots.end(), {title, BarPlot{}});
    plot->second.groups.push_back(GroupOf(comparison, row));
  }
  std::vector<Figure> figures;
  for (auto& [title, plot] : plots) {
    plot.title = title + ": speed beside " + comparison.names[0];
    plot.description = "Bars: how many times as fast as the first file, by shape.";
    plot.axis = "times as fast";
    plot.tick_text = tick_text;
    plot.full = 1;
    figures.push_back({plot.title, bar_plot(plot)});
  }
  return figures;
}

}  // namespace

std::string comparison_text(const Comparison& comparison) {
  std::string text;
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    text += Letter(i) + "  " + AboutFile(comparison.files[i]) + "\n";
  }
  text +=
      "\nBest runs; speed: how many times as fast as A; share: of the fma peak, or of memory "
      "bandwidth\nwhere an operation does little with each byte.\n\n";
  std::vector<std::vector<std::string>> lines = {HeaderOf(comparison, "benchmark")};
  for (const Comparison::Row& row : comparison.rows) lines.push_back(LineOf(comparison, row));
  std::vector<size_t> widths(lines[0].size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], tools::split_characters(line[i]).size());
    }
  }
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      if (widths[i] > 0) text += (i == 0 ? "" : "  ") + Padded(line[i], widths[i], i == 0);
    }
    text += "\n";
  }
  return text;
}

std::string comparison_html(const Comparison& comparison) {
  std::string title = "heed on ";
  std::string facts = "<dl>\n";
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    title += (i == 0                             ? ""
              : i + 1 == comparison.files.size() ? " and "
                                                 : ", ") +
             comparison.names[i];
    facts += "<dt>" + Letter(i) + "</dt><dd>" + tools::xml_escape(AboutFile(comparison.files[i])) +
             "</dd>\n";
  }
  std::string table =
      "<section>\n<h2>Every number</h2>\n<p>Speed: how many times as fast as A. Share: of the fma "
      "peak, or of memory bandwidth where an operation does little with each byte.</p>\n"
      "<div class=\"wide\"><table>\n<thead>" +
      html_row(HeaderOf(comparison, "Benchmark"), true) + "</thead>\n<tbody>\n";
  for (const Comparison::Row& row : comparison.rows) table += html_row(LineOf(comparison, row));
  return html_page(title, "<h1>" + tools::xml_escape(title) + "</h1>\n" + facts + "</dl>\n" +
                              html_section("Which is faster", "Best runs; a longer bar is faster.",
                                           {}, FiguresOf(comparison), 2) +
                              table + "</tbody></table></div>\n</section>\n");
}

}  // namespace heed::bench
