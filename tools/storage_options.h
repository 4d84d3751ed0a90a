// How weights, keys and values are stored, and products with weights and attention computed: the
// options that `heed run`, `heed show` and tiny-lm share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <optional>

#include "heed/kv_cache.hpp"
#include "heed/matmul.hpp"

namespace heed::tools {

// What weights, keys and values can be stored as.
inline constexpr DType kStorageTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kInt8,
                                          DType::kInt4};

class StorageOptions {
 public:
  void add_to(CLI::App* command);  // which parses while this lives, at this place

  // --weights-dtype and --weights-group; int4 without a group has groups of 32.
  // Errors: kInvalidArgument (a group or a --compute for a type that has none, or an
  // --attention-compute).
  Result<PackOptions> weights() const;
  bool quantizes_weights() const { return weights_dtype_ != DType::kF32; }

  // --compute.
  Compute compute() const { return compute_; }

  // --keys and --values.
  DType keys() const { return keys_.value_or(DType::kF32); }
  DType values() const { return values_.value_or(DType::kF32); }
  bool names_cache() const { return keys_ || values_; }
  // --attention-compute: MultiHeadAttentionConfig::attention_compute.
  Compute attention_compute() const { return attention_compute_; }
  // --hadamard: MultiHeadAttentionConfig::hadamard.
  bool hadamard() const { return hadamard_; }

 private:
  DType weights_dtype_ = DType::kF32;
  std::optional<size_t> weights_group_;
  Compute compute_ = Compute::kF32, attention_compute_ = Compute::kF32;
  std::optional<DType> keys_, values_;
  bool hadamard_ = false;
};

}  // namespace heed::tools
