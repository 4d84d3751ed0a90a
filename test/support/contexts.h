// Every instruction set of this machine with every number of threads.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "heed/context.hpp"
#include "heed/info.hpp"
#include "test/spec/spec.h"

namespace heed::test {

std::vector<const char*> Targets();  // the supported ones, best first
std::vector<Family> Families();      // those that occur among them

// One way to run heed. Each is made once and shared by all tests, so its workspace has seen other
// problems before.
struct Runner {
  std::string name;  // "AVX2, 3 threads"
  Family family;
  bool first_of_target;  // the one with a single thread
  bool own_pool;         // four workers, one after another
  std::unique_ptr<Context> context;
};

// Each target with 1, 2, 3 and 7 threads (Quick(): 1 and 3), and with a pool of the caller's own.
// The last takes the ways of matrices beyond the cache.
std::vector<Runner>& Runners();

// Calls f(Spec<family>()) for the family.
template <class F>
auto WithSpec(Family family, F f) {
  return family == Family::kFma ? f(spec::Spec<Family::kFma>())
                                : f(spec::Spec<Family::kMultiplyAdd>());
}

// One result per family; only the families of Families() are filled in.
template <class T>
class PerFamily {
 public:
  // compute(family) returns a T.
  template <class F>
  explicit PerFamily(F compute) {
    for (Family family : Families()) value_[Index(family)] = compute(family);
  }
  const T& operator[](Family family) const { return value_[Index(family)]; }

 private:
  static size_t Index(Family family) { return family == Family::kFma ? 0 : 1; }
  T value_[2];
};

}  // namespace heed::test
