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

template <class Times>
HWY_INLINE void SoftmaxOf(const float* x, const Times& times, float to_base2, float* y, size_t n) {
  const DF d;
  const float max = MaxOf(x, n, times);
  const float shift = max == kMinusInfinity ? 0.0f : max;
  const Exp2<DF> exp2(to_base2);
  HWY_ALIGN float sums[kSumLanes] = {};
  const size_t whole = n - n % kSumLanes;
  const auto vshift = hn::Set(d, shift);
  ExpAndSum(
      x, y, 0, whole, exp2,
      [&](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return hn::Sub(times(v), vshift); }, sums);
  if (whole < n) {  // a block of its own, filled up with e^-inf = +0, which changes no sum
    HWY_ALIGN float tail[kSumLanes];
    std::fill_n(tail, kSumLanes, kMinusInfinity);
    for (size_t j = whole; j < n; ++j) tail[j - whole] = times.OfOne(x[j]) - shift;
    ExpAndSum(
        tail, tail, 0, kSumLanes, exp2, [](hn::VFromD<DF> v) HEED_INLINE_LAMBDA { return v; },
        sums);
    std::copy_n(tail, n - whole, y + whole);
  }
  FoldLanes(sums);
  const float inverse = sums[0] == 0.0f ? 0.0f : 1.0f / sums[0];
  for (size_t i = 0; i < whole; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Set(d, inverse)), d, y + i);
  }
  for (size_t i = whole; i < n; ++i) y[i] *= inverse;
}

void SoftmaxRow(const float* x, float factor, float to_base2, float* y, size_t n) {
  if (factor == 1.0f) {
    SoftmaxOf(x, TimesOne(), to_base2, y, n);
  } else {
    SoftmaxOf(x, TimesFactor{factor}, to_base2, y, n);
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

constexpr SoftmaxKernels kKernels = {&SoftmaxRow, &Exp2Row};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

HEED_DISPATCH(SoftmaxKernels)

}  // namespace heed
#endif  // HWY_ONCE
