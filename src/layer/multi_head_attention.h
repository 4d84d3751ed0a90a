// The room of the layer: its weights (weights.cc), rotary embedding (rope.h, rope_scaling.cc),
// Hadamard turn (hadamard.h), and here what a MultiHeadAttention holds, and a forward pass in two
// steps.
#pragma once

#include <span>

#include "heed/c/rope.h"
#include "heed/multi_head_attention.hpp"
#include "src/attention/plan.h"
#include "src/base/arena.h"
#include "src/base/context.h"
#include "src/base/hidden.h"
#include "src/cache/kv_cache.h"
#include "src/layer/hadamard.h"
#include "src/layer/rope.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

// [batch, seq, width] times weights: one product, or where strides don't allow that one per
// sequence.
struct ProjectionPlan {
  MatmulPlan matmul;
  size_t products = 1;
  ptrdiff_t from_step = 0, to_step = 0;  // from a product's operands to the next one's
};

struct ForwardPlan {
  size_t batch = 0, seq = 0;
  KvCache::Impl* cache = nullptr;  // null: none
  AppendPlan append;
  size_t own_heads = 0;  // width of joined heads that are kept in the layer's memory
  // Joined heads that are the result and were asked for in f32 too, and where they go; or absent.
  MutableTensorView heads, y;
  TensorView q, k, v;     // [batch, seq, heads, dim], side by side as the projection leaves them
  ProjectionPlan qkv[3];  // of Impl::qkv
  RopePlan rope;
  HadamardPlan hadamard;
  AttentionPlan attention;
  ProjectionPlan out;
  size_t bytes = 0;  // of memory that the run takes
  Arena memory;      // in which it is
  Arena front;       // before that, of so many bytes as PlanForward was asked for

  bool empty() const { return batch == 0 || seq == 0; }
};

// The projections of queries, keys and values, whose outputs lie side by side. Neighbours that are
// stored alike are one matrix.
struct QkvWeights {
  PackedMatrix parts[3];
  Compute compute[3] = {};  // of each part
  size_t count = 0;

  std::span<const PackedMatrix> all() const { return {parts, count}; }
  size_t out() const;
  size_t bytes() const;
};

struct HEED_HIDDEN MultiHeadAttention::Impl : Placed {
  // Null for a layer that was moved from.
  static const Impl* Of(const MultiHeadAttention& layer) { return layer.impl_.get(); }

  MultiHeadAttentionConfig config;
  heed_rope_options rope_of_c = {};  // what the config that C is given points to
  heed_rope_scaling scaling_of_c = {};
  QkvWeights qkv;
  PackedMatrix out_weights;
  Compute out_compute = Compute::kF32;
  // In the layer's memory; null: none.
  float* qkv_bias = nullptr;
  float* out_bias = nullptr;
  float* q_norm = nullptr;  // the offset added
  float* k_norm = nullptr;
  float* sinks = nullptr;
  float* alibi_slopes = nullptr;
  bool has_out = false;

  // Of `config`, in the layer's memory, which begins with this. An arena that counts: all but the
  // elements of weights is checked, and nothing is made.
  Status Create(const MultiHeadAttentionWeights& weights, Arena* arena, Context& context);
  size_t d_out() const;
  size_t bytes() const;
  size_t joined() const { return config.num_heads * config.v_head_dim; }  // width of all heads

  Status CheckForward(const TensorView& x, const MutableTensorView& y,
                      const ForwardOptions& options) const;
  // Checks everything, fills `plan` and takes its memory, so that no step of the run fails but for
  // a pool that does not call its workers.
  Status PlanForward(const TensorView& x, const MutableTensorView& y, const ForwardOptions& options,
                     Context::Impl& context, ForwardPlan* plan, size_t front_bytes = 0) const;
  // `memory` is the plan's.
  Status RunForward(const ForwardPlan& plan, Arena memory, const Context::Impl& context) const;

 private:
  Status PlanSteps(const TensorView& x, const MutableTensorView& y, const ForwardOptions& options,
                   Arena arena, Context::Impl& context, ForwardPlan* plan) const;
  AttentionOptions OptionsFor(const ForwardOptions& options) const;
  // Of heads that are kept in the layer's memory; 0: they go to the caller's.
  size_t OwnHeads(const ForwardOptions& options) const {
    return has_out && options.context.absent() ? joined() : 0;
  }
};

}  // namespace heed::inline v1
