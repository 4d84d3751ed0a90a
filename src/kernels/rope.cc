#include "src/kernels/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/rope.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

// (a, b) -> (a cos - b sin, b cos + a sin), the product subtracted or added first.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE void Rotate(D d, V& a, V& b, const float* cos, const float* sin, size_t t) {
  const V c = hn::LoadU(d, cos + t);
  const V s = hn::LoadU(d, sin + t);
  const V rotated = hn::MulAdd(a, c, hn::Neg(hn::Mul(b, s)));
  b = hn::MulAdd(b, c, hn::Mul(a, s));
  a = rotated;
}

template <class D>
HWY_INLINE size_t HalfLoop(D d, const float* x, const float* cos, const float* sin, size_t pairs,
                           float* y, size_t t) {
  for (; t + hn::Lanes(d) <= pairs; t += hn::Lanes(d)) {
    auto a = hn::LoadU(d, x + t);
    auto b = hn::LoadU(d, x + pairs + t);
    Rotate(d, a, b, cos, sin, t);
    hn::StoreU(a, d, y + t);
    hn::StoreU(b, d, y + pairs + t);
  }
  return t;
}

void Half(const float* x, const float* cos, const float* sin, size_t pairs, float* y) {
  const size_t t = HalfLoop(hn::ScalableTag<float>(), x, cos, sin, pairs, y, 0);
  HalfLoop(hn::CappedTag<float, 1>(), x, cos, sin, pairs, y, t);
}

template <class D>
HWY_INLINE size_t InterleavedLoop(D d, const float* x, const float* cos, const float* sin,
                                  size_t pairs, float* y, size_t t) {
  for (; t + hn::Lanes(d) <= pairs; t += hn::Lanes(d)) {
    hn::VFromD<D> a, b;
    hn::LoadInterleaved2(d, x + 2 * t, a, b);
    Rotate(d, a, b, cos, sin, t);
    hn::StoreInterleaved2(a, b, d, y + 2 * t);
  }
  return t;
}

void Interleaved(const float* x, const float* cos, const float* sin, size_t pairs, float* y) {
  const size_t t = InterleavedLoop(hn::ScalableTag<float>(), x, cos, sin, pairs, y, 0);
  const hn::CappedTag<float, 1> one;
  for (size_t i = t; i < pairs; ++i) {
    auto a = hn::Set(one, x[2 * i]);
    auto b = hn::Set(one, x[2 * i + 1]);
    Rotate(one, a, b, cos, sin, i);
    y[2 * i] = hn::GetLane(a);
    y[2 * i + 1] = hn::GetLane(b);
  }
}

}  // namespace

constexpr RopeKernels kKernels = {&Half, &Interleaved};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(RopeKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
