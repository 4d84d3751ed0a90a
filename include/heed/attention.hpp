// Scaled dot-product attention (Vaswani et al., arXiv 1706.03762) with grouped heads (arXiv
// 2305.13245), computed block by block of keys with a running maximum and sum (Milakov and
// Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135): no buffer of q_len x kv_len exists
// unless the weights are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "heed/context.hpp"
#include "heed/kv_cache.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

// Dropout on the attention weights, as in training: each weight is kept with probability 1 - p and
// then divided by 1 - p. Off by default.
struct DropoutOptions {
  // In [0, 1). Which weights are kept is a pure function of (seed, batch, head, query, key) by
  // Philox4x32-10 (Salmon et al., SC11), the query counted from the start of the keys
  // (kv_len - q_len + i), so threads, batches and chunks do not change it.
  float probability = 0.0f;
  uint64_t seed = 0;
  // Instead of the above: what each weight is multiplied by, f32 [batch, num_heads, q_len, kv_len],
  // any strides (0 shares a mask).
  TensorView mask = {};
};

struct AttentionOptions {
  std::optional<float> scale = {};  // multiplies q.k; finite; unset: 1 / sqrt(head_dim)

  // Hides later keys. Bottom-right aligned: query i sees keys j <= i + kv_len - q_len, so the last
  // query sees all keys. With q_len > kv_len the first queries see none.
  //   q_len 2, kv_len 5:  1 1 1 1 0      q_len 3, kv_len 2:  0 0
  //                       1 1 1 1 1                          1 0
  //                                                          1 1
  bool causal = false;

  DropoutOptions dropout = {};

  // Optional results.
  // f32 [batch, num_heads, q_len], any strides: natural log of the sum of exp of the scores; -inf for
  // a query that sees no key.
  MutableTensorView lse = {};
  // f32 [batch, num_heads, q_len, kv_len], unit stride along kv_len: the weights that multiply v,
  // after dropout; 0 for hidden keys.
  MutableTensorView weights = {};
};

// out = softmax(scale * q k^T) v, head by head.
//   q    f32 [batch, q_len,  num_heads,    head_dim]     any strides
//   k    f32 [batch, kv_len, num_kv_heads, head_dim]     any strides
//   v    f32 [batch, kv_len, num_kv_heads, v_head_dim]   any strides
//   out  f32 [batch, q_len,  num_heads,    v_head_dim]   unit stride along v_head_dim
// v_head_dim may differ from head_dim.
//
// All four may leave out batch together (rank 3). num_heads % num_kv_heads == 0: query head h reads
// kv head h / (num_heads / num_kv_heads). Any size may be 0 where that makes sense: without queries
// nothing is written, without keys the output is zeros (and lse -inf). head_dim is at least 1.
//
// A query that sees no key gives zeros, never NaN. What is hidden never leaks, even NaN or inf.
// The output, lse and weights must not overlap the inputs or each other.
//
// The result for a query depends on that query and the keys it sees alone: the same bits in a
// batch or alone, as a whole, in chunks or token by token (kv_len growing), with any number of
// threads.
//
// Workspace: bounded per thread by the tile, plus (v_head_dim rounded up to 32, plus 2) * 4 bytes for
// each query, head and segment where few queries meet many keys.
//
// Errors: kInvalidArgument (shapes that disagree, heads that do not divide, null data, overflow,
// overlap, scale not finite, dropout out of range), kUnsupported (dtype), kOutOfMemory.
Status attention(const TensorView& q, const TensorView& k, const TensorView& v,
                 const MutableTensorView& out, const AttentionOptions& options, Context& context);

// The same against a cache: kv_len is cache.length(), the batch is the cache's. The tokens of q are
// usually the last ones appended.
Status attention(const TensorView& q, const KvCache& cache, const MutableTensorView& out,
                 const AttentionOptions& options, Context& context);

// What DropoutOptions{probability, seed} multiplies the weights by, 0 or 1 / (1 - probability):
//   mask  f32 [batch, num_heads, q_len, kv_len], any strides
Status dropout_mask(float probability, uint64_t seed, const MutableTensorView& mask);

}  // namespace heed
