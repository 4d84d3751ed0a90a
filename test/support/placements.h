// Runs problems with operands and results at guard pages.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "tools/conformance/guarded.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

inline constexpr Placement kAtGuardPages[] = {Placement::kEndsAtGuard,
                                              Placement::kBeginsAfterGuard};

// Sizes around vectors, panels and blocks, for dimensions of what lies at a guard page.
inline constexpr size_t kAwkwardSizes[] = {1, 2, 3, 5, 15, 16, 17, 33, 127, 128, 129};

// The elements of several results, one after the other. Fails the test where heed wrote between.
inline std::vector<float> Joined(std::initializer_list<const Tensor<float>*> results) {
  std::vector<float> all;
  for (const Tensor<float>* result : results) {
    CHECK(result->GapsIntact());
    const std::vector<float> dense = result->Dense();
    all.insert(all.end(), dense.begin(), dense.end());
  }
  return all;
}

using Sizes = std::initializer_list<size_t>;

inline void RequireOk(const Status& status) { REQUIRE(std::string(status.message()) == ""); }

// Problem(arguments...) makes operands, the same ones each time, and Run(context) makes results of
// them: the same bits wherever both lie, on every target, alone and cut for several workers. A
// crash in here is an access past them.
template <class Problem, class... Arguments>
void CheckAtGuardPages(const Arguments&... arguments) {
  const Problem on_heap(arguments...);
  for (Placement placement : kAtGuardPages) {
    const Place place(placement);
    const Problem guarded(arguments...);
    for (Runner& runner : Runners()) {
      if (!runner.first_of_target && !runner.own_pool) continue;  // threads reach the same memory
      INFO(NameOf(placement) << ", " << runner.name);
      const auto got = guarded.Run(*runner.context);
      const Place ordinary(Placement::kHeap);
      CHECK(Difference(got, on_heap.Run(*runner.context)) == "");
    }
  }
}

}  // namespace heed::test
