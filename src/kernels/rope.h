// The rotation of RoPE for one head of one token.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"

namespace heed::inline v1 {

// Rotates `pairs` channel pairs of x into y (which may be x) by the given cosines and sines.
struct RopeKernels {
  void (*half)(const float* x, const float* cos, const float* sin, size_t pairs, float* y);
  void (*interleaved)(const float* x, const float* cos, const float* sin, size_t pairs, float* y);
};

template <>
const RopeKernels& KernelsOf<RopeKernels>(int64_t target);

}  // namespace heed::inline v1
