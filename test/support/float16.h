// 16-bit formats, widened the slow and obvious way.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "heed/tensor.hpp"

namespace heed::test {

// A number of `exponent_bits` and `mantissa_bits` below a sign bit, as IEEE 754 defines it.
inline float WidenBits(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits >> 15) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : static_cast<float>(sign * std::numeric_limits<double>::infinity());
  }
  const double significand = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  const int power = (exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
  return static_cast<float>(sign * std::ldexp(significand, power));
}

inline float Widen(f16 x) { return WidenBits(x.bits, 5, 10); }
inline float Widen(bf16 x) { return WidenBits(x.bits, 8, 7); }

}  // namespace heed::test
