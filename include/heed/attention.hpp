// Attention: heed/c/attention.h describes it, every option under the name that it has here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_dropout_options.
struct DropoutOptions {
  float probability = 0.0f;
  uint64_t seed = 0;
  TensorView mask = {};
};

// heed_causal_alignment.
enum class CausalAlignment : int32_t {
  kBottomRight,
  kTopLeft,
};

// heed_attention_options. An absent view is its null pointer.
struct AttentionOptions {
  std::optional<float> scale = {};  // unset: 1 / sqrt(head_dim)
  float logits_soft_cap = 0.0f;
  TensorView alibi_slopes = {};
  TensorView sinks = {};

  bool causal = false;
  CausalAlignment causal_alignment = CausalAlignment::kBottomRight;
  size_t window = 0;
  size_t sink_tokens = 0;
  TensorView prefix_lens = {};

  TensorView kv_lens = {};
  TensorView key_mask = {};
  TensorView mask = {};
  TensorView tree_mask = {};

  TensorView cu_seqlens_q = {};
  TensorView cu_seqlens_k = {};

  DropoutOptions dropout = {};

  MutableTensorView lse = {};
  MutableTensorView weights = {};
  TensorView weights_heads = {};
  TensorView weights_queries = {};
  MutableTensorView key_scores = {};

  TensorView k_scales = {};
  TensorView v_scales = {};

  Compute compute = Compute::kF32;
};

// heed_attention, heed_attention_cache and heed_attention_paged.
HEED_API Status attention(const TensorView& q, const TensorView& k, const TensorView& v,
                          const MutableTensorView& out, const AttentionOptions& options,
                          Context& context);
HEED_API Status attention(const TensorView& q, const KvCache& cache, const MutableTensorView& out,
                          const AttentionOptions& options, Context& context);

// heed_paged_kv.
struct PagedKv {
  TensorView k;
  TensorView v;
  TensorView block_table;
  TensorView seq_lens;
  TensorView k_scales = {};
  TensorView v_scales = {};
};

HEED_API Status attention(const TensorView& q, const PagedKv& kv, const MutableTensorView& out,
                          const AttentionOptions& options, Context& context);

// heed_alibi_slopes, heed_dropout_mask.
HEED_API Status alibi_slopes(const MutableTensorView& slopes);
HEED_API Status dropout_mask(float probability, uint64_t seed, const MutableTensorView& mask);

}  // namespace heed::inline v1
