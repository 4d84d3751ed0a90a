// RMSNorm of the heads of one token.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"

namespace heed::inline v1 {

struct NormKernels {
  // In place, for each of `rows` rows of n floats, one after the other in memory:
  // x[i] = x[i] * (1 / sqrt(sum of x^2 / n + eps)) * weight[i].
  void (*rms)(float* x, size_t rows, size_t n, const float* weight, float eps);
};

template <>
const NormKernels& KernelsOf<NormKernels>(int64_t target);

}  // namespace heed::inline v1
