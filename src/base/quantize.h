// Quantization of a run of elements that share a scale: symmetric, to nearest, ties to even. An
// element is then float(code) * scale, and +0 where the code is 0 and the scale negative.
//
//   int8   scale = |m| / 127 in f32;            code = x / scale rounded, in [-127, 127]
//   int4   scale = m / -8, rounded to f16;      code = x / scale rounded, in [-8, 7]
//
// m is the element of the largest magnitude. In 4 bits it becomes -8, whichever its sign is: the
// error (RMS) is then 0.88 of that of m / 7 and codes in [-7, 7], on normal numbers and on the
// weights of tiny-lm alike, in groups of 32 to 128.
//
// All operations are IEEE's, so codes and scales are the same everywhere. Where the f32 scale is
// less than the least normal one, or the f16 scale is 0, scale and codes are 0. Where
// an element is NaN or infinite, or the f16 scale is, the scale is NaN and the codes are 0: all
// elements read as NaN, and nothing seems right that isn't.
//
// src/kernels/quantize.cc does the same with vectors.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "src/base/half.h"

namespace heed::inline v1 {

// The element of the largest magnitude; of two that differ in sign the positive one. NaN if there
// is a NaN or an infinity.
inline float Extreme(const float* x, ptrdiff_t stride, size_t n) {
  float highest = 0.0f, lowest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < n; ++i, x += stride) {
    finite &= std::fabs(*x) <= std::numeric_limits<float>::max();
    highest = *x > highest ? *x : highest;
    lowest = *x < lowest ? *x : lowest;
  }
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  return highest >= -lowest ? highest : lowest;
}

inline float Int8Scale(float extreme) {
  const float scale = std::fabs(extreme) / 127.0f;
  return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
}

inline f16 Int4Scale(float extreme) {
  const f16 scale = ToF16(extreme / -8.0f);
  const unsigned magnitude = scale.bits & 0x7FFFu;
  return {static_cast<uint16_t>(magnitude >= 0x7C00u ? 0x7E00u : magnitude == 0 ? 0u : scale.bits)};
}

// By the addition of 1.5 * 2^23.
inline int8_t Code(float x, float scale, float least, float most) {
  if (!(std::fabs(scale) > 0.0f)) return 0;
  constexpr float kRound = 0x1.8p23f;
  const float quotient = x / scale;
  const float limited = quotient > most ? most : quotient < least ? least : quotient;
  return static_cast<int8_t>((limited + kRound) - kRound);
}

// Rows of a matrix that is multiplied in int16, a chunk at a time: scale = |m| / 32767, code = x *
// (32767 / |m|) rounded, in [-32767, 32767]. The product may miss x / scale by 0.004.
inline constexpr float kInt16Most = 32767.0f;
struct Int16Scale {
  float scale, inverse = 0.0f;

  // Of the largest magnitude, which may be NaN or infinite.
  explicit Int16Scale(float magnitude)
      : scale(magnitude <= std::numeric_limits<float>::max()
                  ? magnitude / kInt16Most
                  : std::numeric_limits<float>::quiet_NaN()) {
    if (scale < std::numeric_limits<float>::min()) scale = 0.0f;
    if (scale > 0.0f) inverse = kInt16Most / magnitude;
  }
};

inline int8_t Int8Code(float x, float scale) { return Code(x, scale, -127.0f, 127.0f); }
inline int8_t Int4Code(float x, float scale) { return Code(x, scale, -8.0f, 7.0f); }

}  // namespace heed::inline v1
