#include "bench/machine.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace heed::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Runs work(thread) on all threads at once: on those of OpenMP, as heed does, which else would spin
// beside them for a while after a call.
void on_threads(size_t threads, const std::function<void(size_t)>& work) {
#ifdef _OPENMP
  std::atomic<bool> fewer{false};  // threads than asked for, where OpenMP is limited
#pragma omp parallel num_threads(static_cast <int>(threads))
  if (static_cast<size_t>(omp_get_num_threads()) == threads) {
    work(static_cast<size_t>(omp_get_thread_num()));
  } else {
    fewer = true;
  }
  if (!fewer) return;
#endif
  std::vector<std::thread> others;
  for (size_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
}

// Seconds from the moment all threads stand ready until the last has run body(thread).
double seconds_together(size_t threads, const std::function<void(size_t)>& body) {
  std::atomic<size_t> ready{0};
  std::vector<Clock::time_point> begin(threads), end(threads);
  on_threads(threads, [&](size_t thread) {
    ready.fetch_add(1);
    while (ready.load() < threads) std::this_thread::yield();
    begin[thread] = Clock::now();
    body(thread);
    end[thread] = Clock::now();
  });
  const auto first = *std::min_element(begin.begin(), begin.end());
  const auto last = *std::max_element(end.begin(), end.end());
  return std::chrono::duration<double>(last - first).count();
}

double peak_flops(const PeakKernels& kernels, size_t threads, int runs) {
  // About a millisecond a run on today's cores: long against the clock, short against
  // interruptions.
  constexpr double kFlopsPerRun = 1e8;
  // The chains settle at 1: no subnormals, no infinities.
  const Buffer start = random_normal(PeakKernels::kValues, 1);
  std::vector<float> values(start.begin(), start.end());
  values[0] = 0.999f;
  values[1] = 0.001f;
  double best = 0;
  for (int run = 0; run < runs; ++run) {
    for (const auto chains : {kernels.few_chains, kernels.many_chains}) {
      std::atomic<double> flops{0};
      const double seconds = seconds_together(threads, [&](size_t) {
        float sink = 0;
        flops.store(chains(kFlopsPerRun, values.data(), &sink));
        [[maybe_unused]] volatile float used = sink;
      });
      best = std::max(best, flops.load() * static_cast<double>(threads) / seconds);
    }
  }
  return best;
}

// Each thread reads a slice of its own once or, where that is short, as often as it takes to last.
double read_bandwidth(const PeakKernels& kernels, const float* data, size_t slice, size_t threads,
                      size_t streams) {
  constexpr size_t kFloatsPerRun = size_t{4} << 20;
  const size_t passes = std::max<size_t>(1, kFloatsPerRun / slice);
  size_t length = slice / streams / PeakKernels::kLength * PeakKernels::kLength;
  // Not a multiple of a page, which would send all streams to the same sets of the caches.
  constexpr size_t kPage = 4096 / sizeof(float);
  if (streams > 1 && length % kPage == 0) length -= PeakKernels::kLength;
  const double seconds = seconds_together(threads, [&](size_t thread) {
    for (size_t pass = 0; pass < passes; ++pass) {
      [[maybe_unused]] volatile float sum = kernels.read(data + thread * slice, length, streams);
    }
  });
  return static_cast<double>(length * streams * passes * threads * sizeof(float)) / seconds;
}

// Which give some machines more bandwidth, where the system has them. Before pages are touched.
void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#ifdef __linux__
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / kHugePage * kHugePage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

constexpr size_t kMemoryPiece = size_t{32} << 20;

// Bytes of a cache that each thread reads: the rest holds what else is in use. The second level is
// looked up by physical addresses, and pages that happen to meet there would push each other out of
// a larger part; threads may share the third.
size_t slice_of(const std::string& name, size_t bytes, size_t threads) {
  return bytes / (name == "L2" ? 4 : name == "L3" ? 2 * threads : 2);
}

// A file of one word; empty when there is none.
std::string word_in(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

size_t cpus_in(const std::string& hex_map) {
  size_t count = 0;
  for (const char c : hex_map) {
    const unsigned digit = c >= 'a'               ? static_cast<unsigned>(c - 'a') + 10u
                           : c >= '0' && c <= '9' ? static_cast<unsigned>(c - '0')
                                                  : 0u;
    count += static_cast<size_t>(std::popcount(digit));
  }
  return std::max<size_t>(1, count);
}

}  // namespace

std::vector<std::pair<std::string, size_t>> read_caches(size_t num_cpus, size_t* beyond) {
  std::vector<std::pair<std::string, size_t>> caches;
  size_t last_level = 0;
  for (int index = 0; index < 8; ++index) {
    const std::string at = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string type = word_in(at + "type"), size = word_in(at + "size");
    if (size.empty() || type == "Instruction") continue;
    const size_t unit = size.back() == 'K' ? 1 << 10 : size.back() == 'M' ? 1 << 20 : 1;
    const size_t bytes = std::strtoull(size.c_str(), nullptr, 10) * unit;
    if (bytes == 0) continue;
    caches.emplace_back("L" + word_in(at + "level") + (type == "Data" ? "d" : ""), bytes);
    const size_t sharing = cpus_in(word_in(at + "shared_cpu_map"));
    last_level = bytes * std::max<size_t>(1, num_cpus / sharing);
  }
  // Four times the caches: with less, part of a cyclic pass still hits them. Servers report an L3
  // of hundreds of megabytes, which their guests share: there so much is enough, and takes no
  // minutes.
  *beyond = std::clamp<size_t>(4 * last_level, size_t{160} << 20, size_t{1} << 30);
  return caches;
}

Meter::Meter(const char* target, const std::vector<std::pair<std::string, size_t>>& caches,
             size_t beyond_cache_bytes)
    : kernels_(peak_kernels(target)), caches_(caches) {
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  for (const auto& [name, bytes] : caches_) {
    for (const size_t threads : {size_t{1}, cores}) {
      near_floats_ = std::max(near_floats_, slice_of(name, bytes, threads) * threads);
    }
  }
  near_floats_ = std::min(near_floats_, beyond_cache_bytes) / sizeof(float);
  const size_t floats = near_floats_ + beyond_cache_bytes / sizeof(float);
  data_.reserve(floats);
  ask_for_huge_pages(data_.data(), floats * sizeof(float));
  // Touched by writing: pages never written all map to one page of zeros.
  data_.resize(floats, 1.0f);
}

Limits& Meter::limits_for(size_t threads) {
  for (Limits& limits : limits_) {
    if (limits.threads == threads) return limits;
  }
  Limits limits{threads, 0, {}};
  for (const auto& [name, bytes] : caches_) {
    const size_t slice = slice_of(name, bytes, threads);
    if (slice * threads > near_floats_ * sizeof(float)) continue;
    limits.bandwidth.push_back({name.substr(0, 2), slice});
  }
  const size_t most = (data_.size() - near_floats_) * sizeof(float) / threads;
  limits.bandwidth.push_back({"memory", std::min(kMemoryPiece, most)});
  limits_.push_back(std::move(limits));
  std::sort(limits_.begin(), limits_.end(),
            [](const Limits& a, const Limits& b) { return a.threads < b.threads; });
  return limits_for(threads);
}

double Meter::measure_reads(Bandwidth* level, size_t threads, int runs) {
  const bool memory = level == &limits_for(threads).bandwidth.back();
  const size_t piece = level->bytes / sizeof(float);
  double found = 0;
  for (int run = 0; run < runs; ++run) {
    const float* from = data_.data();
    if (memory) {  // in pieces: they come round when the caches have long lost them
      if (next_ < near_floats_ || next_ + threads * piece > data_.size()) next_ = near_floats_;
      from += next_;
      next_ += threads * piece;
    }
    // Every number of streams in turn, and between them the one that was best so far.
    constexpr size_t kNumbers = std::size(PeakKernels::kStreams);
    const bool known = level->streams != 0 && run % 2 == 1;
    const size_t streams =
        known ? level->streams : PeakKernels::kStreams[next_streams_++ % kNumbers];
    const double now = read_bandwidth(kernels_, from, piece, threads, streams);
    found = std::max(found, now);
    if (now <= level->bytes_per_second) continue;
    level->bytes_per_second = now;
    level->streams = streams;
  }
  return found;
}

double Meter::measure_flops(Limits* limits, int runs) {
  const double found = peak_flops(kernels_, limits->threads, runs);
  limits->flops = std::max(limits->flops, found);
  return found;
}

void Meter::measure(size_t threads) {
  constexpr int kRuns = 8;
  Limits& limits = limits_for(threads);
  measure_flops(&limits, kRuns);
  for (Bandwidth& level : limits.bandwidth) {
    measure_reads(&level, threads, level.bytes > kMemoryPiece ? 2 : kRuns);
  }
}

double Meter::measure(Bound bound, size_t threads) {
  constexpr int kRuns = 2;  // the threads of what ran before may spin during the first
  Limits& limits = limits_for(threads);
  if (bound == Bound::kFlops) return measure_flops(&limits, kRuns);
  for (Bandwidth& level : limits.bandwidth) {
    if (level.level == name_of(bound)) return measure_reads(&level, threads, kRuns);
  }
  return 0;
}

}  // namespace heed::bench
