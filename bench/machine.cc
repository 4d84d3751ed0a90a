#include "bench/machine.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "bench/peak.h"
#include "bench/problem.h"

namespace heed::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Linux names the model in /proc/cpuinfo, on some architectures only.
std::string CpuName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.rfind("model name", 0) == 0 || line.rfind("cpu model", 0) == 0) {
      return line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

// All last-level caches of the machine together.
size_t LastLevelCacheBytes() {
  const auto& info = benchmark::CPUInfo::Get();
  size_t bytes = 0;
  int level = 0;
  for (const auto& cache : info.caches) {
    if (cache.level < level || cache.type == "Instruction") continue;
    level = cache.level;
    const int copies = std::max(1, info.num_cpus / std::max(1, cache.num_sharing));
    bytes = static_cast<size_t>(cache.size) * static_cast<size_t>(copies);
  }
  return bytes;
}

// Seconds from the moment all threads stand ready until the last has run body(thread).
double SecondsTogether(size_t threads, const std::function<void(size_t)>& body) {
  std::atomic<size_t> ready{0};
  std::vector<Clock::time_point> begin(threads), end(threads);
  const auto work = [&](size_t thread) {
    ready.fetch_add(1);
    while (ready.load() < threads) {
    }
    begin[thread] = Clock::now();
    body(thread);
    end[thread] = Clock::now();
  };
  std::vector<std::thread> others;
  for (size_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
  const auto first = *std::min_element(begin.begin(), begin.end());
  const auto last = *std::max_element(end.begin(), end.end());
  return std::chrono::duration<double>(last - first).count();
}

double PeakFlops(const PeakKernels& kernels, size_t threads) {
  // About a millisecond a run on today's cores: long against the clock, short against
  // interruptions.
  constexpr double kFlopsPerRun = 1e8;
  constexpr int kRuns = 100;
  // The chains settle at 1: no subnormals, no infinities.
  const Buffer start = random_normal(PeakKernels::kValues, 1);
  std::vector<float> values(start.begin(), start.end());
  values[0] = 0.999f;
  values[1] = 0.001f;
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    for (const auto chains : {kernels.few_chains, kernels.many_chains}) {
      std::atomic<double> flops{0};
      const double seconds = SecondsTogether(threads, [&](size_t) {
        float sink = 0;
        const double ran = chains(kFlopsPerRun, values.data(), &sink);
        benchmark::DoNotOptimize(sink);
        flops.store(ran);
      });
      best = std::max(best, flops.load() * static_cast<double>(threads) / seconds);
    }
  }
  return best;
}

double ReadBandwidth(const PeakKernels& kernels, const Buffer& data, size_t threads) {
  constexpr int kPasses = 30;
  const size_t slice = data.size() / threads;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double seconds = SecondsTogether(threads, [&](size_t thread) {
      float sum = kernels.read(data.data() + thread * slice, slice);
      benchmark::DoNotOptimize(sum);
    });
    best = std::max(best, static_cast<double>(slice * threads * sizeof(float)) / seconds);
  }
  return best;
}

}  // namespace

const Limits& Machine::limits_of(size_t threads) const {
  return *std::find_if(limits.begin(), limits.end(),
                       [&](const Limits& l) { return l.threads == threads; });
}

Machine describe_machine() {
  Machine machine;
  machine.cpu = CpuName();
  machine.num_cpus = std::max(1u, std::thread::hardware_concurrency());
  // Four times the caches: with less, part of a cyclic pass still hits them.
  machine.beyond_cache_bytes = std::max<size_t>(size_t{160} << 20, 4 * LastLevelCacheBytes());
  return machine;
}

Limits measure_limits(const Machine& machine, const char* target, size_t threads) {
  const PeakKernels kernels = peak_kernels(target);
  // Touched by writing: pages never written all map to one page of zeros.
  const Buffer data(machine.beyond_cache_bytes / sizeof(float), 1.0f);
  return {threads, PeakFlops(kernels, threads), ReadBandwidth(kernels, data, threads)};
}

}  // namespace heed::bench
