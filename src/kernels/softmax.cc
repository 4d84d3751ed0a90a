#include "src/kernels/softmax.h"

#include <algorithm>
#include <limits>

#include "heed/numerics.hpp"
#include "src/kernels/row_sum.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/softmax.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kSumLanes>;
using DOne = hn::CappedTag<float, 1>;

// The maximum of scale * x[0, n), n >= 1.
float ScaledMax(const float* HWY_RESTRICT x, float scale, size_t n) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  auto max = hn::Set(d, x[0] * scale);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    max = hn::Max(max, hn::Mul(hn::LoadU(d, x + i), vscale));
  }
  float result = hn::ReduceMax(d, max);
  for (; i < n; ++i) result = std::max(result, x[i] * scale);
  return result;
}

// y[j] = exp(scale * x[j] - shift) for j in [begin, end), added to lane j % 16. begin and the
// vectors within a group of 16 are aligned to the lanes, so every lane gets its keys in ascending
// order.
template <class D>
HWY_INLINE void ExpAndSum(D d, const float* x, float scale, float shift, float* y, size_t begin,
                          size_t end, float* HWY_RESTRICT sums) {
  const size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  const auto vshift = hn::Set(d, shift);
  for (size_t j = begin; j + lanes <= end; j += lanes) {
    float* HWY_RESTRICT lane = sums + j % kSumLanes;
    const auto e = Exp(d, hn::Sub(hn::Mul(hn::LoadU(d, x + j), vscale), vshift));
    hn::StoreU(e, d, y + j);
    hn::StoreU(hn::Add(hn::LoadU(d, lane), e), d, lane);
  }
}

void SoftmaxRow(const float* x, float scale, float* y, size_t n) {
  const DF d;
  const float max = ScaledMax(x, scale, n);
  const float shift = max == -std::numeric_limits<float>::infinity() ? 0.0f : max;
  HWY_ALIGN float sums[kSumLanes] = {};
  const size_t whole = n - n % hn::Lanes(d);
  ExpAndSum(d, x, scale, shift, y, 0, whole, sums);
  ExpAndSum(DOne(), x, scale, shift, y, whole, n, sums);
  const float sum = FoldLanes(sums);
  const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (size_t i = 0; i < whole; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Set(d, inverse)), d, y + i);
  }
  for (size_t i = whole; i < n; ++i) y[i] *= inverse;
}

void ExpRow(const float* x, float* y, size_t n) {
  const DF d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(Exp(d, hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = ExpOne(x[i]);
}

extern const SoftmaxKernels kSoftmaxKernels;
const SoftmaxKernels kSoftmaxKernels = {&SoftmaxRow, &ExpRow};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

const SoftmaxKernels& GetSoftmaxKernels(int64_t target) {
#define HEED_VISIT(TARGET, NAMESPACE) \
  if (target == TARGET) return NAMESPACE::kSoftmaxKernels;
  HWY_VISIT_TARGETS(HEED_VISIT)
#undef HEED_VISIT
  return HWY_STATIC_NAMESPACE::kSoftmaxKernels;
}

}  // namespace heed
#endif  // HWY_ONCE
