// The Hadamard rotation of rows (heed/hadamard.hpp).
#pragma once

#include <cstddef>

#include "src/kernels/dispatch.h"

namespace heed::inline v1 {

struct HadamardKernels {
  // One row of n elements, in parts of `part`, a power of two; y may be x. `scratch` has 2 * part
  // floats.
  void (*row)(const float* x, size_t n, size_t part, float scale, float* scratch, float* y);
};

template <>
const HadamardKernels& KernelsOf<HadamardKernels>(int64_t target);

}  // namespace heed::inline v1
