// Powers of two of a row and their sum in 16 lanes, and its folding: shared by softmax and
// attention.
#include <cstddef>

#include "heed/numerics.hpp"

#if defined(HEED_EXP_SUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_EXP_SUM_INL_H_
#undef HEED_EXP_SUM_INL_H_
#else
#define HEED_EXP_SUM_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/exp2-inl.h"
#include "src/kernels/inline_lambda.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DSum = hn::CappedTag<float, kSumLanes>;

// y[j] = exp2(argument(x[j])), added to sums[j % 16], for j in [begin, end), multiples of 16; in
// ascending order, as each lane asks for. y may be x. The lanes stay in as many vectors as they
// fill: one or two, and where they fill more, one vector after the other runs over the row.
template <class Argument>
HWY_INLINE void ExpAndSum(const float* x, float* y, size_t begin, size_t end,
                          const Exp2<DSum>& exp2, const Argument& argument,
                          float* HWY_RESTRICT sums) {
  const DSum d;
  const size_t lanes = hn::Lanes(d);
  const auto next = [&](size_t j, hn::VFromD<DSum>& sum) HEED_INLINE_LAMBDA {
    const auto e = exp2(argument(hn::LoadU(d, x + j)));
    hn::StoreU(e, d, y + j);
    sum = hn::Add(sum, e);
  };
  if (lanes == kSumLanes) {
    auto s0 = hn::LoadU(d, sums);
    for (size_t j = begin; j < end; j += kSumLanes) next(j, s0);
    hn::StoreU(s0, d, sums);
  } else if (lanes == kSumLanes / 2) {
    auto s0 = hn::LoadU(d, sums), s1 = hn::LoadU(d, sums + lanes);
    for (size_t j = begin; j < end; j += kSumLanes) {
      next(j, s0);
      next(j + lanes, s1);
    }
    hn::StoreU(s0, d, sums);
    hn::StoreU(s1, d, sums + lanes);
  } else {
    for (size_t lane = 0; lane < kSumLanes; lane += lanes) {
      auto sum = hn::LoadU(d, sums + lane);
      for (size_t j = begin + lane; j < end; j += kSumLanes) next(j, sum);
      hn::StoreU(sum, d, sums + lane);
    }
  }
}

template <size_t kHalf>
HWY_INLINE void FoldHalf(float* lanes) {
  const hn::CappedTag<float, kHalf> d;
  for (size_t i = 0; i < kHalf; i += hn::Lanes(d)) {
    hn::StoreU(hn::Add(hn::LoadU(d, lanes + i), hn::LoadU(d, lanes + i + kHalf)), d, lanes + i);
  }
}

// The fixed tree of the contract: lane i takes lane i + 8, then + 4, + 2, + 1. Lane 0 is the sum;
// overwrites the others.
HWY_INLINE void FoldLanes(float* lanes) {
  static_assert(kSumLanes == 16);
  FoldHalf<8>(lanes);
  FoldHalf<4>(lanes);
  FoldHalf<2>(lanes);
  FoldHalf<1>(lanes);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_EXP_SUM_INL_H_
