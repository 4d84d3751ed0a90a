// What this machine can do at most, measured: the yardstick of every other number.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace heed::bench {

struct Limits {
  size_t threads = 0;
  double flops = 0;       // multiply-adds in f32 registers, two operations each, per second
  double bytes_read = 0;  // from memory, per second
};

struct Machine {
  std::string cpu;                // as the system names it
  size_t num_cpus = 1;            // that this process may use
  size_t beyond_cache_bytes = 0;  // so much data cannot stay in the caches between two passes
  std::vector<Limits> limits;

  const Limits& limits_of(size_t threads) const;  // threads must be one of those measured
};

// Names the machine; measures nothing yet.
Machine describe_machine();

// The best of several runs with this many threads of this instruction set, about a second in all.
Limits measure_limits(const Machine& machine, const char* target, size_t threads);

}  // namespace heed::bench
