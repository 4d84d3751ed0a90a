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
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Whether there are instructions for f16, which round as half.h does.
#undef HEED_F16C
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
#define HEED_F16C 1
#else
#define HEED_F16C 0
#endif

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

// And back, as half.h has it. Highway's DemoteTo to bf16 has other bits on some targets.
template <class D>
HWY_INLINE hn::VFromD<hn::Rebind<uint16_t, D>> NarrowBF16(D /*d*/, hn::VFromD<D> x) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))));
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto nan = hn::Gt(magnitude, hn::Set(du, 0x7F800000));
  const auto quiet = hn::Or(upper, hn::Set(du, 0x40));
  return hn::TruncateTo(hn::Rebind<uint16_t, D>(), hn::IfThenElse(nan, quiet, rounded));
}

template <class D>
HWY_INLINE hn::VFromD<hn::Rebind<uint16_t, D>> NarrowF16([[maybe_unused]] D d, hn::VFromD<D> x) {
  const hn::Rebind<uint16_t, D> d16;
#if HEED_F16C
  return hn::BitCast(d16, hn::DemoteTo(hn::Rebind<hwy::float16_t, D>(), x));
#else
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000));
  // A number below 2^-14: the sum has its last bit where the f16 has it.
  const auto sum = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  const auto small = hn::Sub(hn::BitCast(du, sum), hn::Set(du, 0x3F000000));
  const auto rebased = hn::Sub(magnitude, hn::Set(du, 112u << 23));  // the bias: 127 to 15
  const auto odd = hn::And(hn::ShiftRight<13>(rebased), hn::Set(du, 1));
  const auto normal = hn::ShiftRight<13>(hn::Add(rebased, hn::Add(odd, hn::Set(du, 0xFFF))));
  const auto payload = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 0x3FF));
  const auto nan = hn::Or(payload, hn::Set(du, 0x7E00));
  auto half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x38800000)), small, normal);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x477FEFFF)), hn::Set(du, 0x7C00), half);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7F800000)), nan, half);
  return hn::TruncateTo(d16, hn::Or(half, sign));
#endif
}

// code * scale, and +0 for a code of 0: scales of int4, and those of a caller's int8 pages, may be
// negative. With fma that costs nothing.
template <class V>
HWY_INLINE V TimesScale(V codes, V scale) {
  return hn::MulAdd(codes, scale, hn::Zero(hn::DFromV<V>()));
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
#if HEED_F16C
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

// A vector of scales, from element `at` on.
template <DType kDType>
HWY_INLINE VF LoadScales(const Scales& scales, size_t at) {
  return Stored<ScaleType(kDType)>::Load(DF(), static_cast<const uint8_t*>(scales.data), at);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_WIDEN_INL_H_
