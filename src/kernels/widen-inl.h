// What each storage type is to a kernel: one load of a vector of f32, exact but for the
// multiplication by a scale. A new type is a specialization of Stored.
#include <cstdint>

#include "src/kernels/panels.h"

#if defined(HEED_WIDEN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_WIDEN_INL_H_
#undef HEED_WIDEN_INL_H_
#else
#define HEED_WIDEN_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 16-bit patterns of f16 as f32, exactly, NaN and infinity included. Highway's PromoteTo turns
// infinity into 65536 where there is no instruction for it, and 32-bit Arm flushes what is
// subnormal, so that no f32 on the way is.
template <class D>
HWY_INLINE hn::VFromD<D> WidenF16(D d, hn::VFromD<hn::RebindToUnsigned<D>> half) {
  const hn::RebindToUnsigned<D> du;
  const auto magnitude = hn::And(half, hn::Set(du, 0x7FFFu));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(half, magnitude));
  const auto shifted = hn::ShiftLeft<13>(magnitude);
  const auto normal = hn::Add(shifted, hn::Set(du, 112u << 23));  // the exponent's bias: 15 to 127
  const auto special = hn::Or(shifted, hn::Set(du, 0x7F800000u));
  // (1 + m / 1024) 2^-14 - 2^-14
  const auto small = hn::BitCast(
      du, hn::Sub(hn::BitCast(d, hn::Add(shifted, hn::Set(du, 113u << 23))), hn::Set(d, 0x1p-14f)));
  auto bits = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7BFFu)), special, normal);
  bits = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x400u)), small, bits);
  return hn::BitCast(d, hn::Or(bits, sign));
}

// Load(d, panel, i): elements [i, i + lanes) of a panel, counted step by step, as they are without
// their scale; i is a multiple of the lanes.
template <DType kDType>
struct Stored;

template <>
struct Stored<DType::kF32> {
  template <class D>
  static HWY_INLINE hn::VFromD<D> Load(D d, const uint8_t* HWY_RESTRICT panel, size_t i) {
    return hn::LoadU(d, reinterpret_cast<const float*>(panel) + i);
  }
};

template <>
struct Stored<DType::kBF16> {
  template <class D>
  static HWY_INLINE hn::VFromD<D> Load(D d, const uint8_t* HWY_RESTRICT panel, size_t i) {
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<uint16_t, D> d16;
    const auto upper = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(panel) + i);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, upper)));
  }
};

template <>
struct Stored<DType::kF16> {
  template <class D>
  static HWY_INLINE hn::VFromD<D> Load(D d, const uint8_t* HWY_RESTRICT panel, size_t i) {
    const hn::Rebind<uint16_t, D> d16;
    const auto half = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(panel) + i);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), half));
#else
    return WidenF16(d, hn::PromoteTo(hn::RebindToUnsigned<D>(), half));
#endif
  }
};

template <>
struct Stored<DType::kInt8> {
  template <class D>
  static HWY_INLINE hn::VFromD<D> Load(D d, const uint8_t* HWY_RESTRICT panel, size_t i) {
    const hn::Rebind<int8_t, D> d8;
    const auto codes = hn::LoadU(d8, reinterpret_cast<const int8_t*>(panel) + i);
    return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), codes));
  }
};

template <>
struct Stored<DType::kInt4> {
  template <class D>
  static HWY_INLINE hn::VFromD<D> Load(D d, const uint8_t* HWY_RESTRICT panel, size_t i) {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<int8_t, D> d8;
    const size_t step = i / kPanel, column = i % kPanel;
    const auto bytes = hn::PromoteTo(
        di, hn::LoadU(d8, reinterpret_cast<const int8_t*>(panel) + step / 2 * kPanel + column));
    const auto codes =
        step % 2 == 0 ? hn::ShiftRight<28>(hn::ShiftLeft<28>(bytes)) : hn::ShiftRight<4>(bytes);
    return hn::ConvertTo(d, codes);
  }
};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_WIDEN_INL_H_
