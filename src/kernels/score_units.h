// The units that scores are held in, so that the scale costs no operation of its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/kernels/exp2_constants.h"

namespace heed::inline v1 {

// Scores factor * x of `unit` each are scale * x: softmax subtracts them from one another, and
// 2^x multiplies the difference by to_base2() anyway. The factor is 1 or -1, unless the scale is so
// large or small that products in units might overflow or vanish.
struct ScoreUnits {
  float factor = 1.0f;
  double unit = 1.0;

  static ScoreUnits Of(double scale) {
    const double size = scale < 0.0 ? -scale : scale;
    if (size < 1.0 / kMostUnit || size > kMostUnit) return {static_cast<float>(scale), 1.0};
    return {scale < 0.0 ? -1.0f : 1.0f, size};
  }

  // cap * tanh(scale * x / cap): the tanh of factor * x is the score.
  static ScoreUnits OfCapped(double scale, double cap) {
    return {static_cast<float>(scale / cap), cap};
  }

  float to_base2() const { return static_cast<float>(unit * kLog2e); }
  float FromNatural(float x) const { return static_cast<float>(x / unit); }

  // A row's maximum in base 2. A finite one stays finite: were it -inf, as that of the lowest
  // floats of an additive mask may be, the row would count as one that sees no key.
  float MaxInBase2(float max) const {
    constexpr float kMost = std::numeric_limits<float>::max();
    return std::isfinite(max) ? std::clamp(max * to_base2(), -kMost, kMost) : max;
  }
};

}  // namespace heed::inline v1
