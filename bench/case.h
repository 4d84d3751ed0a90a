// A case: one library at one problem with one number of threads. Each operation's file says which
// cases there are.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/library.h"
#include "bench/problem.h"
#include "bench/results.h"
#include "bench/settings.h"

namespace heed::bench {

// Several Runs are timed in turn: copies of one problem, so that each finds its data in memory
// rather than in the caches.
using Runs = std::vector<Run>;

// When a case is run: always, unless --quick, or when a filter names it. In this order.
enum class Tier { kQuick, kDefault, kNamed };

struct Case {
  std::string operation;  // "matmul"
  Shape shape;
  // The limit to look at first: multiply-adds, or reads from where the operands lie. What is read
  // from memory may be bound by its multiply-adds all the same: the runner finds what takes longer.
  Bound bound = Bound::kFlops;
  Work work;
  size_t threads = 1;
  Tier tier = Tier::kDefault;
  std::string library_name;  // "heed", or a baseline
  std::shared_ptr<const Library> library;
  std::function<Result<Runs>()> prepare;  // called once

  std::string problem() const {
    return operation + "/" + shape.name + "/threads:" + std::to_string(threads);
  }
  std::string name() const { return problem() + "/" + library_name; }
};

// Runs `run`, which writes `got`, and `reference`, which writes `want`. Not ok when one is refused
// or they differ by more than f32 sums in another order do.
Status check_against(const Run& reference, const Buffer& want, const Run& run, const Buffer& got);

// So many copies of Problem(args...), the first one checked: Problem::run(library) writes `out`,
// run(reference, true) what must be in it to `want`.
template <class Problem, class... Args>
Result<Runs> prepare_copies(size_t copies, const Library& library, const Library& reference,
                            const Args&... args) {
  Runs runs;
  for (size_t i = 0; i < copies; ++i) {
    const auto problem = std::make_shared<Problem>(args...);
    const Result<Run> run = problem->run(library, false);
    if (!run.ok()) return run.status();
    if (i == 0) {
      const Result<Run> want = problem->run(reference, true);
      if (!want.ok()) return want.status();
      const Status same = check_against(*want, problem->want, *run, problem->out);
      if (!same.ok()) return same;
    }
    runs.push_back([problem, run = *run] { return run(); });
  }
  return runs;
}

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

}  // namespace heed::bench
