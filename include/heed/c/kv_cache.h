// Keys and values of past tokens, in the order the attention kernels read them.
#pragma once

#include "heed/c/context.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_kv_cache_config {
  size_t struct_size;
  size_t batch;  // 1 by default
  size_t num_kv_heads;
  size_t head_dim;    // of keys
  size_t v_head_dim;  // of values; 0: as head_dim
  size_t capacity;    // tokens per sequence
  // Not 0: a ring for windowed attention, in constant memory for a stream without end. It keeps the
  // last `capacity` tokens, rounded up to HEED_KEY_BLOCK, and overwrites older ones. `window` is
  // the largest heed_attention_options::window it will serve, at most `capacity`.
  size_t window;
  // With a window: the first tokens are kept for ever, beside the `capacity`
  // (heed_attention_options::sink_tokens at most this).
  size_t sink_tokens;
  // How keys and values are stored: f32 (the default), bf16, f16, int8 or int4, each its own. Keys
  // need more bits than values.
  //   bf16, f16  rounded to nearest, ties to even
  //   int8       codes -127 ... 127 and a scale for each token and head, f32: largest / 127
  //   int4       codes -8 ... 7 and a scale for each token, head and 32 channels, f16: the
  //              element of the largest magnitude / -8
  // A code is element / scale to nearest, ties to even (heed/c/quantize.h). In these two, elements
  // that share a scale with a NaN or an infinity read as NaN.
  heed_dtype k_dtype;
  heed_dtype v_dtype;
  // The values of a token are the first v_head_dim channels of its keys, as they are stored: latent
  // attention (DeepSeek, GLM) and shared keys and values. They are stored and read once; v_head_dim
  // is at most head_dim, and v_dtype becomes k_dtype.
  bool values_in_keys;
} heed_kv_cache_config;

HEED_API void heed_kv_cache_config_init(heed_kv_cache_config* config, size_t struct_size);

// A cache of keys and values for `batch` sequences of one length. Tokens are counted from the start
// of the stream, in a ring too. All memory is taken at creation: batch * num_kv_heads * (capacity +
// sink_tokens, each rounded up to HEED_KEY_BLOCK) times what a token of one head takes, which is
// for head_dim and for v_head_dim rounded up to 16
//   f32 4 bytes a channel; bf16, f16 2; int8 1, and 4 for the scale; int4 a half, rounded up to
//   whole bytes for keys, and 2 for each scale.
// With values_in_keys the channels of values take nothing. One thread at a time may change it; many
// may read it.
//
// What is computed from it is what f32 gives for the numbers that are stored, bit for bit: those of
// 16 bits widened, float(code) * scale rounded once and +0 for a code of 0.
//
// Attention with causal, window and sink_tokens within those of the config gives the same bits
// against a ring as against a cache that holds everything.
typedef struct heed_kv_cache heed_kv_cache;

// `memory`, null: on the heap. Else the caller's memory of at least heed_kv_cache_memory_bytes()
// bytes, with nothing from the heap.
// Errors: HEED_INVALID_ARGUMENT (a size of 0, overflow, window > capacity, sink_tokens without
// window, v_head_dim > head_dim with values_in_keys; memory that is not aligned),
// HEED_UNSUPPORTED (a dtype that is not stored), HEED_OUT_OF_MEMORY (no memory, or too little).
HEED_API heed_status heed_kv_cache_create(const heed_kv_cache_config* config,
                                          const heed_memory* memory, heed_kv_cache** cache,
                                          heed_error* error);
HEED_API heed_status heed_kv_cache_memory_bytes(const heed_kv_cache_config* config, size_t* bytes,
                                                heed_error* error);

// Stands for a cache of `length` tokens in calls that measure (heed_context_options::measure);
// others refuse it. It holds no keys and values. Errors: as of heed_kv_cache_create(),
// HEED_CAPACITY_EXCEEDED.
HEED_API heed_status heed_kv_cache_create_without_data(const heed_kv_cache_config* config,
                                                       size_t length, heed_kv_cache** cache,
                                                       heed_error* error);
HEED_API void heed_kv_cache_destroy(heed_kv_cache* cache);

// The config that the cache has, v_head_dim filled in, and v_dtype with values_in_keys. As much is
// written as config->struct_size says.
HEED_API heed_status heed_kv_cache_get_config(const heed_kv_cache* cache,
                                              heed_kv_cache_config* config, heed_error* error);

// Tokens per sequence: those appended, less those truncated.
HEED_API size_t heed_kv_cache_length(const heed_kv_cache* cache);
HEED_API size_t heed_kv_cache_bytes(const heed_kv_cache* cache);

// Tokens first_held ... length - 1 are held, and the first sink_tokens of the config; 0 as long as
// nothing has been overwritten. A query at position e with a window w finds its keys when
// first_held is 0 or e + 1 >= first_held + w.
HEED_API size_t heed_kv_cache_first_held(const heed_kv_cache* cache);

// The most tokens that one append may add now. Without a window capacity - length. A ring takes
// what leaves the first new token its whole window, so that all of them can be queries: with
// C = capacity rounded up to HEED_KEY_BLOCK, C - window + 1 tokens at any time, and up to
// C + sink_tokens (rounded up likewise) in all before it begins to overwrite. So a ring that is
// given chunks of n tokens needs a capacity of window + n - 1.
HEED_API size_t heed_kv_cache_room(const heed_kv_cache* cache);

// Adds tokens at the end of every sequence, rounded to the types that are stored.
//   k  [batch, seq, num_kv_heads, head_dim]     any strides
//   v  [batch, seq, num_kv_heads, v_head_dim]; with values_in_keys, and only then, null
// k and v are f32, f16 or bf16, each its own. batch may be left out when it is 1.
// Errors: HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED (dtype), HEED_CAPACITY_EXCEEDED (more tokens than
// there is room for), HEED_OUT_OF_MEMORY (workspace, of 16-bit tokens); nothing is added. Where a
// heed_parallel_for leaves work undone the length stays, too, but a ring may have lost the tokens
// before first_held.
HEED_API heed_status heed_kv_cache_append(heed_kv_cache* cache, const heed_tensor* k,
                                          const heed_tensor* v, heed_context* context,
                                          heed_error* error);

// Forgets the tokens from `length` on. A ring must still hold the whole window of the token that
// comes next: with C as above, it can go back C - window + 1 tokens from the furthest it has
// been, to anywhere while it has overwritten nothing, and always to a length within the sinks.
// Errors: HEED_INVALID_ARGUMENT when length is larger than it is or further back than that; nothing
// is forgotten.
HEED_API heed_status heed_kv_cache_truncate(heed_kv_cache* cache, size_t length, heed_error* error);

#ifdef __cplusplus
}
#endif
