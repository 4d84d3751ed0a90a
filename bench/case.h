// One line of the report: one library at one problem with one number of threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/library.h"
#include "bench/machine.h"
#include "bench/problem.h"
#include "bench/settings.h"

namespace heed::bench {

// Several Runs are timed in turn: copies of one problem, so that each finds its data in memory
// rather than in the caches.
using Runs = std::vector<Run>;

struct Case {
  std::string name;  // "matmul/512x512x512/threads:1/heed"
  size_t threads = 1;
  Work work;
  std::shared_ptr<const Library> library;
  std::function<Result<Runs>()> prepare;  // called once per batch of repetitions
  // Plain work that this one's cost per flop is compared with, in turn; null: none.
  std::function<Result<Run>()> prepare_baseline;
  double baseline_flops = 0;
};

// `machine` must live until the benchmarks have run.
void register_case(const Machine& machine, Case c);

// Whether a case that ran was refused, threw, or computed something else than heed.
bool any_case_failed();

// How many copies of a problem of so many bytes do not fit the caches; at least 2.
size_t copies_beyond_cache(const Machine& machine, double bytes);

// Runs `run`, which writes `got`, and `reference`, which writes `want`. Not ok when one is refused
// or they differ by more than f32 sums in another order do.
Status check_against(const Run& reference, const Buffer& want, const Run& run, const Buffer& got);

// What the benchmarks of an operation are made of: for each number of threads the libraries, heed
// first.
struct Suite {
  const Settings& settings;
  const Machine& machine;
  std::vector<std::vector<std::shared_ptr<const Library>>> libraries;  // as settings.threads
};
Suite make_suite(const Settings& settings, const Machine& machine);

// For each number of threads and each library that has `operation`, in this order, a Case called
// "NAME/threads:N/LIBRARY"; `prepare` gets the library and, as reference, heed.
using Prepare = std::function<Result<Runs>(const Library& library, const Library& reference)>;
void register_for_all(const Suite& suite, const std::string& name, Operation operation, Work work,
                      const Prepare& prepare);

void register_matmul(const Suite& suite);
void register_softmax(const Suite& suite);
void register_attention(const Suite& suite);
void register_features(const Suite& suite);
void register_layer(const Suite& suite);

}  // namespace heed::bench
