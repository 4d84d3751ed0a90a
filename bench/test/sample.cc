#include "bench/test/sample.h"

#include <algorithm>
#include <string>

namespace heed::bench {
namespace {

constexpr double kPeak = 100e9;  // of one thread
constexpr size_t kManyThreads = 4;

struct Problem {
  const char* operation;
  std::string shape;
  double flops, bytes;
  double share;  // of the peak or of the bandwidth, whichever is nearer, by heed on one thread
};

std::vector<Problem> Problems() {
  std::vector<Problem> problems;
  for (const double size : {512.0, 1024.0, 2048.0}) {
    const std::string n = std::to_string(static_cast<size_t>(size));
    problems.push_back({"matmul", n + "x" + n + "x" + n, 2 * size * size * size, 12 * size * size,
                        0.9 + size / 1e5});
  }
  problems.push_back({"matmul", "1x4096x4096", 2 * 4096.0 * 4096, 4 * 4096.0 * 4096, 0.95});
  problems.push_back({"softmax", "1024x512", 0, 8 * 1024.0 * 512, 2.5});
  for (const double len : {64.0, 256.0, 1024.0, 4096.0, 16384.0}) {
    problems.push_back({"prefill",
                        "heads:12/len:" + std::to_string(static_cast<size_t>(len)) + "/dim:64",
                        12 * 64 * 2 * len * (len + 1), 16 * 12 * 64 * len, 0.85 - 10 / len});
  }
  for (const double len : {1024.0, 4096.0, 32768.0}) {
    problems.push_back({"decode",
                        "heads:32on8/len:" + std::to_string(static_cast<size_t>(len)) + "/dim:128",
                        4 * 32 * 128 * len, 8 * 8 * 128 * len, 0.96 - 100 / len});
  }
  return problems;
}

double SecondsOf(const Problem& problem, const Limits& limits) {
  const double bandwidth = limits.bandwidth.back().bytes_per_second;
  return std::max(problem.flops / limits.flops, problem.bytes / bandwidth) / problem.share;
}

Limits LimitsOf(double threads) {
  const double scale = threads == 1 ? 1 : 0.8 * threads;
  return {static_cast<size_t>(threads),
          kPeak * threads * 0.98,
          {{"L1", 24 << 10, 310e9 * threads},
           {"L2", 768 << 10, 120e9 * threads},
           {"L3", 12 << 20, 60e9 * scale},
           {"memory", 256 << 20, 25e9 * std::min(scale, 2.5)}}};
}

}  // namespace

Results sample_results() {
  Results results;
  results.heed = "0.4.0";
  results.compiler = "GCC 12.2.0";
  results.cpu = "Sample <CPU> & Sons 9000";
  results.target = "AVX2";
  results.family = "fma";
  results.date = "2026-01-02T03:04:05Z";
  results.num_cpus = kManyThreads;
  results.caches = {{"L1d", 32 << 10}, {"L2", 1 << 20}, {"L3", 16 << 20}};
  results.rivals = {{"oneDNN", "2.6.0"}};
  for (const size_t threads : {size_t{1}, size_t{2}, kManyThreads}) {
    results.limits.push_back(LimitsOf(static_cast<double>(threads)));
    for (const Problem& problem : Problems()) {
      for (const auto& [library, slower] :
           {std::pair("heed", 1.0), std::pair("oneDNN", 1.9), std::pair("unfused", 3.3)}) {
        const double best = SecondsOf(problem, results.limits.back()) * slower;
        results.entries.push_back({problem.operation,
                                   problem.shape,
                                   threads,
                                   library,
                                   {best * 1.07, best, best * 1.01},
                                   {},
                                   problem.flops,
                                   problem.bytes,
                                   0,
                                   0,
                                   ""});
        Entry& entry = results.entries.back();
        if (entry.library == "heed") entry.workspace_bytes = 3e5 * static_cast<double>(threads);
      }
    }
  }
  Entry& failed = results.entries[1];
  failed.seconds.clear();
  failed.error = "it computed <something> else";
  return results;
}

}  // namespace heed::bench
