#include "src/kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "src/base/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/quantize.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/divide-inl.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

using DI = hn::RebindToSigned<DF>;
using VI = hn::VFromD<DI>;

// What a scale needs to know of its elements is their largest magnitude, as the integer that its
// bits are, where infinity and NaN are larger than all numbers, and the highest of them, which is
// that magnitude where the extreme is positive.
HWY_INLINE void Include(VF x, VI& magnitude, VF& highest) {
  const VI bits = hn::And(hn::BitCast(DI(), x), hn::Set(DI(), 0x7FFFFFFF));
  magnitude = hn::Max(magnitude, bits);
  highest = hn::Max(highest, x);
}

constexpr int32_t kLargestFinite = 0x7F7FFFFF;

// The row's Extreme (quantize.h).
HWY_INLINE float ExtremeOfRow(const float* HWY_RESTRICT x, size_t n) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  VI even = hn::Zero(DI()), odd = even;
  VF even_highest = hn::Zero(d), odd_highest = even_highest;
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    Include(hn::LoadU(d, x + i), even, even_highest);
    Include(hn::LoadU(d, x + i + lanes), odd, odd_highest);
  }
  for (; i + lanes <= n; i += lanes) Include(hn::LoadU(d, x + i), even, even_highest);
  int32_t magnitude = hn::ReduceMax(DI(), hn::Max(even, odd));
  float highest = hn::ReduceMax(d, hn::Max(even_highest, odd_highest));
  for (; i < n; ++i) {
    magnitude = std::max(magnitude, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
    highest = std::max(highest, x[i]);
  }
  if (magnitude > kLargestFinite) return std::numeric_limits<float>::quiet_NaN();
  const float largest = std::bit_cast<float>(magnitude);
  return highest == largest ? largest : -largest;
}

// The codes are the low bytes of the sums.
HWY_INLINE VF AddRound(VF quotient, float least, float most) {
  const DF d;
  const VF limited = hn::Max(hn::Min(quotient, hn::Set(d, most)), hn::Set(d, least));
  return hn::Add(limited, hn::Set(d, 0x1.8p23f));
}

// What a storage type is to quantization. Scales() stores a vector of scales as quantize.h has them
// and returns what was stored, of the largest magnitudes and the highest elements of as many
// groups; the magnitude is NaN where an element is NaN or infinite.
struct Int8 {
  using ScaleT = float;
  static constexpr float kLeast = -127.0f, kMost = 127.0f;
  static HWY_INLINE float Scale(float extreme) { return Int8Scale(extreme); }
  static HWY_INLINE VF Scales(VF magnitude, VF /*highest*/, float* HWY_RESTRICT to) {
    const DF d;
    const VF scale = Divide(d, magnitude, hn::Set(d, 127.0f));
    const auto small = hn::Lt(scale, hn::Set(d, std::numeric_limits<float>::min()));
    const VF stored = hn::IfThenZeroElse(small, scale);
    hn::StoreU(stored, d, to);
    return stored;
  }
};
struct Int4 {
  using ScaleT = f16;
  static constexpr float kLeast = -8.0f, kMost = 7.0f;
  static HWY_INLINE f16 Scale(float extreme) { return Int4Scale(extreme); }
  static HWY_INLINE VF Scales(VF magnitude, VF highest, f16* HWY_RESTRICT to) {
    const DF d;
    const hn::RebindToUnsigned<DF> du;
    const hn::Rebind<uint16_t, DF> d16;
    const VF eighth = hn::Mul(magnitude, hn::Set(d, 0.125f));
    const VF scale = hn::IfThenElse(hn::Eq(magnitude, highest), hn::Neg(eighth), eighth);
    const auto half = hn::PromoteTo(du, NarrowF16(d, scale));
    const auto bits = hn::And(half, hn::Set(du, 0x7FFF));
    auto stored = hn::IfThenElse(hn::Gt(bits, hn::Set(du, 0x7BFF)), hn::Set(du, 0x7E00), half);
    stored = hn::IfThenZeroElse(hn::Eq(bits, hn::Zero(du)), stored);
    hn::StoreU(hn::TruncateTo(d16, stored), d16, reinterpret_cast<uint16_t*>(to));
    return WidenF16(d, stored);
  }
};

template <class Q>
HWY_INLINE void CodesOfRow(const float* HWY_RESTRICT x, size_t n, float scale,
                           int8_t* HWY_RESTRICT codes) {
  const DF d;
  const hn::Rebind<uint8_t, DF> d8;
  if (!(std::fabs(scale) > 0.0f)) {
    std::memset(codes, 0, n);
    return;
  }
  const VF by = hn::Set(d, scale);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const VF sum = AddRound(Divide(d, hn::LoadU(d, x + i), by), Q::kLeast, Q::kMost);
    const auto bytes = hn::TruncateTo(d8, hn::BitCast(hn::RebindToUnsigned<DF>(), sum));
    hn::StoreU(bytes, d8, reinterpret_cast<uint8_t*>(codes) + i);
  }
  for (; i < n; ++i) codes[i] = Code(x[i], scale, Q::kLeast, Q::kMost);
}

template <class Q>
void Row(const float* x, size_t n, size_t group, typename Q::ScaleT* scales, int8_t* codes) {
  for (size_t i = 0; i < n; i += group, ++scales) {
    const size_t of_group = std::min(group, n - i);
    *scales = Q::Scale(ExtremeOfRow(x + i, of_group));
    CodesOfRow<Q>(x + i, of_group, ToFloat(*scales), codes + i);
  }
}

// Steps [k, end) of one vector of columns, which share a scale each.
template <class Q>
HWY_INLINE void CodesOfColumns(const float* HWY_RESTRICT from, size_t k, size_t end, VF scale,
                               uint8_t* HWY_RESTRICT to) {
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const hn::Rebind<uint8_t, DF> d8;
  const auto has_codes = hn::Gt(hn::Abs(scale), hn::Zero(d));
  const VF by = hn::IfThenElse(has_codes, scale, hn::Set(d, 1.0f));
  const auto code = [&](size_t step) HEED_INLINE_LAMBDA {
    const VF quotient = Divide(d, hn::LoadU(d, from + step * kPanel), by);
    const VF sum = AddRound(quotient, Q::kLeast, Q::kMost);
    return hn::BitCast(du, hn::IfThenElseZero(has_codes, sum));
  };
  if constexpr (Q::kMost == Int8::kMost) {
    for (; k < end; ++k) hn::StoreU(hn::TruncateTo(d8, code(k)), d8, to + k * kPanel);
  } else {
    const auto low = hn::Set(du, 15);
    for (; k < end; k += 2) {
      auto byte = hn::And(code(k), low);
      if (k + 1 < end) byte = hn::Or(byte, hn::ShiftLeft<4>(code(k + 1)));
      hn::StoreU(hn::TruncateTo(d8, byte), d8, to + k / 2 * kPanel);
    }
  }
}

template <class Q>
void Panel(const PanelQuantize& t) {
  const DF d;
  auto* scales = static_cast<typename Q::ScaleT*>(t.scales);
  for (size_t begin = 0; begin < t.depth; begin += t.group, scales += t.group_stride) {
    const size_t end = begin + std::min(t.group, t.depth - begin);
    for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
      VI magnitude = hn::Zero(DI());
      VF highest = hn::Zero(d);
      for (size_t k = begin; k < end; ++k) {
        Include(hn::LoadU(d, t.from + k * kPanel + column), magnitude, highest);
      }
      const auto finite = hn::Le(magnitude, hn::Set(DI(), kLargestFinite));
      const VF nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
      const VF largest = hn::IfThenElse(hn::RebindMask(d, finite), hn::BitCast(d, magnitude), nan);
      const VF scale = Q::Scales(largest, highest, scales + column);
      CodesOfColumns<Q>(t.from + column, begin, end, scale, t.to + column);
    }
  }
}

void PanelMagnitudes(const float* panel, size_t depth, int32_t* largest) {
  const DF d;
  for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
    VI magnitude = hn::LoadU(DI(), largest + column);
    VF highest = hn::Zero(d);
    for (size_t k = 0; k < depth; ++k) {
      Include(hn::LoadU(d, panel + k * kPanel + column), magnitude, highest);
    }
    hn::StoreU(magnitude, DI(), largest + column);
  }
}

void Int8PanelCodes(const float* panel, size_t depth, const float* scales, uint8_t* to) {
  const DF d;
  for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
    CodesOfColumns<Int8>(panel + column, 0, depth, hn::LoadU(d, scales + column), to + column);
  }
}

}  // namespace

constexpr bool kInt8 = IsBuilt(DType::kInt8), kInt4 = IsBuilt(DType::kInt4);
constexpr QuantizeKernels kKernels = {
    kInt8 ? &Row<Int8> : nullptr,       kInt4 ? &Row<Int4> : nullptr,
    kInt8 ? &Panel<Int8> : nullptr,     kInt4 ? &Panel<Int4> : nullptr,
    kInt8 ? &PanelMagnitudes : nullptr, kInt8 ? &Int8PanelCodes : nullptr};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(QuantizeKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
