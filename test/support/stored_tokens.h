// What a cache stores of keys and values, worked out the slow and obvious way.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "heed/tensor.hpp"
#include "src/base/half.h"
#include "test/support/float16.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

inline constexpr DType kAllStored[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kInt8,
                                       DType::kInt4};

// x[0, n) share a scale, `largest` / `most`, of f16 where `half`.
inline void QuantizeGroup(float* x, size_t n, float most, bool half) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    finite &= std::isfinite(x[i]);
    largest = std::max(largest, std::fabs(x[i]));
  }
  float scale = largest / most;
  if (half) scale = Widen(ToF16(scale));
  if (scale < std::numeric_limits<float>::min()) scale = 0.0f;
  if (!finite || !std::isfinite(scale)) scale = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 0; i < n; ++i) {
    const float code = scale > 0.0f ? std::nearbyint(x[i] / scale) : 0.0f;
    x[i] = (std::clamp(code, -most, most) + 0.0f) * scale;  // a code has no -0
  }
}

// One token of one head.
inline void RoundToken(DType dtype, float* x, size_t n) {
  if (dtype == DType::kInt8) QuantizeGroup(x, n, 127.0f, false);
  for (size_t i = 0; i < n; ++i) {
    if (dtype == DType::kBF16) x[i] = Widen(ToBf16(x[i]));
    if (dtype == DType::kF16) x[i] = Widen(ToF16(x[i]));
    if (dtype == DType::kInt4 && i % 32 == 0) {
      QuantizeGroup(x + i, std::min<size_t>(32, n - i), 7.0f, true);
    }
  }
}

// The same tensor [..., dim] as it is read from a cache.
inline Tensor<float> RoundTokens(DType dtype, const Tensor<float>& tokens) {
  std::vector<float> dense = tokens.Dense();
  const size_t dim = tokens.shape().back();
  for (size_t i = 0; i + dim <= dense.size() && dim > 0; i += dim) {
    RoundToken(dtype, dense.data() + i, dim);
  }
  Tensor<float> rounded(tokens.shape());
  rounded.Assign(dense);
  return rounded;
}

}  // namespace heed::test
