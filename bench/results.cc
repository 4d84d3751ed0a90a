#include "bench/results.h"

#include <algorithm>

namespace heed::bench {

double best_seconds(const Entry& entry) {
  if (entry.seconds.empty()) return 0;
  return *std::min_element(entry.seconds.begin(), entry.seconds.end());
}

double median_seconds(const Entry& entry) {
  if (entry.seconds.empty()) return 0;
  std::vector<double> sorted = entry.seconds;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

const Limits* limits_of(const Results& results, size_t threads) {
  for (const Limits& limits : results.limits) {
    if (limits.threads == threads) return &limits;
  }
  return nullptr;
}

double share_of_peak(const Results& results, const Entry& entry) {
  const Limits* limits = limits_of(results, entry.threads);
  const double best = best_seconds(entry);
  if (limits == nullptr || limits->flops <= 0 || best <= 0) return 0;
  return entry.flops / best / limits->flops;
}

double share_of_memory_bandwidth(const Results& results, const Entry& entry) {
  const Limits* limits = limits_of(results, entry.threads);
  const double best = best_seconds(entry);
  if (limits == nullptr || limits->bandwidth.empty() || best <= 0) return 0;
  const double memory = limits->bandwidth.back().bytes_per_second;
  return memory > 0 ? entry.bytes / best / memory : 0;
}

}  // namespace heed::bench
