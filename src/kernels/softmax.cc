#include "src/kernels/softmax.h"

#include <algorithm>

#include "heed/numerics.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/softmax.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/exp_sum-inl.h"
#include "src/kernels/infinity.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

using DF = DSum;

// The maximum of scale * x[0, n), n >= 1: exact in any order, so four chains hide each other's
// latency.
float ScaledMax(const float* HWY_RESTRICT x, float scale, size_t n) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  auto m0 = hn::Set(d, x[0] * scale), m1 = m0, m2 = m0, m3 = m0;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    m0 = hn::Max(m0, hn::Mul(hn::LoadU(d, x + i), vscale));
    m1 = hn::Max(m1, hn::Mul(hn::LoadU(d, x + i + lanes), vscale));
    m2 = hn::Max(m2, hn::Mul(hn::LoadU(d, x + i + 2 * lanes), vscale));
    m3 = hn::Max(m3, hn::Mul(hn::LoadU(d, x + i + 3 * lanes), vscale));
  }
  for (; i + lanes <= n; i += lanes) m0 = hn::Max(m0, hn::Mul(hn::LoadU(d, x + i), vscale));
  float result = hn::ReduceMax(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)));
  for (; i < n; ++i) result = std::max(result, x[i] * scale);
  return result;
}

// y = exp(scale * x - shift), and its sums in lanes.
HWY_INLINE void ExpOfRow(const float* x, float scale, float shift, float* y, size_t n,
                         float* HWY_RESTRICT sums) {
  const DF d;
  std::fill_n(sums, kSumLanes, 0.0f);
  const size_t whole = n - n % kSumLanes;
  const auto vscale = hn::Set(d, scale), vshift = hn::Set(d, shift);
  ExpAndSum(
      x, y, 0, whole,
      [&](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return hn::Sub(hn::Mul(v, vscale), vshift); },
      sums);
  if (whole == n) return;
  // A block of its own, filled up with exp(-inf) = +0, which changes no sum.
  HWY_ALIGN float tail[kSumLanes];
  std::fill_n(tail, kSumLanes, kMinusInfinity);
  for (size_t j = whole; j < n; ++j) tail[j - whole] = x[j] * scale - shift;
  ExpAndSum(
      tail, tail, 0, kSumLanes, [](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return v; }, sums);
  std::copy_n(tail, n - whole, y + whole);
}

HWY_INLINE void ScaleRow(float* HWY_RESTRICT y, float factor, size_t n) {
  const DF d;
  const auto by = hn::Set(d, factor);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, y + i), by), d, y + i);
  }
  for (; i < n; ++i) y[i] *= factor;
}

// Step by step for all rows: what ends a row, its maximum and its sum, is a chain that the next
// row's hides.
void SoftmaxRows(const SoftmaxRow* rows, size_t count, float scale, size_t n) {
  HWY_ALIGN float sums[kMaxSoftmaxRows * kSumLanes];
  float shift[kMaxSoftmaxRows], inverse[kMaxSoftmaxRows];
  for (size_t r = 0; r < count; ++r) {
    const float max = ScaledMax(rows[r].x, scale, n);
    shift[r] = max == kMinusInfinity ? 0.0f : max;
  }
  for (size_t r = 0; r < count; ++r) {
    ExpOfRow(rows[r].x, scale, shift[r], rows[r].y, n, sums + r * kSumLanes);
  }
  for (size_t r = 0; r < count; ++r) FoldLanes(sums + r * kSumLanes);
  for (size_t r = 0; r < count; ++r) {
    const float sum = sums[r * kSumLanes];
    inverse[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
  }
  for (size_t r = 0; r < count; ++r) ScaleRow(rows[r].y, inverse[r], n);
}

void ExpRow(const float* x, float* y, size_t n) {
  const DF d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(Exp(d, hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = ExpOne(x[i]);
}

}  // namespace

constexpr SoftmaxKernels kKernels = {&SoftmaxRows, &ExpRow};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

HEED_DISPATCH(SoftmaxKernels)

}  // namespace heed
#endif  // HWY_ONCE
