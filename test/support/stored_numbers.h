// What numbers become when they are stored in fewer bits, worked out the slow and obvious way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "heed/matmul.hpp"
#include "src/base/half.h"
#include "src/base/quantize.h"

namespace heed::test {

// n elements, `stride` apart, that share a scale.
inline void RoundGroup(DType dtype, float* x, size_t stride, size_t n) {
  const float extreme = Extreme(x, static_cast<ptrdiff_t>(stride), n);
  const float int8_scale = Int8Scale(extreme), int4_scale = ToFloat(Int4Scale(extreme));
  for (size_t i = 0; i < n; ++i) {
    float& value = x[i * stride];
    if (dtype == DType::kBF16) value = ToFloat(ToBf16(value));
    if (dtype == DType::kF16) value = ToFloat(ToF16(value));
    if (dtype == DType::kInt8) value = static_cast<float>(Int8Code(value, int8_scale)) * int8_scale;
    if (dtype == DType::kInt4) {  // a code of 0 is +0, whatever the scale's sign
      value = static_cast<float>(Int4Code(value, int4_scale)) * int4_scale + 0.0f;
    }
  }
}

// A matrix [in, out], row-major, as PackedMatrix stores it.
inline void RoundWeights(const PackOptions& storage, size_t in, size_t out,
                         std::vector<float>* weights) {
  const size_t group = storage.group == 0 ? in : storage.group;
  for (size_t j = 0; j < out; ++j) {
    for (size_t i = 0; i < in; i += group) {
      RoundGroup(storage.dtype, weights->data() + i * out + j, out, std::min(group, in - i));
    }
  }
}

// A key or value of one token and head as a cache stores it.
inline void RoundToken(DType dtype, float* x, size_t head_dim) {
  const size_t group = dtype == DType::kInt4 ? 32 : head_dim;
  for (size_t i = 0; i < head_dim; i += group) {
    RoundGroup(dtype, x + i, 1, std::min(group, head_dim - i));
  }
}

// Keys or values [..., head_dim].
inline void RoundTokens(DType dtype, size_t head_dim, std::vector<float>* tokens) {
  for (size_t first = 0; first < tokens->size(); first += head_dim) {
    RoundToken(dtype, tokens->data() + first, head_dim);
  }
}

}  // namespace heed::test
