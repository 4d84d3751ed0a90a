// exp for x <= 0: one fixed sequence of operations on every target.
#include "src/kernels/exp_constants.h"

#if defined(HEED_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_EXP_INL_H_
#undef HEED_EXP_INL_H_
#else
#define HEED_EXP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// exp(x), x <= 0 or NaN. Exactly 1 at 0, exactly 0 below kExpLowest, NaN for NaN. The scale is a
// product rather than an addition to the exponent bits, so that a NaN's payload can't turn into a
// number.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToUnsigned<D> du;
  const V t = hn::MulAdd(x, hn::Set(d, kExpLog2e), hn::Set(d, kExpRound));
  const V n = hn::Sub(t, hn::Set(d, kExpRound));
  V r = hn::MulAdd(n, hn::Set(d, -kExpLn2Hi), x);
  r = hn::MulAdd(n, hn::Set(d, -kExpLn2Lo), r);
  V p = hn::MulAdd(hn::Set(d, kExpC6), r, hn::Set(d, kExpC5));
  p = hn::MulAdd(p, r, hn::Set(d, kExpC4));
  p = hn::MulAdd(p, r, hn::Set(d, kExpC3));
  p = hn::MulAdd(p, r, hn::Set(d, kExpC2));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, t)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, kExpLowest)), hn::Mul(p, scale));
}

// The same of one number.
HWY_INLINE float ExpOne(float x) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(Exp(d, hn::Set(d, x)));
}

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_EXP_INL_H_
