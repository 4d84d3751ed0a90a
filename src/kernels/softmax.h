// Softmax kernels: one row at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"

namespace heed {

struct SoftmaxKernels {
  // y = softmax(scale * x) over n >= 1 elements; y may be x.
  void (*row)(const float* x, float scale, float* y, size_t n);
  // y[i] = exp(x[i]) for x[i] <= 0 or NaN; y may be x. For tests: softmax uses the same code.
  void (*exp_row)(const float* x, float* y, size_t n);
};

template <>
const SoftmaxKernels& KernelsOf<SoftmaxKernels>(int64_t target);

}  // namespace heed
