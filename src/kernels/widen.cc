#include "src/kernels/widen.h"

#include <algorithm>
#include <cstring>

#include "src/base/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/widen.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/weights-inl.h"
#include "src/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

// Steps [k, end) of a panel, of which vector `column` of the columns has one scale each; k is even.
template <DType kDType>
HWY_INLINE void WidenColumns(const uint8_t* panel, size_t column, size_t k, size_t end, VF scale,
                             float* HWY_RESTRICT to) {
  const DF d;
  const VF even = EvenNibbles(scale), odd = OddNibbles(scale);
  const uint8_t* HWY_RESTRICT at = panel + k / 2 * Weights<kDType>::kTwoSteps;
  to += column;
#pragma GCC unroll 4
  for (; k + 2 <= end; k += 2, at += Weights<kDType>::kTwoSteps, to += 2 * kPanel) {
    VF x0 = scale, x1 = scale;
    Weights<kDType>::LoadTwo(at, column, scale, even, odd, x0, x1);
    hn::StoreU(x0, d, to);
    hn::StoreU(x1, d, to + kPanel);
  }
  if (k < end) hn::StoreU(Weights<kDType>::Load(panel, k, column, scale), d, to);
}

template <DType kDType>
HWY_INLINE float ScaleAt(const Scales& scales, size_t at) {
  if constexpr (ScaleType(kDType) == DType::kF16) {
    return ToFloat(static_cast<const f16*>(scales.data)[at]);
  } else {
    return static_cast<const float*>(scales.data)[at];
  }
}

template <DType kDType>
void WidenPanels(const PanelWiden& t) {
  const DF d;
  const Scales& scales = t.from.scales;
  const size_t end = t.begin + t.depth;
  for (size_t p = 0; p < t.panels; ++p) {
    const size_t panel = t.first + p;
    const uint8_t* from = t.from.bytes() + panel * t.stride;
    float* to = t.to + p * t.to_stride;
    if (!HasScales(kDType) || scales.axis == ScaleAxis::kColumn) {
      // Few steps at a time, so that whole lines are read and written.
      constexpr size_t kSteps = 16;
      for (size_t k = t.begin, next; k < end; k = next) {
        next = std::min(end, k + kSteps);
        if (HasScales(kDType) && scales.group % kSteps != 0) {
          next = std::min(next, k / scales.group * scales.group + scales.group);
        }
        for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
          VF scale = hn::Zero(d);
          if constexpr (HasScales(kDType)) {
            scale = LoadScales<kDType>(scales, panel * scales.panel_stride +
                                                   k / scales.group * scales.group_stride + column);
          }
          WidenColumns<kDType>(from, column, k, next, scale, to + (k - t.begin) * kPanel);
        }
      }
    } else {
      const size_t of_panel = panel * kPanel / scales.group * scales.group_stride;
      for (size_t k = t.begin; k < end; ++k, to += kPanel) {
        const VF scale = hn::Set(d, ScaleAt<kDType>(scales, of_panel + k));
        for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
          const VF x = Stored<kDType>::Load(d, from, k * kPanel + column);
          hn::StoreU(TimesScale(x, scale), d, to + column);
        }
      }
    }
  }
}

template <class T>
HWY_INLINE float ElementAt(const void* from, size_t i) {
  T x;
  std::memcpy(&x, static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
  return ToFloat(x);
}

template <DType kDType, class T>
void WidenRow(const void* from, size_t n, float* to) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(Stored<kDType>::Load(d, static_cast<const uint8_t*>(from), i), d, to + i);
  }
  for (; i < n; ++i) to[i] = ElementAt<T>(from, i);
}

void NarrowToF32(const float* from, size_t n, void* to) {
  std::memcpy(to, from, n * sizeof(float));
}
template <class T, class Bits>
HWY_INLINE void NarrowRow(const float* from, size_t n, T* to, const Bits& bits_of,
                          T (*one)(float)) {
  const DF d;
  const hn::Rebind<uint16_t, DF> d16;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(bits_of(hn::LoadU(d, from + i)), d16, reinterpret_cast<uint16_t*>(to) + i);
  }
  for (; i < n; ++i) to[i] = one(from[i]);
}

void NarrowToF16(const float* from, size_t n, void* to) {
  NarrowRow(
      from, n, static_cast<f16*>(to), [](VF x) HEED_INLINE_LAMBDA { return NarrowF16(DF(), x); },
      &ToF16);
}
void NarrowToBF16(const float* from, size_t n, void* to) {
  NarrowRow(
      from, n, static_cast<bf16*>(to), [](VF x) HEED_INLINE_LAMBDA { return NarrowBF16(DF(), x); },
      &ToBf16);
}

void WidenInt8Row(const int8_t* codes, size_t n, float scale, float* to) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const VF times = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const VF x = Stored<DType::kInt8>::Load(d, reinterpret_cast<const uint8_t*>(codes), i);
    hn::StoreU(TimesScale(x, times), d, to + i);
  }
  for (; i < n; ++i) to[i] = static_cast<float>(codes[i]) * scale + 0.0f;  // as TimesScale
}

void WidenInt4Row(const uint8_t* codes, size_t n, const f16* scales, float* to) {
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const DF d;
  const hn::RebindToSigned<DF> di;
  const hn::Rebind<int8_t, DF> d8;
  const size_t pairs = 2 * hn::Lanes(d);
  static_assert(kInt4Group == 2 * kPanel);
  for (; i + kInt4Group <= n; i += kInt4Group) {
    const VF times = hn::Set(d, ToFloat(scales[i / kInt4Group]));
    for (size_t c = i; c < i + kInt4Group; c += pairs) {
      const auto bytes =
          hn::PromoteTo(di, hn::LoadU(d8, reinterpret_cast<const int8_t*>(codes) + c / 2));
      const VF even = hn::ConvertTo(d, hn::ShiftRight<28>(hn::ShiftLeft<28>(bytes)));
      const VF odd = hn::ConvertTo(d, hn::ShiftRight<4>(bytes));
      hn::StoreInterleaved2(TimesScale(even, times), TimesScale(odd, times), d, to + c);
    }
  }
#endif
  for (; i < n; ++i) {
    const int nibble = codes[i / 2] >> (i % 2 * 4) & 15;
    const float code = static_cast<float>(nibble < 8 ? nibble : nibble - 16);
    to[i] = code * ToFloat(scales[i / kInt4Group]) + 0.0f;  // as TimesScale
  }
}

}  // namespace

constexpr WidenKernels kKernels = {
    {&WidenPanels<DType::kF32>, IsBuilt(DType::kF16) ? &WidenPanels<DType::kF16> : nullptr,
     IsBuilt(DType::kBF16) ? &WidenPanels<DType::kBF16> : nullptr,
     IsBuilt(DType::kInt8) ? &WidenPanels<DType::kInt8> : nullptr,
     IsBuilt(DType::kInt4) ? &WidenPanels<DType::kInt4> : nullptr},
    {&WidenRow<DType::kF32, float>, &WidenRow<DType::kF16, f16>, &WidenRow<DType::kBF16, bf16>,
     nullptr, nullptr},
    IsBuilt(DType::kInt8) ? &WidenInt8Row : nullptr,
    IsBuilt(DType::kInt4) ? &WidenInt4Row : nullptr,
    {&NarrowToF32, &NarrowToF16, &NarrowToBF16, nullptr, nullptr}};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(WidenKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
