// What a cache stores of keys and values in tensors.
#pragma once

#include <vector>

#include "heed/tensor.hpp"
#include "test/support/stored_numbers.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

inline constexpr DType kAllStored[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kInt8,
                                       DType::kInt4};

// The same tensor [..., dim] as it is read from a cache.
inline Tensor<float> RoundTokens(DType dtype, const Tensor<float>& tokens) {
  std::vector<float> dense = tokens.Dense();
  if (!dense.empty()) RoundTokens(dtype, tokens.shape().back(), &dense);
  Tensor<float> rounded(tokens.shape());
  rounded.Assign(dense);
  return rounded;
}

}  // namespace heed::test
