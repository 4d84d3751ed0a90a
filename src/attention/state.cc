#include "src/attention/state.h"

#include <algorithm>
#include <cmath>

#include "src/base/math.h"
#include "src/base/memory.h"
#include "src/kernels/exp2_constants.h"
#include "src/kernels/infinity.h"

namespace heed::inline v1 {
namespace {

// Brings `total` to the scale of a common maximum with `max`; returns that of the other side.
float Rescale(const AttentionKernels& kernels, float max, const RowPartial& total, float* factor) {
  const float merged = std::max(*total.max, max);
  *factor = kernels.exp2(*total.max - ShiftOf(merged));
  *total.max = merged;
  return kernels.exp2(max - ShiftOf(merged));
}

}  // namespace

float ShiftOf(float max) { return max == kMinusInfinity ? 0.0f : max; }

float InverseOf(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

float LogSumExp(double max, float sum) {
  if (sum == 0.0f) return kMinusInfinity;
  const double log_sum =
      sum > 0.0f && std::isfinite(sum) ? Log(static_cast<double>(sum)) : static_cast<double>(sum);
  return static_cast<float>(max + log_sum);
}

void ClearRow(const RowPartial& row, size_t n) {
  *row.max = kMinusInfinity;
  *row.sum = 0.0f;
  SetZero(row.acc, n);
}

void TakeSegment(const AttentionKernels& kernels, size_t n, const RowPartial& part,
                 const RowPartial& total) {
  if (*part.sum == 0.0f) return;
  if (*total.sum == 0.0f) {
    *total.max = *part.max;
    *total.sum = *part.sum;
    std::copy_n(part.acc, n, total.acc);
    return;
  }
  float f = 0;
  const float g = Rescale(kernels, *part.max, total, &f);
  kernels.merge(total.sum, f, part.sum, g, 1);
  kernels.merge(total.acc, f, part.acc, g, n);
}

void TakeSink(const AttentionKernels& kernels, size_t n, float sink, const RowPartial& total) {
  float f = 0;
  const float g = Rescale(kernels, ToBase2(sink), total, &f);
  const float one = 1.0f;
  kernels.merge(total.sum, f, &one, g, 1);
  kernels.scale(total.acc, f, n);
}

}  // namespace heed::inline v1
