// A whole attention layer: projections, norms of queries and keys, rotary embedding, cache,
// attention, output projection.
#pragma once

#include "heed/c/attention.h"
#include "heed/c/matmul.h"
#include "heed/c/rope.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_multi_head_attention_config {
  size_t struct_size;
  size_t d_in;  // width of x
  size_t num_heads;
  size_t num_kv_heads;            // 0: as num_heads
  size_t head_dim;                // of queries and keys; need not be d_in / num_heads
  size_t v_head_dim;              // of values; 0: as head_dim
  bool causal;                    // true by default
  bool has_scale;                 // without it scale must be 0
  float scale;                    // without has_scale: 1 / sqrt(head_dim)
  const heed_rope_options* rope;  // null: none

  // As in heed_attention_options.
  size_t window;
  size_t sink_tokens;
  float logits_soft_cap;

  // Of the weights q_norm and k_norm: x * (1 / sqrt(mean of x^2 + norm_eps)) * (norm_weight_offset
  // + weight), RMSNorm (Zhang and Sennrich, arXiv 1910.07467). Gemma stores weights minus 1: its
  // offset is 1.
  float norm_eps;  // finite, at least 0; 1e-6 by default
  float norm_weight_offset;

  // Queries and keys are rotated by heed_hadamard(), after norms and RoPE and before the cache. The
  // cache then holds rotated keys, which only a layer that rotates its queries can read. The output
  // stays the same but for rounding. It pays where keys are stored as int8 or int4 and a few
  // channels of a head are much larger than the others: the rotation spreads them over all
  // channels. Elsewhere it costs time and gains nothing. An odd head_dim is left as it is.
  bool hadamard;

  // Of heed_multi_head_attention_create_cache(): k_dtype and v_dtype of heed_kv_cache_config.
  heed_dtype k_cache_dtype;
  heed_dtype v_cache_dtype;

  // The values of a head are the first v_head_dim channels of its keys (values_in_keys of
  // heed_kv_cache_config): of what attention reads, after k_norm, RoPE and the Hadamard rotation,
  // and as the cache stores them. There are no weights for v then, and v_cache_dtype becomes
  // k_cache_dtype. v_head_dim is at most head_dim.
  bool values_in_keys;

  // `compute` of heed_attention_options. HEED_COMPUTE_INT16 needs k_cache_dtype or v_cache_dtype of
  // int8 or int4, and every call a cache with such keys or values.
  heed_compute attention_compute;
} heed_multi_head_attention_config;

HEED_API void heed_multi_head_attention_config_init(heed_multi_head_attention_config* config,
                                                    size_t struct_size);

// One linear map: f32, f16 or bf16 in the layout of the whole set, any strides.
typedef struct heed_linear_weights {
  size_t struct_size;
  const heed_tensor* weight;  // [in, out] or [out, in]
  const heed_tensor* bias;    // f32, f16 or bf16 [out]; null: none
  // How the layer keeps the weight; null: f32. With compute in f32 the bits are those of the same
  // numbers kept in f32. Neighbours of q, k and v with the same storage and compute are one
  // product.
  const heed_pack_options* storage;
  // How the projection is computed (heed_matmul_options); int16 is for int8 and int4 storage. The
  // bits are the same in prefill, chunks and decode. Decode is slower than with f32.
  heed_compute compute;
  // Given in the place of `weight`: a matrix that is packed already, from a mapped file say, used
  // from where its elements lie without a copy; `storage` is not looked at. It must live as long as
  // the layer.
  const heed_packed_matrix* packed;
} heed_linear_weights;

HEED_API void heed_linear_weights_init(heed_linear_weights* weights, size_t struct_size);

// Either q, k and v, or qkv alone: all query heads, then all key heads, then all value heads along
// the output dimension. Head h of a projection is its outputs h * head_dim ... (h + 1) * head_dim
// - 1. With values_in_keys v is null, and qkv is queries and keys.
typedef struct heed_multi_head_attention_weights {
  size_t struct_size;
  heed_weight_layout layout;       // [out, in] by default
  const heed_linear_weights* q;    // d_in -> num_heads * head_dim
  const heed_linear_weights* k;    // d_in -> num_kv_heads * head_dim
  const heed_linear_weights* v;    // d_in -> num_kv_heads * v_head_dim
  const heed_linear_weights* qkv;  // d_in -> the sum of these
  // num_heads * v_head_dim -> d_out; null: the heads joined are the result.
  const heed_linear_weights* out;

  // f32, f16 or bf16, copied; null: none.
  const heed_tensor* q_norm;  // [head_dim]: RMSNorm of each query head before RoPE (Qwen3, Gemma 3)
  const heed_tensor* k_norm;  // [head_dim]: of each key head
  const heed_tensor* sinks;   // [num_heads]: see heed_attention_options
  const heed_tensor* alibi_slopes;  // [num_heads]: see heed_attention_options
} heed_multi_head_attention_weights;

HEED_API void heed_multi_head_attention_weights_init(heed_multi_head_attention_weights* weights,
                                                     size_t struct_size);

typedef struct heed_forward_options {
  size_t struct_size;

  // Past tokens. x's tokens are appended and their queries see them and everything before. Without
  // a cache x is the whole sequence. Its values_in_keys is that of the layer.
  heed_kv_cache* cache;

  // i32 [batch, seq] or [seq], for RoPE; null: cache length + 0, 1, 2 ... (from 0 without a cache).
  const heed_tensor* positions;

  // Padding. kv_lens, without a cache: x has tokens only up to kv_lens[b], and queries after them
  // see what the causal mask and the window leave of those. key_mask, also with one (batches padded
  // on the left): 0 hides a key of the kv_len = past + seq.
  const heed_tensor* kv_lens;   // i32 [batch], each in [0, seq]
  const heed_tensor* key_mask;  // u8 [batch, kv_len]

  const heed_dropout_options* dropout;

  // Optional results.
  const heed_tensor* lse;      // f32 [batch, num_heads, seq]
  const heed_tensor* weights;  // f32 [batch, num_heads, seq, kv_len] with kv_len = past + seq
  // f32 [batch, seq, num_heads * v_head_dim]: heads joined, before the output projection.
  const heed_tensor* context;
} heed_forward_options;

HEED_API void heed_forward_options_init(heed_forward_options* options, size_t struct_size);

// Immutable after creation, so many contexts may use it at the same time (each with its own cache).
typedef struct heed_multi_head_attention heed_multi_head_attention;

// Checks everything and packs the weights; the caller's may go afterwards, but for matrices that
// are packed already. `memory`, null: on the heap. Else the caller's memory of at least
// heed_multi_head_attention_memory_bytes() bytes, with nothing from the heap.
// Errors: HEED_INVALID_ARGUMENT (named by projection; memory that is not aligned),
// HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY (no memory, or too little).
HEED_API heed_status heed_multi_head_attention_create(
    const heed_multi_head_attention_config* config,
    const heed_multi_head_attention_weights* weights, const heed_memory* memory,
    heed_context* context, heed_multi_head_attention** layer, heed_error* error);
// Elements of weights are not looked at. With a context that measures they may be null.
HEED_API heed_status
heed_multi_head_attention_memory_bytes(const heed_multi_head_attention_config* config,
                                       const heed_multi_head_attention_weights* weights,
                                       heed_context* context, size_t* bytes, heed_error* error);
HEED_API void heed_multi_head_attention_destroy(heed_multi_head_attention* layer);

// y = Attention(x).
//   x  [batch, seq, d_in] or [seq, d_in], any strides
//   y  [batch, seq, d_out] or [seq, d_out], unit stride along d_out
// Each is f32, f16 or bf16: x is widened exactly, all is computed in f32, and y is rounded once,
// to nearest, ties to even.
// y and the results of `options` must not overlap each other, x or the inputs of `options`.
// Without tokens (batch or seq is 0) nothing is written, and not all of `options` is checked.
// With a cache the same bits come out whether a sequence is given at once, in chunks or token by
// token. The first call of a size grows the context's workspace; later ones allocate nothing.
// Errors: HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED, HEED_CAPACITY_EXCEEDED, HEED_OUT_OF_MEMORY. A
// refused call leaves y and the cache as they were: nothing is appended before everything is
// checked and all memory taken. Only a heed_parallel_for that does not call its workers can make a
// call fail after that: y is then unspecified, the cache's length as before, and of a ring that had
// begun to overwrite tokens first_held says which are left.
HEED_API heed_status heed_multi_head_attention_forward(const heed_multi_head_attention* layer,
                                                       const heed_tensor* x, const heed_tensor* y,
                                                       const heed_forward_options* options,
                                                       heed_context* context, heed_error* error);

// A cache that fits this layer, for `capacity` tokens in all. For a stream without end a layer
// with a window takes a ring instead: the config below, with the layer's window and sink_tokens.
HEED_API heed_status heed_multi_head_attention_create_cache(const heed_multi_head_attention* layer,
                                                            size_t batch, size_t capacity,
                                                            heed_kv_cache** cache,
                                                            heed_error* error);
// The config of such a cache: of one in the caller's memory, or to be made a ring. As much is
// written as config->struct_size says.
HEED_API heed_status heed_multi_head_attention_cache_config(const heed_multi_head_attention* layer,
                                                            size_t batch, size_t capacity,
                                                            heed_kv_cache_config* config,
                                                            heed_error* error);

// The config that the layer has, defaults filled in. As much is written as config->struct_size
// says. `rope` and its scaling lie in the layer.
HEED_API heed_status heed_multi_head_attention_get_config(const heed_multi_head_attention* layer,
                                                          heed_multi_head_attention_config* config,
                                                          heed_error* error);
HEED_API size_t heed_multi_head_attention_d_out(const heed_multi_head_attention* layer);
// Of weights, those that were given packed included.
HEED_API size_t heed_multi_head_attention_bytes(const heed_multi_head_attention* layer);

#ifdef __cplusplus
}
#endif
