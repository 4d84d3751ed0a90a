// Scaled dot-product attention (Vaswani et al., arXiv 1706.03762) with grouped heads (arXiv
// 2305.13245), computed block by block of keys with a running maximum and sum (Milakov and
// Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135): no buffer of q_len x kv_len exists
// unless the weights are asked for.
#pragma once

#include "heed/c/context.h"
#include "heed/c/info.h"
#include "heed/c/kv_cache.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// Dropout on the attention weights, as in training: each weight is kept with probability 1 - p and
// then divided by 1 - p. Off by default.
typedef struct heed_dropout_options {
  size_t struct_size;
  // In [0, 1). Which weights are kept is a pure function of (seed, batch, head, query, key) by
  // Philox4x32-10 (Salmon et al., SC11), the query counted from the start of the keys
  // (kv_len - q_len + i), so threads, batches and chunks do not change it.
  float probability;
  uint64_t seed;
  // Instead of the above: what each weight is multiplied by, f32 [batch, num_heads, q_len, kv_len],
  // any strides (0 shares a mask).
  const heed_tensor* mask;
} heed_dropout_options;

HEED_API void heed_dropout_options_init(heed_dropout_options* options, size_t struct_size);

// Where the causal diagonal lies when q_len and kv_len differ.
typedef int32_t heed_causal_alignment;
enum {
  // The last query is the last key's token: query i is at position i + kv_len - q_len.
  HEED_CAUSAL_ALIGNMENT_BOTTOM_RIGHT = 0,
  // The first query is the first key's token: query i is at position i.
  HEED_CAUSAL_ALIGNMENT_TOP_LEFT = 1,
};

// Every feature of attention. The defaults are plain attention over all keys.
//
// Query i of sequence b stands at position e = i + kv_len - q_len, with that sequence's own lengths
// (aligned top left: at e = i). It sees key j when every rule that is set allows it:
//   causal         j <= e, or j < prefix_lens[b]
//   window         j > e - window, or j < sink_tokens, or j < prefix_lens[b]
//   kv_lens        j < kv_lens[b]
//   key_mask, mask, tree_mask   what they say
// A query that sees no key gives zeros, never NaN. What is hidden never leaks, even NaN or inf.
//
// A score is made in this order: scale * (q . k), soft cap, ALiBi, additive mask.
//
// What a kind of call can't have (x), because it means nothing there or needs all keys. A ring is a
// heed_kv_cache with a window; a part is heed_attention_partial().
//
//                     cu_seqlens  cache  ring  pages  part
//   alibi_slopes
//   sinks                                             x
//   prefix_lens                          x
//   kv_lens           x                  x     x
//   key_mask          x                  x
//   mask              x                  x
//   tree_mask         x
//   cu_seqlens_q                  x      x            x
//   cu_seqlens_k                  x      x     x      x
//   dropout.mask      x                  x
//   lse                                               x
//   weights           x                  x            x
//   weights_heads     x                  x            x
//   weights_queries   x                  x            x
//   key_scores        x                  x            x
//   k_scales                      x      x     x
//   v_scales                      x      x     x
typedef struct heed_attention_options {
  size_t struct_size;

  // Multiplies q.k; finite. Without has_scale it is 1 / sqrt(head_dim), and scale must be 0.
  bool has_scale;
  float scale;
  // c > 0: score = c tanh(score / c) (Gemma 2, arXiv 2408.00118), from 2^-60 to 2^60. 0: none.
  float logits_soft_cap;
  // f32 [num_heads]: score -= slope |e - j| (Press et al., arXiv 2108.12409). heed_alibi_slopes()
  // gives the paper's. Not multiplied by scale.
  const heed_tensor* alibi_slopes;
  // f32 [num_heads]: one more logit per head that joins the denominator and has no value
  // (GPT-OSS, arXiv 2508.10925). Neither scaled nor capped nor masked; the LSE includes it.
  const heed_tensor* sinks;

  // Hides later keys. Bottom-right aligned by default, so the last query sees all keys; with
  // q_len > kv_len the first queries see none.
  //   q_len 2, kv_len 5:  1 1 1 1 0      q_len 3, kv_len 2:  0 0
  //                       1 1 1 1 1                          1 0
  //                                                          1 1
  bool causal;
  heed_causal_alignment causal_alignment;  // also places the positions
  // A query sees its own key and the window - 1 before it (Mistral, arXiv 2310.06825). 0: no limit.
  // Needs causal. Keys outside are not touched.
  size_t window;
  // With a window: the first keys stay visible (Xiao et al., arXiv 2309.17453). Needs window.
  size_t sink_tokens;
  // i32 [batch]: the first keys of a sequence are seen by all its queries, later ones included
  // (prefix-LM, Raffel et al., arXiv 1910.10683). Needs causal.
  const heed_tensor* prefix_lens;

  // i32 [batch]: how many of the kv_len keys a sequence has, each in [0, kv_len]; the rest is
  // padding and never read.
  const heed_tensor* kv_lens;
  // u8 [batch, kv_len]: key padding; 0 hides a key from all queries of its sequence.
  const heed_tensor* key_mask;
  // [1 or num_heads, q_len, kv_len], or with a batch before it, any strides (0 broadcasts).
  // u8: 0 hides. f32: added to the score; -inf hides.
  const heed_tensor* mask;
  // u8 [q_len, q_len], or with a batch before it: which of the last q_len keys, the queries' own
  // tokens, query i sees; 0 hides. Speculative decoding verifies a tree of drafts so (Miao et al.,
  // arXiv 2305.09781). Earlier keys stay visible. Needs causal, bottom-right.
  const heed_tensor* tree_mask;

  // i32 [batch + 1]: sequences of different lengths one after the other. q and out are then
  // [total_q, heads, dim], k and v [total_kv, heads, dim]; sequence b owns the rows cu_seqlens[b]
  // ... cu_seqlens[b + 1] - 1, the first is 0, the last the total, and none decreases. Give both,
  // or with pages only cu_seqlens_q. lse is [num_heads, total_q].
  const heed_tensor* cu_seqlens_q;
  const heed_tensor* cu_seqlens_k;

  const heed_dropout_options* dropout;

  // Optional results.
  // f32 [batch, num_heads, q_len], any strides: natural log of the sum of exp of the scores (and of
  // the sink); -inf for a query that sees no key (with a sink: the sink).
  const heed_tensor* lse;
  // f32 [batch, num_heads, q_len, kv_len], unit stride along kv_len: the weights that multiply v,
  // after dropout; 0 for hidden keys. With weights_heads (i32 [n], ascending) or weights_queries
  // (i32 [m], ascending) only those heads and queries: [batch, n, m, kv_len].
  const heed_tensor* weights;
  const heed_tensor* weights_heads;
  const heed_tensor* weights_queries;
  // f32 [batch, num_heads, kv_len], unit stride along kv_len: the weights of each key summed over
  // the queries, ascending, before dropout: what cache eviction ranks keys by (Zhang et al., arXiv
  // 2306.14048).
  const heed_tensor* key_scores;

  // Of k and v in tensors where they are int8 or int4, and only there; any numbers, NaN too:
  //   int8  f32 [batch, kv_len, num_kv_heads], any strides
  //   int4  f16 [batch, kv_len, num_kv_heads, dim / 32 rounded up], unit stride along the last
  //         dimension: one for each 32 channels, dim being head_dim or v_head_dim
  // without batch where k or v is. heed_quantize() makes codes and scales.
  const heed_tensor* k_scales;
  const heed_tensor* v_scales;

  // HEED_COMPUTE_INT16: keys or values, or both, are int8 or int4, in whatever holds them, and what
  // of them is takes part as integers; all else stays as it is in f32. Decode is faster so, prefill
  // slower. Queries, and weights times the scales of values, are rounded to int16, by the largest
  // magnitude of what shares a scale of theirs. With every operation rounded by itself, sum an
  // exact sum of integers that is rounded to f32, and code and scale those of keys or values:
  //   q.k of a key, q the queries times what brings their scores into units (docs/numerics.md):
  //     for each chunk of HEED_SUM_CHUNK channels:
  //       q_scale = max |q[d]| / 32767;  x[d] = q[d] * (32767 / max |q[d]|), to nearest even
  //     s = 0;  for each chunk: t = 0
  //                             for each group of channels with a scale: t = t + float(sum) * scale
  //                             s = s + t * q_scale       sum: of x[d] * code[d]
  //   out of a block of HEED_KEY_BLOCK keys, for each group of channels with a scale:
  //     u[j] = p[j] * scale[j] for the keys that are seen, 0 where p[j] is 0
  //     u_scale = max |u[j]| / 32767;  y[j] = u[j] * (32767 / max |u[j]|), to nearest even
  //     acc = acc * factor + float(sum) * u_scale             sum: of y[j] * code[j]
  // A q_scale or u_scale below 2^-126 is 0 and its codes too; with a u_scale of 0 nothing is added.
  // Where a query is not finite its scores are NaN; a key whose scale is not finite has a score of
  // NaN, or infinity where its sum is not 0; and a value whose scale is not finite, and whose
  // weight is not 0, makes the row's channels of that group NaN. q[d] and u[j] are off by at most
  // 0.51 * q_scale and 0.51 * u_scale. All other promises hold: the bits do not depend on batch,
  // chunks, threads or instruction set of a family.
  heed_compute compute;
} heed_attention_options;

HEED_API void heed_attention_options_init(heed_attention_options* options, size_t struct_size);

// out = softmax(scale * q k^T) v, head by head.
//   q    [batch, q_len,  num_heads,    head_dim]     any strides
//   k    [batch, kv_len, num_kv_heads, head_dim]     any strides
//   v    [batch, kv_len, num_kv_heads, v_head_dim]   any strides
//   out  [batch, q_len,  num_heads,    v_head_dim]   unit stride along v_head_dim
// Each is f32, f16 or bf16, whatever the others are, and k and v may also be
//   int8  unit stride along the last dimension
//   int4  the same, of (head_dim + 1) / 2 or (v_head_dim + 1) / 2 bytes of two codes (heed_dtype)
// with the options k_scales and v_scales. 16-bit numbers are widened exactly. A quantized element
// is float(code) * scale, rounded once; a code of 0 is +0, or NaN where its scale is not finite.
// All is computed in f32, and out is rounded once, to nearest, ties to even: the result has the
// bits of the same numbers given as f32. v_head_dim may differ from head_dim.
//
// All four may leave out batch together (rank 3). num_heads % num_kv_heads == 0: query head h reads
// kv head h / (num_heads / num_kv_heads). Any size may be 0 where that makes sense: without queries
// nothing is written, without keys the output is zeros (and lse -inf). head_dim is at least 1.
//
// The output, lse, weights and key_scores must not overlap each other or anything that the call
// reads: q, k and v, the pages, block_table and seq_lens, and every other tensor of `options`.
// Lengths, tables and chosen heads and queries are copied, each element once, before anything is
// written.
//
// No size may reach 2^31 (only a ring may have seen more tokens). With nothing to write, because
// out and every result asked for are empty, a call checks shapes and returns; it does not look at
// lengths and tables then.
//
// The result for a query depends on that query and the keys it sees alone: the same bits in a
// batch or alone, as a whole, in chunks or token by token (kv_len growing), with any number of
// threads.
//
// Workspace: bounded per thread by the tile, with 6 rows of a 16-bit q and 16 of a k or v that is
// not f32, plus (v_head_dim rounded up to 32, plus 2) * 4 bytes for each query, head and segment
// where few queries meet many keys, plus 8 bytes for each query and head where weights or
// key_scores are asked for, plus 56 bytes for each sequence, 4 for each entry of block_table, and 4
// for each of weights_heads and weights_queries.
//
// Errors: HEED_INVALID_ARGUMENT (shapes that disagree, heads that do not divide, null data,
// overflow, overlap, scale not finite, options that contradict each other or the kind of call,
// lengths that are negative, decrease or do not fit, scales that are missing or given for k or v
// that has none), HEED_UNSUPPORTED (dtype, a size of 2^31), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_attention(const heed_tensor* q, const heed_tensor* k,
                                    const heed_tensor* v, const heed_tensor* out,
                                    const heed_attention_options* options, heed_context* context,
                                    heed_error* error);

// The same against a cache: kv_len is its length, the batch is the cache's. The tokens of q are
// usually the last ones appended. Against a ring the option window must be set and fit (see
// heed_kv_cache_config).
HEED_API heed_status heed_attention_cache(const heed_tensor* q, const heed_kv_cache* cache,
                                          const heed_tensor* out,
                                          const heed_attention_options* options,
                                          heed_context* context, heed_error* error);

// Keys and values in blocks of a pool (Kwon et al., "PagedAttention", arXiv 2309.06180), in the
// caller's memory or a heed_paged_kv_cache's.
//
//   k                   [num_blocks, block_size, num_kv_heads, head_dim]
//   v                   [num_blocks, block_size, num_kv_heads, v_head_dim]
//   k_scales, v_scales  of int8 [num_blocks, block_size, num_kv_heads]; of int4 the same and a
//                       scale for each 32 channels
// with the types and strides that tensors have (see heed_attention and k_scales of its options).
typedef struct heed_paged_kv {
  size_t struct_size;
  heed_tensor k;
  heed_tensor v;
  // i32 [batch, max_blocks]: token t of sequence b is in slot t % block_size of block
  // block_table[b, t / block_size]. Entries past the last block that seq_lens needs are not read.
  heed_tensor block_table;
  heed_tensor seq_lens;  // i32 [batch]: tokens of each sequence, those of the queries included
  // Of k and v where they are int8 or int4, and only there; all zeros elsewhere.
  heed_tensor k_scales;
  heed_tensor v_scales;
} heed_paged_kv;

HEED_API void heed_paged_kv_init(heed_paged_kv* kv, size_t struct_size);  // all tensors absent

// The same against paged keys and values: q is [batch, q_len, num_heads, head_dim] or packed by
// the option cu_seqlens_q, kv_len of a sequence is seq_lens[b], that of masks and weights the
// largest. Slots past seq_lens are never read. Errors also: HEED_INVALID_ARGUMENT for an entry of
// block_table that is needed and not in [0, num_blocks), and for scales that are missing, of
// another shape, or given for k or v that has none.
HEED_API heed_status heed_attention_paged(const heed_tensor* q, const heed_paged_kv* kv,
                                          const heed_tensor* out,
                                          const heed_attention_options* options,
                                          heed_context* context, heed_error* error);

// The slopes of the ALiBi paper for num_heads heads: with n the largest power of two <= num_heads,
// 2^(-8 (h + 1) / n) for h < n, and then every other slope of 2n heads. slopes f32 [num_heads].
// Errors: HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED (dtype).
HEED_API heed_status heed_alibi_slopes(const heed_tensor* slopes, heed_error* error);

// What the dropout options `probability` and `seed` multiply the weights by, 0 or
// 1 / (1 - probability):
//   mask  f32 [batch, num_heads, q_len, kv_len], any strides
// Errors: HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED (dtype).
HEED_API heed_status heed_dropout_mask(float probability, uint64_t seed, const heed_tensor* mask,
                                       heed_error* error);

#ifdef __cplusplus
}
#endif
