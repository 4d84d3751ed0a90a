// What storing a weight in fewer bits changes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "heed/multi_head_attention.hpp"

namespace heed::tools {

// The numbers that a packed matrix of `weight` stands for, row-major in the weight's shape.
Result<std::vector<float>> stored_numbers(const TensorView& weight, WeightLayout layout,
                                          const PackOptions& storage, Context& context);

// All that heed info and heed show --errors speak of, f32 first.
inline constexpr PackOptions kPackOptions[] = {
    {DType::kF32},       {DType::kBF16},     {DType::kF16},      {DType::kInt8},
    {DType::kInt8, 128}, {DType::kInt8, 64}, {DType::kInt8, 32}, {DType::kInt4, 128},
    {DType::kInt4, 64},  {DType::kInt4, 32}};

struct StorageError {
  std::string projection;  // q, k, v or out
  PackOptions storage;
  size_t bytes = 0;    // as the layer keeps them, scales included
  double of_f32 = 0;   // bytes as a share of those of f32
  double rms = 0;      // of the errors, as a share of the weights' RMS
  double largest = 0;  // error, likewise
  // Null, or the type in which an element or a scale is infinite: the numbers above are 0 then.
  const char* too_large_for = nullptr;
};

// Of each projection of a layer (a fused one in its parts) in each way to store it, projection by
// projection. Errors: kInvalidArgument (a weight that is NaN or infinite).
Result<std::vector<StorageError>> storage_errors(const MultiHeadAttentionConfig& config,
                                                 const MultiHeadAttentionWeights& weights,
                                                 Context& context);

// "int8", "int4, groups of 32"
std::string text_of(const PackOptions& storage);

// "too large for f16"; empty where the weight is stored.
std::string problem_of(const StorageError& error);

}  // namespace heed::tools
