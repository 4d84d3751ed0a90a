#include "src/kernels/norm.h"

#include <algorithm>

#include "heed/numerics.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/norm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/divide-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

using DOne = hn::CappedTag<float, 1>;
using VOne = hn::VFromD<DOne>;

// The sums of squares of kRows rows. A row is one chain; four chains side by side hide the latency
// of each.
template <size_t kRows>
HWY_INLINE void SumSquares(const float* HWY_RESTRICT x, size_t n, float* HWY_RESTRICT sums) {
  const DOne d;
  for (size_t begin = 0; begin < n; begin += kSumChunk) {
    VOne s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    const auto add = [&](size_t row, size_t i, VOne& sum) HWY_ATTR {
      const VOne v = hn::LoadU(d, x + row * n + i);
      sum = hn::MulAdd(v, v, sum);
    };
    for (size_t i = begin; i < std::min(n, begin + kSumChunk); ++i) {
      add(0, i, s0);
      if constexpr (kRows == 4) {
        add(1, i, s1);
        add(2, i, s2);
        add(3, i, s3);
      }
    }
    const auto total = [&](size_t row, VOne sum) HWY_ATTR {
      sums[row] = begin == 0 ? hn::GetLane(sum) : sums[row] + hn::GetLane(sum);
    };
    total(0, s0);
    if constexpr (kRows == 4) {
      total(1, s1);
      total(2, s2);
      total(3, s3);
    }
  }
}

template <class D>
HWY_INLINE size_t ScaleLoop(D d, float* HWY_RESTRICT x, size_t n, const float* HWY_RESTRICT weight,
                            float inverse, size_t i) {
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse));
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, weight + i)), d, x + i);
  }
  return i;
}

template <size_t kRows>
HWY_INLINE void Rows(float* x, size_t n, const float* weight, float eps) {
  const DOne one;
  float sums[kRows] = {};  // n is at least 1, which GCC can't see
  SumSquares<kRows>(x, n, sums);
  for (size_t row = 0; row < kRows; ++row) {
    const float mean = sums[row] / static_cast<float>(n);
    const float inverse = 1.0f / SquareRoot(mean + eps);
    const size_t i = ScaleLoop(hn::ScalableTag<float>(), x + row * n, n, weight, inverse, 0);
    ScaleLoop(one, x + row * n, n, weight, inverse, i);
  }
}

void Rms(float* x, size_t rows, size_t n, const float* weight, float eps) {
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) Rows<4>(x + row * n, n, weight, eps);
  for (; row < rows; ++row) Rows<1>(x + row * n, n, weight, eps);
}

}  // namespace

constexpr NormKernels kKernels = {&Rms};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(NormKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
