// Sums of products of int16 codes in int32, which are exact in any order.
#include <bit>
#include <cstdint>
#include <cstring>

#include "src/base/quantize.h"
#include "src/kernels/layout.h"

#if defined(HEED_INT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_INT16_INL_H_
#undef HEED_INT16_INL_H_
#else
#define HEED_INT16_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DI = hn::RebindToSigned<DF>;
using VI = hn::VFromD<DI>;

// Adds the products of both halves of words, to `sum` or to it and `odd`; SumOf has the total.
HWY_INLINE void AddProducts(VI a, VI b, VI& sum, VI& odd) {
#if HWY_TARGET == HWY_SCALAR
  const auto low = [](VI x) { return hn::ShiftRight<16>(hn::ShiftLeft<16>(x)); };
  const VI high = hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b));
  sum = hn::Add(sum, hn::Add(hn::Mul(low(a), low(b)), high));
  (void)odd;
#else
  const hn::RepartitionToNarrow<DI> d16;
  sum = hn::ReorderWidenMulAccumulate(DI(), hn::BitCast(d16, a), hn::BitCast(d16, b), sum, odd);
#endif
}
HWY_INLINE VI SumOf(VI sum, [[maybe_unused]] VI odd) {
#if HWY_TARGET == HWY_SCALAR
  return sum;
#else
  return hn::RearrangeToOddPlusEven(sum, odd);
#endif
}

// GCC would compute all products of a step before the first sum, and spill sums for them.
HWY_INLINE void KeepOrder([[maybe_unused]] VI& a, [[maybe_unused]] VI& b) {
#if HWY_ARCH_X86 && HWY_COMPILER_GCC_ACTUAL && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  __asm__("" : "+v"(a.raw), "+v"(b.raw));
#endif
}

// The largest magnitude of n elements, a multiple of kPanel; what is not finite counts as larger.
HWY_INLINE float LargestOf(const float* HWY_RESTRICT x, size_t n) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const VI mask = hn::Set(DI(), 0x7FFFFFFF);
  VI even = hn::Zero(DI()), odd = even;
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Max(even, hn::And(hn::BitCast(DI(), hn::LoadU(d, x + i)), mask));
    odd = hn::Max(odd, hn::And(hn::BitCast(DI(), hn::LoadU(d, x + i + lanes)), mask));
  }
  if (i < n) even = hn::Max(even, hn::And(hn::BitCast(DI(), hn::LoadU(d, x + i)), mask));
  return std::bit_cast<float>(hn::ReduceMax(DI(), hn::Max(even, odd)));
}

// Codes of a row's chunk, int16, and its scale. `depth` is a multiple of kPanel; `largest` that of
// LargestOf.
HWY_INLINE float CodesOf(const float* HWY_RESTRICT x, size_t depth, float largest,
                         uint16_t* HWY_RESTRICT codes) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const Int16Scale scale(largest);
  if (!(scale.scale > 0.0f)) {
    std::memset(codes, 0, depth * sizeof(*codes));
    return scale.scale;
  }
  const VF inverse = hn::Set(d, scale.inverse);
  const VF most = hn::Set(d, kInt16Most), least = hn::Set(d, -kInt16Most);
  const VF round = hn::Set(d, 0x1.8p23f);
  const hn::Rebind<uint16_t, DF> d16;
  for (size_t i = 0; i < depth; i += lanes) {
    const VF product = hn::Mul(hn::LoadU(d, x + i), inverse);
    const VF sum = hn::Add(hn::Max(hn::Min(product, most), least), round);
    hn::StoreU(hn::TruncateTo(d16, hn::BitCast(hn::RebindToUnsigned<DF>(), sum)), d16, codes + i);
  }
  return scale.scale;
}

HWY_NOINLINE HWY_MAYBE_UNUSED static float CodesOfChunk(const float* HWY_RESTRICT x, size_t depth,
                                                        uint16_t* HWY_RESTRICT codes) {
  return CodesOf(x, depth, LargestOf(x, depth), codes);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_INT16_INL_H_
