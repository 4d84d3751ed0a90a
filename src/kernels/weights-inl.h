// Elements of packed weights: what is stored, times the scale of its column and group.
#include "src/kernels/panels.h"

#if defined(HEED_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_WEIGHTS_INL_H_
#undef HEED_WEIGHTS_INL_H_
#else
#define HEED_WEIGHTS_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Put into the right four mantissa bits of 2^15 or 2^11, a nibble u of an element v = u - 8 is the
// number offset + u, and fma(offset + u, scale, -(offset + 8) * scale) is
// v * scale, exact as long as the scale is an f16: converted and multiplied at once.
#undef HEED_NIBBLES_AS_MANTISSA
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && HWY_NATIVE_FMA
#define HEED_NIBBLES_AS_MANTISSA 1
#else
#define HEED_NIBBLES_AS_MANTISSA 0
#endif
constexpr float kEvenOffset = 0x1p15f, kOddOffset = 0x1p11f;  // bits 8 to 11, and 12 to 15

// What Weights<kInt4> adds to even and to odd steps: computed once for a group.
HWY_INLINE VF EvenNibbles(VF scale) { return hn::Mul(scale, hn::Set(DF(), -(kEvenOffset + 8))); }
HWY_INLINE VF OddNibbles(VF scale) { return hn::Mul(scale, hn::Set(DF(), -(kOddOffset + 8))); }

template <DType kDType>
struct Weights {
  static constexpr size_t kTwoSteps = 2 * BytesOfStep(kDType);  // bytes

  // One vector of columns at step k of a panel.
  static HWY_INLINE VF Load(const uint8_t* HWY_RESTRICT panel, size_t k, size_t column, VF scale) {
    VF x = Stored<kDType>::Load(DF(), panel, k * kPanel + column);
    if constexpr (HasScales(kDType)) x = TimesScale(x, scale);
    return x;
  }
  // The same at two steps, of which the first is even and begins at `at`. `even` and `odd` are
  // EvenNibbles and OddNibbles of the scale.
  static HWY_INLINE void LoadTwo(const uint8_t* HWY_RESTRICT at, size_t column, VF scale,
                                 [[maybe_unused]] VF even, [[maybe_unused]] VF odd, VF& x0,
                                 VF& x1) {
#if HEED_NIBBLES_AS_MANTISSA
    if constexpr (kDType == DType::kInt4) {
      const DF d;
      const hn::RebindToUnsigned<DF> du;
      const hn::Repartition<uint8_t, DF> d8;
      // Takes byte c of 16 to bits 8 to 15 of lane c.
      alignas(64) static constexpr uint32_t kSpread[kPanel] = {
          0x80800080, 0x80800180, 0x80800280, 0x80800380, 0x80800480, 0x80800580,
          0x80800680, 0x80800780, 0x80800880, 0x80800980, 0x80800A80, 0x80800B80,
          0x80800C80, 0x80800D80, 0x80800E80, 0x80800F80};
      const auto spread = hn::BitCast(d8, hn::Load(du, kSpread + column % kPanel));
      const auto words = hn::BitCast(du, hn::TableLookupBytesOr0(hn::LoadDup128(d8, at), spread));
      // Two's complement with its sign exchanged is u.
      const auto u0 =
          hn::Xor(hn::And(words, hn::Set(du, 0x0F00u)), hn::Set(du, 0x47000000u | 0x0800u));
      const auto u1 =
          hn::Xor(hn::And(words, hn::Set(du, 0xF000u)), hn::Set(du, 0x45000000u | 0x8000u));
      x0 = hn::MulAdd(hn::BitCast(d, u0), scale, even);
      x1 = hn::MulAdd(hn::BitCast(d, u1), scale, odd);
      return;
    }
#endif
    x0 = Load(at, 0, column, scale);
    x1 = Load(at, 1, column, scale);
  }
};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_WEIGHTS_INL_H_
