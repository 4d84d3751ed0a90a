// f16 and bf16: widened exactly, narrowed to nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

#include "heed/tensor.hpp"

namespace heed::inline v1 {

inline float ToFloat(float x) { return x; }

inline float ToFloat(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

inline float ToFloat(f16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  }
  if (magnitude >= 0x400u) {  // normal: the exponent's bias changes from 15 to 127
    return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
  }
  const float value = static_cast<float>(magnitude) * 0x1p-24f;  // subnormal, exact
  return sign != 0 ? -value : value;
}

inline bf16 ToBf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
    return {static_cast<uint16_t>(bits >> 16 | 0x40u)};  // NaN
  return {static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

inline f16 ToF16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t result;
  if (magnitude > 0x7F800000u) {  // NaN: quiet, upper payload kept
    result = 0x7E00u | (magnitude >> 13 & 0x3FFu);
  } else if (magnitude >= 0x477FF000u) {  // 65520 and more round to infinity
    result = 0x7C00u;
  } else if (magnitude >= 0x38800000u) {  // normal
    const uint32_t rebased = magnitude - (112u << 23);
    result = (rebased + 0xFFFu + (rebased >> 13 & 1u)) >> 13;
  } else {  // subnormal: adding 0.5 aligns the unit 2^-24 with the last bit, and rounds
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    result = std::bit_cast<uint32_t>(aligned) - 0x3F000000u;
  }
  return {static_cast<uint16_t>(sign | result)};
}

}  // namespace heed::inline v1
