// Attention over parts of the keys, computed apart (shared prefixes, shards, other machines) and
// joined.
#pragma once

#include "heed/c/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

// What some keys contribute to each query before the last division: for every segment of
// HEED_SEGMENT_KEYS keys the largest score in base 2 (times log2(e)), the sum of 2^(score - max),
// and the values weighted by 2^(score - max). It is kept segment by segment because sums do not
// associate: folding the segments of all parts in order is what heed_attention() itself does, so it
// gives the same bits.
typedef struct heed_attention_state {
  heed_tensor max;  // f32 [segments, batch, num_heads, q_len]; -inf where no key is seen
  heed_tensor sum;  // f32 [segments, batch, num_heads, q_len]; 0 there
  // f32 [segments, batch, q_len, num_heads, v_head_dim], unit stride along v_head_dim; 0 there
  heed_tensor acc;
} heed_attention_state;

// Attention over keys [first_key, first_key + k's kv_len) of a sequence of kv_len keys in all: k,
// v and their scales hold those keys alone, while positions, rules and masks of `options` are those
// of the whole. segments = k's kv_len / HEED_SEGMENT_KEYS, rounded up.
//   q  [batch, q_len, num_heads, head_dim], k, v and their scales: types and strides as in
//      heed_attention()
// first_key is a multiple of HEED_SEGMENT_KEYS, and so is the end unless it is kv_len. Options of
// the whole are refused, see the table at heed_attention_options: sinks are given to
// heed_merge_attention(). The tensors of `state` must not overlap each other or anything that the
// call reads. Errors: as heed_attention().
HEED_API heed_status heed_attention_partial(const heed_tensor* q, const heed_tensor* k,
                                            const heed_tensor* v, size_t first_key, size_t kv_len,
                                            const heed_attention_state* state,
                                            const heed_attention_options* options,
                                            heed_context* context, heed_error* error);

// Folds the segments of parts[0], parts[1] ... in that order and finishes: with all parts of a
// sequence in the order of their keys the result has the bits of heed_attention() over all of them.
//   parts  may be null where num_parts is 0
//   sinks  f32 [num_heads] or null
//   out    f32, f16 or bf16 [batch, q_len, num_heads, v_head_dim], unit stride along v_head_dim
//   lse    f32 [batch, num_heads, q_len] or null
// Without parts, or where no part saw a key: zeros, and an lse of -inf (the sink, if there is one).
// out and lse must not overlap each other, the parts or sinks. Errors: HEED_INVALID_ARGUMENT,
// HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_merge_attention(const heed_attention_state* parts, size_t num_parts,
                                          const heed_tensor* sinks, const heed_tensor* out,
                                          const heed_tensor* lse, heed_context* context,
                                          heed_error* error);

// Joins two finished results over different keys of the same queries:
//   lse = log(e^lse_a + e^lse_b), out = e^(lse_a - lse) out_a + e^(lse_b - lse) out_b
// (Ye et al., FlashInfer, arXiv 2501.01005). The LSEs carry one rounding each, so out agrees with
// attention over all keys within 4 * 2^-24 * (1 + |lse_a| + |lse_b|) * max(|out_a|, |out_b|),
// beside the errors of the parts themselves.
//   out_a, out_b, out  f32, f16 or bf16, each its own, [batch, q_len, num_heads, v_head_dim]; out
//                      has unit stride along v_head_dim and may be out_a or out_b itself
//   lse_a, lse_b, lse  f32 [batch, num_heads, q_len]; lse may be null, or lse_a or lse_b itself
// Results must not overlap otherwise. A side whose lse is -inf contributes nothing. Errors:
// HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY (workspace: two rows of f32).
HEED_API heed_status heed_merge_attention_results(const heed_tensor* out_a,
                                                  const heed_tensor* lse_a,
                                                  const heed_tensor* out_b,
                                                  const heed_tensor* lse_b, const heed_tensor* out,
                                                  const heed_tensor* lse, heed_context* context,
                                                  heed_error* error);

#ifdef __cplusplus
}
#endif
