#include "bench/report.h"

#include <cstdio>

#include "bench/results_text.h"

namespace heed::bench {
namespace {

template <class... Values>
std::string Format(const char* format, Values... values) {
  char text[512];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

std::string MachineText(const Results& results) {
  std::string text = "heed      " + results.heed + ", " + results.compiler + "\ncpu       " +
                     results.cpu + ", " + std::to_string(results.num_cpus) + " in use\ntarget    " +
                     results.target + " (" + results.family + " family)\ncaches   ";
  for (const auto& [name, bytes] : results.caches) {
    text += " " + name + " " + bytes_text(static_cast<double>(bytes));
  }
  for (const auto& [name, version] : results.rivals) text += "\nbeside    " + name + " " + version;
  text += "\n";
  for (const Limits& limits : results.limits) {
    text += threads_text(limits.threads) + ": fma peak " + flops_text(limits.flops) + "; reads";
    for (const Bandwidth& level : limits.bandwidth) {
      text += " " + level.level + " " + bandwidth_text(level.bytes_per_second);
    }
    text += "\n";
  }
  return text;
}

std::string ShareText(const Results& results, const Entry& entry) {
  const double share = share_of_limit(results, entry);
  if (share <= 0) return "-";
  const Bound bound = bound_of(entry);
  return Format("%.2f %s", share,
                bound == Bound::kFlops ? "peak"
                : bound == Bound::kL2  ? "L2"
                                       : "memory");
}

// Of the best that the whole run saw of the limit.
std::string ShareOfRunText(const Results& results, Entry entry) {
  entry.limits.clear();
  const double share = share_of_limit(results, entry);
  return share > 0 ? Format("%.2f", share) : "-";
}

std::string Line(const Results& results, const Entry& entry) {
  const std::string left =
      Format("%-32s %3zu  %-9s", entry.shape.c_str(), entry.threads, entry.library.c_str());
  if (!entry.error.empty()) return left + " failed: " + entry.error + "\n";
  const double best = best_seconds(entry);
  std::string line = left + Format(" %10s %14s %11s  %6s  %5.2f", duration_text(best).c_str(),
                                   rate_text(entry).c_str(), ShareText(results, entry).c_str(),
                                   ShareOfRunText(results, entry).c_str(),
                                   best > 0 ? median_seconds(entry) / best : 0.0);
  if (entry.workspace_bytes > 0)
    line += Format("  %10s", bytes_text(entry.workspace_bytes).c_str());
  if (entry.vs_causal > 0) line += Format("  %.2f of causal", entry.vs_causal);
  return line + "\n";
}

}  // namespace

std::string text_report(const Results& results) {
  std::string text = MachineText(results), operation;
  text +=
      "\nTimes are the best of all repetitions; noise is their median over it. Shares are of the "
      "limit that binds,\nthe fma peak or reads of memory or of the L2 cache: of the best that was "
      "measured in turn with the\nrepetitions, and in the next column of the best of the whole "
      "run.\n";
  for (const Entry& entry : results.entries) {
    if (entry.operation != operation) {
      operation = entry.operation;
      text += "\n" + Format("%-32s thr  %-9s %10s %14s %11s  %6s  %5s  %10s\n", operation.c_str(),
                            "library", "time", "rate", "share", "of run", "noise", "workspace");
    }
    text += Line(results, entry);
  }
  return text;
}

}  // namespace heed::bench
