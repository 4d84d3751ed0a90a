// Every number of a report, as a table.
#include "bench/html_report_figures.h"
#include "bench/results_text.h"
#include "tools/svg.h"

namespace heed::bench {
namespace {

const std::vector<std::string> kColumns = {
    "Shape",   "Threads", "Library", "Best run",  "Median",    "Share",
    "GFLOP/s", "of peak", "GB/s",    "of memory", "Workspace", "Beside plain causal"};

std::string OrDash(double value, const std::string& text) { return value > 0 ? text : "-"; }

std::string Row(const Results& results, const Entry& entry) {
  const std::vector<std::string> name = {readable(entry.shape), std::to_string(entry.threads),
                                         entry.library};
  if (!has_time(entry)) {
    std::string row = html_row(name);
    const std::string why = entry.error.empty() ? "not timed" : "failed: " + entry.error;
    row.insert(row.rfind("</tr>"), "<td class=\"words\" colspan=\"" +
                                       std::to_string(kColumns.size() - name.size()) + "\">" +
                                       tools::xml_escape(why) + "</td>");
    return row;
  }
  const double best = best_seconds(entry), share = share_of_limit(results, entry),
               peak = share_of_peak(results, entry),
               memory = share_of_memory_bandwidth(results, entry);
  return html_row({name[0], name[1], name[2], duration_text(best),
                   times_text(median_seconds(entry) / best), OrDash(share, percent_text(share)),
                   OrDash(entry.flops, short_number(entry.flops / best / 1e9)),
                   OrDash(peak, percent_text(peak)),
                   OrDash(entry.bytes, short_number(entry.bytes / best / 1e9)),
                   OrDash(memory, percent_text(memory)),
                   OrDash(entry.workspace_bytes, bytes_text(entry.workspace_bytes)),
                   OrDash(entry.vs_causal, times_text(entry.vs_causal))});
}

}  // namespace

std::string results_table(const Results& results) {
  if (results.entries.empty()) return "";
  std::string html =
      "<section>\n<h2>Every number</h2>\n<p>Rates and shares are those of the best run; the median "
      "beside it shows how noisy the machine was. The share is of the limit that binds, as it was "
      "in turn with the repetitions; shares of peak and memory are of the best of the whole run. "
      "Beside plain causal: what a visible key costs, "
      "as a multiple of its cost in plain causal attention.</p>\n<div class=\"wide\"><table>\n"
      "<thead>" +
      html_row(kColumns, true) + "</thead>\n";
  for (const std::string& operation : operations_of(results)) {
    html += "<tbody>\n<tr><th colspan=\"" + std::to_string(kColumns.size()) + "\">" +
            tools::xml_escape(operation) + "</th></tr>\n";
    for (const Entry& entry : results.entries) {
      if (entry.operation == operation) html += Row(results, entry);
    }
    html += "</tbody>\n";
  }
  return html + "</table></div>\n</section>\n";
}

}  // namespace heed::bench
