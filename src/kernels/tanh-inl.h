// tanh: one fixed sequence of operations on every target.
#include "src/kernels/tanh_constants.h"

#if defined(HEED_TANH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_TANH_INL_H_
#undef HEED_TANH_INL_H_
#else
#define HEED_TANH_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/divide-inl.h"
#include "src/kernels/exp2-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The form for |x| below kTanhSmall; NaN for NaN.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V TanhOfSmall(D d, V x) {
  const V square = hn::Mul(x, x);
  V p = hn::MulAdd(hn::Set(d, kTanhC4), square, hn::Set(d, kTanhC3));
  p = hn::MulAdd(p, square, hn::Set(d, kTanhC2));
  p = hn::MulAdd(p, square, hn::Set(d, kTanhC1));
  p = hn::MulAdd(p, square, hn::Set(d, kTanhC0));
  return hn::MulAdd(hn::Mul(x, square), p, x);
}

// Both forms are computed and one is taken; NaN takes the second, and comes out of it.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V size = hn::Abs(x), small = TanhOfSmall(d, x);
  const V e = Exp2<D>(kTanhExponent)(hn::Neg(size));
  const V one = hn::Set(d, 1.0f);
  const V large = Divide(d, hn::Sub(one, e), hn::Add(one, e));
  return hn::IfThenElse(hn::Lt(size, hn::Set(d, kTanhSmall)), small, hn::CopySignToAbs(large, x));
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_TANH_INL_H_
