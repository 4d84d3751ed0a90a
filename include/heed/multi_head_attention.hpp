// A whole attention layer: see heed/c/multi_head_attention.h.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/kv_cache.hpp"
#include "heed/matmul.hpp"
#include "heed/rope.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_multi_head_attention_config.
struct MultiHeadAttentionConfig {
  size_t d_in = 0;
  size_t num_heads = 0;
  size_t num_kv_heads = 0;
  size_t head_dim = 0;
  size_t v_head_dim = 0;
  bool causal = true;
  std::optional<float> scale = {};       // unset: 1 / sqrt(head_dim)
  std::optional<RopeOptions> rope = {};  // unset: none

  size_t window = 0;
  size_t sink_tokens = 0;
  float logits_soft_cap = 0.0f;

  float norm_eps = 1e-6f;
  float norm_weight_offset = 0.0f;

  bool hadamard = false;

  DType k_cache_dtype = DType::kF32;
  DType v_cache_dtype = DType::kF32;

  bool values_in_keys = false;

  Compute attention_compute = Compute::kF32;
};

// heed_linear_weights.
struct LinearWeights {
  TensorView weight = {};
  TensorView bias = {};
  PackOptions storage = {};
  Compute compute = Compute::kF32;
  const PackedMatrix* packed = nullptr;
};

// heed_multi_head_attention_weights. Weights without `weight` and `packed` are its null pointers.
struct MultiHeadAttentionWeights {
  WeightLayout layout = WeightLayout::kOutIn;
  LinearWeights q = {};
  LinearWeights k = {};
  LinearWeights v = {};
  LinearWeights qkv = {};
  LinearWeights out = {};

  TensorView q_norm = {};
  TensorView k_norm = {};
  TensorView sinks = {};
  TensorView alibi_slopes = {};
};

// heed_forward_options.
struct ForwardOptions {
  KvCache* cache = nullptr;
  TensorView positions = {};

  TensorView kv_lens = {};
  TensorView key_mask = {};

  DropoutOptions dropout = {};

  MutableTensorView lse = {};
  MutableTensorView weights = {};
  MutableTensorView context = {};
};

// heed_multi_head_attention, and the functions that begin with it. Of a layer that was moved from
// every size is 0, and what is done with it gives kInvalidArgument.
class HEED_API MultiHeadAttention {
 public:
  ~MultiHeadAttention();
  MultiHeadAttention(MultiHeadAttention&& other) noexcept;
  MultiHeadAttention& operator=(MultiHeadAttention&& other) noexcept;

  static Result<MultiHeadAttention> create(const MultiHeadAttentionConfig& config,
                                           const MultiHeadAttentionWeights& weights,
                                           Context& context);

  static Result<MultiHeadAttention> create(const MultiHeadAttentionConfig& config,
                                           const MultiHeadAttentionWeights& weights,
                                           const Memory& memory, Context& context);
  static Result<size_t> memory_bytes(const MultiHeadAttentionConfig& config,
                                     const MultiHeadAttentionWeights& weights, Context& context);

  Status forward(const TensorView& x, const MutableTensorView& y, const ForwardOptions& options,
                 Context& context) const;
  HEED_INLINE Status forward(const TensorView& x, const MutableTensorView& y, KvCache& cache,
                             Context& context) const {
    ForwardOptions options;
    options.cache = &cache;
    return forward(x, y, options, context);
  }

  Result<KvCache> create_cache(size_t batch, size_t capacity) const;
  KvCacheConfig cache_config(size_t batch, size_t capacity) const;

  const MultiHeadAttentionConfig& config() const;  // heed_multi_head_attention_get_config
  size_t d_out() const;
  size_t bytes() const;

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  MultiHeadAttention();
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
