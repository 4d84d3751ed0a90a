// What a run of heed-bench found, as its file says: Google Benchmark's JSON, where each row's label
// and counters say what was computed and what binds it, and the context what the machine can do.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "heed/status.hpp"

namespace heed::bench {

// What limits a problem at most: multiply-adds, or reads where little else is done with each byte,
// of memory or of the second level of cache. Of two limits, the one that takes longer.
enum class Bound { kFlops, kMemory };
const char* name_of(Bound bound);  // "flops", "memory"

// The read bandwidth of one level of the memory hierarchy: the best that any number of streams
// gives.
struct Bandwidth {
  std::string level;            // "L1", "L2", "L3" or "memory"
  size_t bytes = 0;             // that each thread reads at a time
  double bytes_per_second = 0;  // of all threads
  size_t streams = 0;           // that gave it, of each thread; 0: not known
};

struct Limits {
  size_t threads = 0;
  double flops = 0;  // multiply-adds in f32 registers, two operations each, per second
  std::vector<Bandwidth> bandwidth;  // from the nearest level to "memory", which is the last
};
double limit_of(const Limits& limits, Bound bound);  // per second; 0: not measured

// What is computed by whom: a row's label.
struct Label {
  std::string operation, shape, library;  // "prefill", "heads:12/len:1024/dim:64", "heed"
  Bound bound = Bound::kFlops;
};
std::string label_to_json(const Label& label);
std::string limits_to_json(const std::vector<Limits>& limits);  // of the context

// In the place of a library: what its problem's other cases are compared with, which is plain
// causal attention, or the same with keys and values, or weights, stored as f32.
inline constexpr const char *kCausal = "causal", *kStoredF32 = "f32";
bool is_baseline(const std::string& library);

// All repetitions of one library at one problem with one number of threads.
struct Row {
  std::string name;
  Label label;
  size_t threads = 1;
  double best = 0, median = 0;  // seconds; 0: not timed
  double flops = 0, bytes = 0;  // of one run; 0: not counted
  double limit = 0;             // per second, the best in turn with the repetitions
  double workspace_bytes = 0;   // what heed's context held after it
  double vs_causal = 0;         // cost of a visible key beside plain causal attention
  double vs_f32 = 0;            // time beside that of the same stored as f32
  double bytes_vs_f32 = 0;      // and what is read
  std::string error;            // not empty: refused or wrong
  double units() const { return label.bound == Bound::kFlops ? flops : bytes; }
  double rate() const { return best > 0 ? units() / best : 0; }    // units per second
  double share() const { return limit > 0 ? rate() / limit : 0; }  // 0: not known
};

struct Results {
  std::string heed, compiler, cpu, cpus_in_use, target, family;
  std::vector<std::pair<std::string, std::string>> rivals;  // ("oneDNN", version)
  std::vector<Limits> limits;                               // the best of the whole run
  std::vector<Row> rows;
};

// Any file of Google Benchmark's has times; what it lacks of the rest stays empty. Counters `limit`
// has as library are yardsticks, not rows.
Result<Results> results_from_json(const nlohmann::json& document);

// Without the single repetitions of what has aggregates: what a page needs.
nlohmann::json without_repetitions(nlohmann::json document);

}  // namespace heed::bench
