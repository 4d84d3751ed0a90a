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
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

using DF = DSum;

// The maximum of times(x[0, n)), n >= 1: exact in any order, so four chains hide each other's
// latency.
template <class Times>
HWY_INLINE float MaxOf(const float* HWY_RESTRICT x, size_t n, const Times& times) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  auto m0 = times(hn::Set(d, x[0])), m1 = m0, m2 = m0, m3 = m0;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    m0 = hn::Max(m0, times(hn::LoadU(d, x + i)));
    m1 = hn::Max(m1, times(hn::LoadU(d, x + i + lanes)));
    m2 = hn::Max(m2, times(hn::LoadU(d, x + i + 2 * lanes)));
    m3 = hn::Max(m3, times(hn::LoadU(d, x + i + 3 * lanes)));
  }
  for (; i + lanes <= n; i += lanes) m0 = hn::Max(m0, times(hn::LoadU(d, x + i)));
  float result = hn::ReduceMax(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)));
  for (; i < n; ++i) result = std::max(result, times.OfOne(x[i]));
  return result;
}

struct TimesOne {
  using V = hn::VFromD<DF>;
  HWY_INLINE V operator()(V x) const { return x; }
  HWY_INLINE float OfOne(float x) const { return x; }
};

struct TimesFactor {
  using V = hn::VFromD<DF>;
  float factor;
  HWY_INLINE V operator()(V x) const { return hn::Mul(x, hn::Set(DF(), factor)); }
  HWY_INLINE float OfOne(float x) const { return x * factor; }
};

// y = exp2(times(x) - shift), and its sums in lanes.
template <class Times>
HWY_INLINE void ExpOfRow(const float* x, const Times& times, const Exp2<DF>& exp2, float shift,
                         float* y, size_t n, float* HWY_RESTRICT sums) {
  const DF d;
  std::fill_n(sums, kSumLanes, 0.0f);
  const size_t whole = n - n % kSumLanes;
  const auto vshift = hn::Set(d, shift);
  ExpAndSum(
      x, y, 0, whole, exp2,
      [&](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return hn::Sub(times(v), vshift); }, sums);
  if (whole == n) return;
  // A block of its own, filled up with 2^-inf = +0, which changes no sum.
  HWY_ALIGN float tail[kSumLanes];
  std::fill_n(tail, kSumLanes, kMinusInfinity);
  for (size_t j = whole; j < n; ++j) tail[j - whole] = times.OfOne(x[j]) - shift;
  ExpAndSum(
      tail, tail, 0, kSumLanes, exp2, [](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return v; }, sums);
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
template <class Times>
HWY_INLINE void SoftmaxOf(const SoftmaxRow* rows, size_t count, const Times& times, float to_base2,
                          size_t n) {
  HWY_ALIGN float sums[kMaxSoftmaxRows * kSumLanes];
  float shift[kMaxSoftmaxRows], inverse[kMaxSoftmaxRows];
  const Exp2<DF> exp2(to_base2);
  for (size_t r = 0; r < count; ++r) {
    const float max = MaxOf(rows[r].x, n, times);
    shift[r] = max == kMinusInfinity ? 0.0f : max;
  }
  for (size_t r = 0; r < count; ++r) {
    ExpOfRow(rows[r].x, times, exp2, shift[r], rows[r].y, n, sums + r * kSumLanes);
  }
  for (size_t r = 0; r < count; ++r) FoldLanes(sums + r * kSumLanes);
  for (size_t r = 0; r < count; ++r) {
    const float sum = sums[r * kSumLanes];
    inverse[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
  }
  for (size_t r = 0; r < count; ++r) ScaleRow(rows[r].y, inverse[r], n);
}

void SoftmaxRows(const SoftmaxRow* rows, size_t count, float factor, float to_base2, size_t n) {
  if (factor == 1.0f) {
    SoftmaxOf(rows, count, TimesOne(), to_base2, n);
  } else {
    SoftmaxOf(rows, count, TimesFactor{factor}, to_base2, n);
  }
}

void Exp2Row(const float* x, float* y, size_t n) {
  const DF d;
  const Exp2<DF> exp2(1.0f);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(exp2(hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = Exp2One(x[i]);
}

}  // namespace

constexpr SoftmaxKernels kKernels = {&SoftmaxRows, &Exp2Row};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(SoftmaxKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
