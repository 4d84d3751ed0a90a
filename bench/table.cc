#include "bench/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace heed::bench {
namespace {

using Lines = std::vector<std::vector<std::string>>;

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), pattern, value);
  return text;
}

// Three digits: "98.2", "152", "1.23e+07".
std::string short_number(double value) {
  const double size = std::fabs(value);
  return format(size >= 1e5      ? "%.2e"
                : size >= 99.95  ? "%.0f"
                : size >= 9.995  ? "%.1f"
                : size >= 0.9995 ? "%.2f"
                                 : "%.3g",
                value);
}

std::string limits_text(const Limits& limits) {
  std::string text = std::to_string(limits.threads) +
                     (limits.threads == 1 ? " thread" : " threads") + ": fma peak " +
                     rate_text(Bound::kFlops, limits.flops) + "; reads";
  for (const Bandwidth& level : limits.bandwidth) {
    text += " " + level.level + " " + rate_text(Bound::kMemory, level.bytes_per_second);
  }
  return text + "\n";
}

// Of the best that the whole run saw of the limit.
double share_of_run(const Results& results, const Row& row) {
  for (const Limits& limits : results.limits) {
    const double limit = limits.threads == row.threads ? limit_of(limits, row.label.bound) : 0;
    if (limit > 0) return row.rate() / limit;
  }
  return 0;
}

std::string beside_baseline(const Row& row) {
  if (row.vs_causal > 0) return format("%.2f of causal", row.vs_causal);
  if (row.vs_f32 == 0) return "";
  return format("%.2f of f32", row.vs_f32) + format(", bytes %.2f", row.bytes_vs_f32);
}

std::vector<std::string> line_of(const Results& results, const Row& row) {
  std::vector<std::string> line = {row.label.shape, std::to_string(row.threads), row.label.library};
  if (!row.error.empty()) {
    line.push_back("failed: " + row.error);
    return line;
  }
  const Bound bound = row.label.bound;
  const double of_run = share_of_run(results, row);
  line.insert(
      line.end(),
      {duration_text(row.best), duration_text(row.median), rate_text(bound, row.rate()),
       row.share() > 0
           ? format("%.2f ", row.share()) + (bound == Bound::kFlops ? "peak" : name_of(bound))
           : "-",
       of_run > 0 ? format("%.2f", of_run) : "-",
       row.best > 0 ? format("%.2f", row.median / row.best) : "-",
       row.workspace_bytes > 0 ? bytes_text(row.workspace_bytes) : "", beside_baseline(row)});
  return line;
}

}  // namespace

std::string duration_text(double seconds) {
  if (seconds >= 0.9995) return short_number(seconds) + " s";
  if (seconds >= 0.9995e-3) return short_number(seconds * 1e3) + " ms";
  if (seconds >= 0.9995e-6) return short_number(seconds * 1e6) + " us";
  return short_number(seconds * 1e9) + " ns";
}

std::string rate_text(Bound bound, double per_second) {
  if (per_second <= 0) return "-";
  const bool tera = per_second >= 9.995e12;
  return short_number(per_second / (tera ? 1e12 : 1e9)) + (tera ? " T" : " G") +
         (bound == Bound::kFlops ? "FLOP/s" : "B/s");
}

std::string bytes_text(double bytes) {
  const char* const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  size_t unit = 0;
  for (; unit < 4 && bytes >= 1024; ++unit) bytes /= 1024;
  const bool whole = bytes == std::floor(bytes) && bytes < 1e5;
  return (whole ? format("%.0f", bytes) : short_number(bytes)) + units[unit];
}

std::string aligned(const Lines& lines) {
  std::vector<size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()), 0);
    // The last cell of a line that is cut short may be a whole sentence.
    const bool whole = line.size() == lines[0].size();
    for (size_t i = 0; i + (whole ? 0 : 1) < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); ++i) {
      const size_t space = widths[i] - std::min(widths[i], line[i].size());
      const bool left = i == 0 || lines[0][i] == "library" ||
                        (line.size() < lines[0].size() && i + 1 == line.size());
      row += (i == 0 ? "" : "  ") + (left ? "" : std::string(space, ' ')) + line[i] +
             (left ? std::string(space, ' ') : "");
    }
    text += row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string table_of(const Results& results) {
  std::string text = "heed      " + results.heed + ", " + results.compiler + "\ncpu       " +
                     results.cpu + ", " + results.cpus_in_use + " in use\ntarget    " +
                     results.target + " (" + results.family + " family)\n";
  for (const auto& [name, version] : results.rivals)
    text += "beside    " + name + " " + version + "\n";
  for (const Limits& limits : results.limits) text += limits_text(limits);
  text +=
      "\nTimes are the best of all repetitions, and their median; noise is the median over the "
      "best. "
      "Shares\nare of the limit that binds, the fma peak or reads of memory: of the best that was "
      "measured in turn\nwith the repetitions, and in the next column of the best of the whole "
      "run. "
      "Each operation of a\nsoftmax counts as a multiply-add.\n";
  for (size_t i = 0; i < results.rows.size();) {
    const std::string& operation = results.rows[i].label.operation;
    Lines lines = {{operation, "thr", "library", "best", "median", "rate", "share", "of run",
                    "noise", "workspace", ""}};
    for (; i < results.rows.size() && results.rows[i].label.operation == operation; ++i) {
      if (!is_baseline(results.rows[i].label.library))
        lines.push_back(line_of(results, results.rows[i]));
    }
    text += "\n" + aligned(lines);
  }
  return text;
}

}  // namespace heed::bench
