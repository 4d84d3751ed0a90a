// What this machine can do at most, measured: the yardstick of every other number.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bench/peak.h"
#include "bench/problem.h"
#include "bench/results.h"

namespace heed::bench {

// ("L1d", bytes) and so on of the first CPU, as the system says; `beyond` gets a number of bytes
// that cannot stay in all caches together between two passes.
std::vector<std::pair<std::string, size_t>> read_caches(size_t num_cpus, size_t* beyond);

// Measures the limits with each number of threads that is asked for, and again each time: machines
// drift, and what counts is the best that was seen in the whole run.
class Meter {
 public:
  Meter(const char* target, const std::vector<std::pair<std::string, size_t>>& caches,
        size_t beyond_cache_bytes);
  void measure(size_t threads);  // all of them, some 50 to 100 ms
  // One of them, per second, as it is now: some 3 ms. The best of the run takes it in.
  double measure(Bound bound, size_t threads);
  const std::vector<Limits>& limits() const { return limits_; }

 private:
  Limits& limits_for(size_t threads);
  double measure_flops(Limits* limits, int runs);
  double measure_reads(Bandwidth* level, size_t threads, int runs);

  PeakKernels kernels_;
  std::vector<std::pair<std::string, size_t>> caches_;
  Buffer data_;
  size_t near_floats_ = 0;   // of data_, from its beginning: read from caches, the rest from memory
  size_t next_ = 0;          // where memory is read next
  size_t next_streams_ = 0;  // of PeakKernels::kStreams
  std::vector<Limits> limits_;
};

}  // namespace heed::bench
