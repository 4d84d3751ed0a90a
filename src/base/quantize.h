// Quantization of a run of elements that share a scale: symmetric, to nearest, ties to even.
//
//   int8   scale = m / 127, m the largest magnitude; code = x / scale rounded, in [-127, 127]
//   int4   scale = m / 7 rounded to f16;             code = x / scale rounded, in [-7, 7]
//
// All operations are IEEE's, so codes and scales are the same everywhere. Where m / 127 is less than
// the least normal f32, or the f16 scale 0, scale and codes are 0. Where an element is NaN or
// infinite, or the f16 scale is, the scale is NaN and the codes are 0: all elements read as NaN,
// and nothing seems right that isn't.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "src/base/half.h"

namespace heed {

inline constexpr float kInt8Most = 127.0f, kInt4Most = 7.0f;

// NaN if there is one, or an infinity.
inline float LargestMagnitude(const float* x, ptrdiff_t stride, size_t n) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < n; ++i, x += stride) {
    const float magnitude = std::fabs(*x);
    finite &= magnitude <= std::numeric_limits<float>::max();
    largest = magnitude > largest ? magnitude : largest;
  }
  return finite ? largest : std::numeric_limits<float>::quiet_NaN();
}

inline float Int8Scale(float largest) {
  const float scale = largest / kInt8Most;
  return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
}

// Widened from the f16 that is stored.
inline float Int4Scale(float largest) {
  const float scale = ToFloat(ToF16(largest / kInt4Most));
  return scale <= std::numeric_limits<float>::max() ? scale
                                                    : std::numeric_limits<float>::quiet_NaN();
}

// x / scale to nearest, ties to even, by the addition of 1.5 * 2^23; `most` at most.
inline int8_t Code(float x, float scale, float most) {
  if (!(scale > 0.0f)) return 0;
  constexpr float kRound = 0x1.8p23f;
  const float quotient = x / scale;
  const float limited = quotient > most ? most : quotient < -most ? -most : quotient;
  return static_cast<int8_t>((limited + kRound) - kRound);
}

}  // namespace heed
