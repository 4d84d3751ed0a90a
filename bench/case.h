// A case: one library at one problem with one number of threads. Cases of one problem and number
// of threads stand side by side and are timed in turn.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/library.h"
#include "bench/problem.h"
#include "bench/settings.h"

namespace heed::bench {

// Several Runs are timed in turn: copies of one problem, so that each finds its data in memory
// rather than in the caches.
using Runs = std::vector<Run>;

// When a case is run: always, unless --quick, or when a filter names it.
enum class Tier { kQuick, kDefault, kNamed };

struct Case {
  std::string operation, shape;  // "matmul", "512x512x512"
  size_t threads = 1;
  Work work;
  Tier tier = Tier::kDefault;
  std::shared_ptr<const Library> library;
  std::function<Result<Runs>()> prepare;  // called once
  // Plain work that this one's cost per flop is compared with, in turn; null: none.
  std::function<Result<Run>()> prepare_baseline;
  double baseline_flops = 0;

  std::string problem() const;  // "matmul/512x512x512/threads:1"
  std::string name() const { return problem() + "/" + library->name(); }
};

// Runs `run`, which writes `got`, and `reference`, which writes `want`. Not ok when one is refused
// or they differ by more than f32 sums in another order do.
Status check_against(const Run& reference, const Buffer& want, const Run& run, const Buffer& got);

// Where the operations put their cases.
struct Suite {
  const Settings& settings;
  size_t beyond_cache_bytes = 0;
  std::vector<Case> cases = {};

  // How many copies of a problem of so many bytes do not fit the caches; at least 2.
  size_t copies_beyond_cache(double bytes) const;
};

// What is special about a problem among those of its operation.
struct Choice {
  Tier tier = Tier::kQuick;
  bool rivals = true;    // beside other libraries by default
  bool scaling = false;  // with every number of threads by default, not the first and last alone
};

// For each number of threads and each library that has `operation`, in this order, a Case;
// `prepare` gets the library and, as reference, heed.
using Prepare = std::function<Result<Runs>(const Library& library, const Library& reference)>;
void add_for_all(Suite* suite, const Case& problem, const Choice& choice, Operation operation,
                 const Prepare& prepare);

void add_matmul(Suite* suite);
void add_softmax(Suite* suite);
void add_attention(Suite* suite);
void add_features(Suite* suite);
void add_layer(Suite* suite);

// Those of the suite that the settings ask for.
std::vector<Case> chosen_cases(Suite suite);

}  // namespace heed::bench
