#include "bench/results.h"

#include <algorithm>

namespace heed::bench {
namespace {

double LimitOfRun(const Results& results, const Entry& entry) {
  const Limits* limits = limits_of(results, entry.threads);
  if (limits == nullptr) return 0;
  const Bound bound = bound_of(entry);
  if (bound == Bound::kFlops) return limits->flops;
  for (const Bandwidth& level : limits->bandwidth) {
    if (bound == Bound::kL2 && level.level == "L2") return level.bytes_per_second;
  }
  return bound == Bound::kMemory ? memory_bandwidth(*limits) : 0;
}

}  // namespace

Bound bound_of(const Entry& entry) {
  constexpr double kFewFlopsPerByte = 1;  // a product of one row has 0.5; of ten, 5
  if (entry.bytes <= 0) return Bound::kFlops;
  if (entry.operation == "softmax") return Bound::kL2;
  const bool reads =
      entry.operation.rfind("decode", 0) == 0 || entry.flops < kFewFlopsPerByte * entry.bytes;
  return reads ? Bound::kMemory : Bound::kFlops;
}

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

double memory_bandwidth(const Limits& limits) {
  return limits.bandwidth.empty() ? 0 : limits.bandwidth.back().bytes_per_second;
}

double units_of(const Entry& entry) {
  return bound_of(entry) == Bound::kFlops ? entry.flops : entry.bytes;
}

double share_of_limit(const Results& results, const Entry& entry) {
  const double best = best_seconds(entry);
  if (best <= 0) return 0;
  const double limit = entry.limits.empty()
                           ? LimitOfRun(results, entry)
                           : *std::max_element(entry.limits.begin(), entry.limits.end());
  return limit > 0 ? units_of(entry) / best / limit : 0;
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
  if (limits == nullptr || best <= 0) return 0;
  const double memory = memory_bandwidth(*limits);
  return memory > 0 ? entry.bytes / best / memory : 0;
}

}  // namespace heed::bench
