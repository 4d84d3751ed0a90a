#include "bench/html_report.h"

#include <algorithm>

#include "bench/html_report_figures.h"
#include "bench/results_text.h"
#include "tools/svg.h"

namespace heed::bench {
namespace {

using tools::xml_escape;

std::string Fact(const std::string& name, const std::string& value) {
  if (value.empty()) return "";
  return "<dt>" + xml_escape(name) + "</dt><dd>" + xml_escape(value) + "</dd>\n";
}

std::string Facts(const Results& results) {
  std::string caches, rivals;
  for (const auto& [name, bytes] : results.caches) {
    caches += (caches.empty() ? "" : ", ") + name + " " + bytes_text(static_cast<double>(bytes));
  }
  for (const auto& [name, version] : results.rivals) {
    rivals += (rivals.empty() ? "" : ", ") + name + " " + version;
  }
  const std::string family = results.family.empty() ? "" : ", " + results.family + " family";
  return "<dl>\n" + Fact("Processor", results.cpu) +
         Fact("CPUs in use", std::to_string(results.num_cpus)) + Fact("Caches", caches) +
         Fact("Instructions", results.target.empty() ? "" : results.target + family) +
         Fact("heed", results.heed) + Fact("Compiler", results.compiler) +
         Fact("Beside it", rivals) + Fact("Date", results.date) + "</dl>\n";
}

std::vector<std::string> LevelsOf(const Results& results) {
  std::vector<std::string> levels;
  for (const Limits& limits : results.limits) {
    for (const Bandwidth& level : limits.bandwidth) {
      const bool seen = std::find(levels.begin(), levels.end(), level.level) != levels.end();
      if (!seen) levels.push_back(level.level);
    }
  }
  return levels;
}

std::string BandwidthOf(const Limits& limits, const std::string& level) {
  for (const Bandwidth& bandwidth : limits.bandwidth) {
    if (bandwidth.level == level) return bandwidth_text(bandwidth.bytes_per_second);
  }
  return "-";
}

std::string LimitsTable(const Results& results) {
  if (results.limits.empty()) return "";
  std::vector<std::string> header = {""}, peaks = {"fma peak"};
  for (const Limits& limits : results.limits) {
    header.push_back(threads_text(limits.threads));
    peaks.push_back(flops_text(limits.flops));
  }
  std::string html =
      "<h2>What this processor can do at most</h2>\n<p>Measured in the same run: multiply-adds in "
      "f32 registers, and bytes read from each level by all threads together; the best of the "
      "whole run. Shares are of what they were in turn with a problem's repetitions: a shared "
      "machine is not the same all along.</p>\n<div class=\"wide\"><table>\n<thead>" +
      html_row(header, true) + "</thead>\n<tbody>\n" + html_row(peaks);
  for (const std::string& level : LevelsOf(results)) {
    std::vector<std::string> cells = {level + " read"};
    for (const Limits& limits : results.limits) cells.push_back(BandwidthOf(limits, level));
    html += html_row(cells);
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string html_report(const Results& results) {
  const Palette palette(results);
  const std::vector<Key>& keys = palette.keys();
  const std::string title = "heed " + results.heed + " on " + results.cpu;
  return html_page(
      title,
      "<h1>" + xml_escape(title) + "</h1>\n" + Facts(results) + LimitsTable(results) +
          html_section("Operations under the roofs of this processor",
                       "Lines are what the bandwidth of each level and the peak of multiply-adds "
                       "allow; a mark is the best run of one problem. Small problems stay in "
                       "caches, above the roof of memory.",
                       keys, roofline_figures(results, palette), 2) +
          html_section("Share of the limit",
                       "Of the multiply-adds that the processor can do, or of the bytes it can "
                       "read from memory where an operation does little with each, from L2 where "
                       "it works there. Only visible "
                       "keys are counted, for every library alike; exponentials are not. What "
                       "stays in caches may pass 100 % of memory.",
                       {}, share_figures(results, palette), 2) +
          html_section("More threads",
                       "How many times as fast heed becomes, beside how the peak and the "
                       "bandwidth of memory grow.",
                       {}, scaling_figures(results), 3) +
          html_section("Longer prompts",
                       "Time grows with the square of the length, memory should not.", keys,
                       length_figures(results, palette, false), 3) +
          html_section("Longer caches",
                       "One token more reads the whole cache once: memory bandwidth is the limit.",
                       keys, length_figures(results, palette, true), 2) +
          results_table(results));
}

}  // namespace heed::bench
