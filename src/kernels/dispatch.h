// From an instruction set to its kernels.
#pragma once

#include <cstdint>

namespace heed::inline v1 {

// The kernels of one instruction set: one bit of Highway's HWY_* masks, among those compiled.
template <class Table>
const Table& KernelsOf(int64_t target);

// Defines KernelsOf<TABLE> at the end of a file of kernels, which are kKernels in each instruction
// set's namespace.
#define HEED_DISPATCH_TO(TARGET, NAMESPACE) \
  if (target == TARGET) return NAMESPACE::kKernels;
#define HEED_DISPATCH(TABLE)                      \
  template <>                                     \
  const TABLE& KernelsOf<TABLE>(int64_t target) { \
    HWY_VISIT_TARGETS(HEED_DISPATCH_TO)           \
    return HWY_STATIC_NAMESPACE::kKernels;        \
  }

}  // namespace heed::inline v1
