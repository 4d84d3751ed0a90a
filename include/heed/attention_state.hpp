// Attention over parts of the keys, computed apart (shared prefixes, shards, other machines) and
// joined.
#pragma once

#include <cstddef>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// What some keys contribute to each query before the last division: for every segment of
// kSegmentKeys keys the largest score in base 2 (times log2(e)), the sum of 2^(score - max), and
// the values weighted by 2^(score - max). It is kept segment by segment because sums do not
// associate: folding the segments of all parts in order is what attention() itself does, so it
// gives the same bits.
struct AttentionState {
  MutableTensorView max;  // f32 [segments, batch, num_heads, q_len]; -inf where no key is seen
  MutableTensorView sum;  // f32 [segments, batch, num_heads, q_len]; 0 there
  // f32 [segments, batch, q_len, num_heads, v_head_dim], unit stride along v_head_dim; 0 there
  MutableTensorView acc;
};

// attention() over keys [first_key, first_key + k's kv_len) of a sequence of kv_len keys in all: k,
// v and their scales hold those keys alone, while positions, rules and masks of `options` are those
// of the whole. segments = k's kv_len / kSegmentKeys, rounded up.
//   q  [batch, q_len, num_heads, head_dim], k, v and their scales: types and strides as in
//      attention()
// first_key is a multiple of kSegmentKeys, and so is the end unless it is kv_len. Options of the
// whole are refused, see the table at AttentionOptions: sinks are given to merge_attention(). The
// views of `state` must not overlap each other or anything that the call reads. Errors: as
// attention().
HEED_API Status attention_partial(const TensorView& q, const TensorView& k, const TensorView& v,
                                  size_t first_key, size_t kv_len, const AttentionState& state,
                                  const AttentionOptions& options, Context& context);

// Folds the segments of parts[0], parts[1] ... in that order and finishes: with all parts of a
// sequence in the order of their keys the result has the bits of attention() over all of them.
//   sinks  f32 [num_heads] or absent
//   out    f32, f16 or bf16 [batch, q_len, num_heads, v_head_dim], unit stride along v_head_dim
//   lse    f32 [batch, num_heads, q_len] or absent
// Without parts, or where no part saw a key: zeros, and an lse of -inf (the sink, if there is one).
// out and lse must not overlap each other, the parts or sinks. Errors: kInvalidArgument,
// kUnsupported (dtype), kOutOfMemory.
HEED_API Status merge_attention(const AttentionState* parts, size_t num_parts,
                                const TensorView& sinks, const MutableTensorView& out,
                                const MutableTensorView& lse, Context& context);

// Joins two finished results over different keys of the same queries:
//   lse = log(e^lse_a + e^lse_b), out = e^(lse_a - lse) out_a + e^(lse_b - lse) out_b
// (Ye et al., FlashInfer, arXiv 2501.01005). The LSEs carry one rounding each, so out agrees with
// attention over all keys within 4 * 2^-24 * (1 + |lse_a| + |lse_b|) * max(|out_a|, |out_b|),
// beside the errors of the parts themselves.
//   out_a, out_b, out  f32, f16 or bf16, each its own, [batch, q_len, num_heads, v_head_dim]; out
//                      has unit stride along v_head_dim and may be out_a or out_b itself
//   lse_a, lse_b, lse  f32 [batch, num_heads, q_len]; lse may be absent, or lse_a or lse_b itself
// Results must not overlap otherwise. A side whose lse is -inf contributes nothing. Errors:
// kInvalidArgument, kUnsupported (dtype), kOutOfMemory (workspace: two rows of f32).
HEED_API Status merge_attention(const TensorView& out_a, const TensorView& lse_a,
                                const TensorView& out_b, const TensorView& lse_b,
                                const MutableTensorView& out, const MutableTensorView& lse,
                                Context& context);

}  // namespace heed::inline v1
