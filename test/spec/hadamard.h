// The specification of the Hadamard rotation. Nothing in it is fused, so both families have its bits.
#pragma once

#include <cmath>
#include <cstddef>

namespace heed::spec {

// Turns a row x[n] in place.
inline void Hadamard(float* x, size_t n) {
  size_t part = 1;
  while (n % (2 * part) == 0) part *= 2;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(part)));
  for (float* p = x; p < x + n; p += part) {
    for (size_t h = part / 2; h > 0; h /= 2) {
      for (size_t i = 0; i < part; ++i) {
        if ((i & h) != 0) continue;
        const float a = p[i], b = p[i + h];
        p[i] = a + b;
        p[i + h] = a - b;
      }
    }
    for (size_t i = 0; i < part; ++i) p[i] = p[i] * scale;
  }
}

}  // namespace heed::spec
