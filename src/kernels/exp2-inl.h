// 2^(a x) for a x <= 0: one fixed sequence of operations on every target.
#include "src/kernels/exp2_constants.h"

#if defined(HEED_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_EXP2_INL_H_
#undef HEED_EXP2_INL_H_
#else
#define HEED_EXP2_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The larger of x and a constant; NaN for NaN. Vectors of x86 give the second operand where one is
// NaN; elsewhere, scalar code on x86 too, a maximum may be the number.
template <class V>
HWY_INLINE V AtLeast(V bound, V x) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Max(bound, x);
#else
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
#endif
}

// 2^(factor x) for many x: `factor` > 0, x <= 0 or NaN. Exactly 1 at 0, exactly 0 where factor x is
// below -125.5, NaN for NaN. The power of two is a product rather than an addition to the exponent
// bits, so that a NaN's payload can't turn into a number.
template <class D>
class Exp2 {
  using V = hn::VFromD<D>;

 public:
  HWY_INLINE explicit Exp2(float factor) : factor_(factor), lowest_(kExp2Lowest / factor) {}

  HWY_INLINE V operator()(V x) const {
    const D d;
    const hn::RebindToUnsigned<D> du;
    const V factor = hn::Set(d, factor_), round = hn::Set(d, kExp2Round);
    x = AtLeast(hn::Set(d, lowest_), x);
    const V t = hn::MulAdd(x, factor, round);
    const V r = hn::MulSub(x, factor, hn::Sub(t, round));
    V p = hn::MulAdd(hn::Set(d, kExp2C5), r, hn::Set(d, kExp2C4));
    p = hn::MulAdd(p, r, hn::Set(d, kExp2C3));
    p = hn::MulAdd(p, r, hn::Set(d, kExp2C2));
    p = hn::MulAdd(p, r, hn::Set(d, kExp2C1));
    p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
    return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, t))));
  }

 private:
  float factor_, lowest_;  // a scalable vector can't be a member
};

// 2^x of one number.
HWY_INLINE float Exp2One(float x) {
  using D = hn::CappedTag<float, 1>;
  return hn::GetLane(Exp2<D>(1.0f)(hn::Set(D(), x)));
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_EXP2_INL_H_
