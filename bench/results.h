// What a run of heed-bench found: what its files hold, and what tables and pictures are made of.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace heed::bench {

// The read bandwidth of one level of the memory hierarchy.
struct Bandwidth {
  std::string level;            // "L1", "L2", "L3" or "memory"
  size_t bytes = 0;             // that each thread reads at a time
  double bytes_per_second = 0;  // of all threads
};

struct Limits {
  size_t threads = 0;
  double flops = 0;  // multiply-adds in f32 registers, two operations each, per second
  std::vector<Bandwidth> bandwidth;  // from the nearest level to "memory", which is the last
};

struct Entry {            // one library at one problem with one number of threads
  std::string operation;  // "prefill"
  std::string shape;      // "heads:12/len:1024/dim:64"
  size_t threads = 1;
  std::string library;          // "heed", "oneDNN", "unfused" ...
  std::vector<double> seconds;  // of one run, by repetition
  // What bound_of it was in the same round as each repetition, per second; empty: not measured.
  std::vector<double> limits = {};
  double flops = 0, bytes = 0;  // of one run; 0: not counted
  double workspace_bytes = 0;   // what heed's context held after it; 0: not known
  double vs_causal =
      0;              // median cost of a visible key beside plain causal attention; 0: not measured
  std::string error;  // not empty: refused or wrong, and the numbers mean nothing
};

struct Results {
  std::string heed, compiler, cpu, target, family;  // "0.4.0", "GCC 12.2.0", ...
  std::string date;                                 // ISO 8601
  size_t num_cpus = 1;
  std::vector<std::pair<std::string, size_t>> caches;       // ("L1d", bytes) as the system says
  std::vector<std::pair<std::string, std::string>> rivals;  // ("oneDNN", version)
  std::vector<Limits> limits;                               // one per number of threads
  std::vector<Entry> entries;
};

// What limits a problem at most: multiply-adds, or reads where little else is done with each byte.
// Softmax works on what is in the second level of cache.
enum class Bound { kFlops, kL2, kMemory };
Bound bound_of(const Entry& entry);

double best_seconds(const Entry& entry);
double median_seconds(const Entry& entry);
const Limits* limits_of(const Results& results, size_t threads);  // null: not measured
double memory_bandwidth(const Limits& limits);                    // 0: not known
double units_of(const Entry& entry);  // flops of a run or, where reads are the limit, bytes
// Of its limit as it was in turn with the repetitions: a shared machine is not the same all along.
// Without such measurements, of the whole run's limit.
double share_of_limit(const Results& results, const Entry& entry);
// Shares of the whole run's limits by the best repetition; 0 where flops, bytes or limits are not
// known.
double share_of_peak(const Results& results, const Entry& entry);
double share_of_memory_bandwidth(const Results& results, const Entry& entry);

}  // namespace heed::bench
