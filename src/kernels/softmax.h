// Softmax kernels: a few rows at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"

namespace heed::inline v1 {

struct SoftmaxRow {
  const float* x;
  float* y;  // may be x
};
inline constexpr size_t kMaxSoftmaxRows = 16;

struct SoftmaxKernels {
  // y = softmax of factor * x in units (score_units.h), of which to_base2 are 1 in base 2, over
  // n >= 1 elements of each row; at most kMaxSoftmaxRows.
  void (*rows)(const SoftmaxRow* rows, size_t count, float factor, float to_base2, size_t n);
  // y[i] = 2^x[i] for x[i] <= 0 or NaN; y may be x. For tests: softmax uses the same code.
  void (*exp2_row)(const float* x, float* y, size_t n);
};

template <>
const SoftmaxKernels& KernelsOf<SoftmaxKernels>(int64_t target);

}  // namespace heed::inline v1
