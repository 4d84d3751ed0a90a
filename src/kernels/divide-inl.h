// Division and square root, rounded once on every target.
#if defined(HEED_DIVIDE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_DIVIDE_INL_H_
#undef HEED_DIVIDE_INL_H_
#else
#define HEED_DIVIDE_INL_H_
#endif

#include <cmath>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 32-bit NEON can only approximate both, unlike the scalar unit beside it.
#if HWY_ARCH_ARM_V7
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V Divide(D d, V a, V b) {
  HWY_ALIGN float quotients[hn::MaxLanes(D())], divisors[hn::MaxLanes(D())];
  hn::Store(a, d, quotients);
  hn::Store(b, d, divisors);
  for (size_t i = 0; i < hn::Lanes(d); ++i) quotients[i] /= divisors[i];
  return hn::Load(d, quotients);
}

HWY_INLINE float SquareRoot(float x) { return std::sqrt(x); }
#else
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V Divide(D /*d*/, V a, V b) {
  return hn::Div(a, b);
}

HWY_INLINE float SquareRoot(float x) {
  return hn::GetLane(hn::Sqrt(hn::Set(hn::CappedTag<float, 1>(), x)));
}
#endif

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_DIVIDE_INL_H_
