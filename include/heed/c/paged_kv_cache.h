// Keys and values of many sequences in blocks of one pool (Kwon et al., "PagedAttention", arXiv
// 2309.06180): a sequence takes a block when it needs one, and sequences that begin alike share the
// blocks of their common tokens.
#pragma once

#include "heed/c/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_paged_kv_cache_config {
  size_t struct_size;
  size_t num_blocks;  // num_blocks * block_size must be below 2^31
  size_t block_size;  // tokens of a block; 16 by default
  size_t num_kv_heads;
  size_t head_dim;    // of keys
  size_t v_head_dim;  // of values; 0: as head_dim
  // How keys and values are stored, each its own: f32, f16, bf16, int8 (4 bytes more for each token
  // and head) or int4 (2 bytes more for each 32 channels). See heed_paged_kv.
  heed_dtype k_dtype;
  heed_dtype v_dtype;
  // Sequences at a time, and named in one view, at most; 0: any number. With a number all memory is
  // taken at creation: for each sequence two lists of max_length / block_size entries of 4 bytes.
  size_t max_sequences;
  // With max_sequences: tokens of a sequence at most; 0: as many as the pool holds.
  size_t max_length;
} heed_paged_kv_cache_config;

HEED_API void heed_paged_kv_cache_config_init(heed_paged_kv_cache_config* config,
                                              size_t struct_size);

// Names a sequence of one heed_paged_kv_cache until it is freed. No two sequences of a process are
// ever named alike, so one that is freed, or of another cache, is always refused.
typedef struct heed_paged_sequence {
  size_t slot;
  uint64_t serial;  // 0: no sequence
} heed_paged_sequence;

// A pool of keys and values. All memory for them is taken at creation: num_blocks * block_size *
// num_kv_heads * (head_dim + v_head_dim) elements as they are stored, and their scales. Lists of
// blocks (8 bytes or less for each block of a sequence) grow with the sequences and are used again,
// so that a cache that has seen its largest load allocates nothing; with max_sequences it never
// does after creation.
//
// One thread at a time may call what takes a cache that is not const; many may read, also through a
// heed_paged_kv. A sequence that an argument names must be alive: HEED_INVALID_ARGUMENT otherwise.
// A call that is refused changes no length and no token.
typedef struct heed_paged_kv_cache heed_paged_kv_cache;

// `memory`, null: on the heap. Else the caller's memory of at least
// heed_paged_kv_cache_memory_bytes() bytes, with nothing from the heap; this needs max_sequences.
// Errors: HEED_INVALID_ARGUMENT (a size of 0, overflow; memory that is not aligned, or
// max_sequences of 0 with it), HEED_UNSUPPORTED (k_dtype, v_dtype), HEED_OUT_OF_MEMORY (no memory,
// or too little).
HEED_API heed_status heed_paged_kv_cache_create(const heed_paged_kv_cache_config* config,
                                                const heed_memory* memory,
                                                heed_paged_kv_cache** cache, heed_error* error);
HEED_API heed_status heed_paged_kv_cache_memory_bytes(const heed_paged_kv_cache_config* config,
                                                      size_t* bytes, heed_error* error);
HEED_API void heed_paged_kv_cache_destroy(heed_paged_kv_cache* cache);

// The config that the cache has, v_head_dim and max_length filled in. As much is written as
// config->struct_size says.
HEED_API heed_status heed_paged_kv_cache_get_config(const heed_paged_kv_cache* cache,
                                                    heed_paged_kv_cache_config* config,
                                                    heed_error* error);

// Of keys and values.
HEED_API size_t heed_paged_kv_cache_bytes(const heed_paged_kv_cache* cache);
HEED_API size_t heed_paged_kv_cache_free_blocks(const heed_paged_kv_cache* cache);
HEED_API size_t heed_paged_kv_cache_num_sequences(const heed_paged_kv_cache* cache);
// How many sequences hold a block; 0 for one that is free, or that does not exist.
HEED_API size_t heed_paged_kv_cache_references(const heed_paged_kv_cache* cache, size_t block);

// A new sequence, without tokens. Errors: HEED_OUT_OF_MEMORY, HEED_CAPACITY_EXCEEDED
// (max_sequences).
HEED_API heed_status heed_paged_kv_cache_add(heed_paged_kv_cache* cache,
                                             heed_paged_sequence* sequence, heed_error* error);

// A new sequence that begins with the first `length` tokens of `parent`, or all of them where that
// is SIZE_MAX. It shares their blocks; whichever of the two first adds tokens to
// a block that is not full copies it. Takes no block from the pool. Errors: HEED_INVALID_ARGUMENT
// (length beyond the parent's), HEED_OUT_OF_MEMORY, HEED_CAPACITY_EXCEEDED (max_sequences).
HEED_API heed_status heed_paged_kv_cache_fork(heed_paged_kv_cache* cache,
                                              const heed_paged_sequence* parent, size_t length,
                                              heed_paged_sequence* sequence, heed_error* error);

// Ends a sequence. Blocks that no other sequence holds go back to the pool.
HEED_API heed_status heed_paged_kv_cache_free(heed_paged_kv_cache* cache,
                                              const heed_paged_sequence* sequence,
                                              heed_error* error);

// The tokens of a sequence.
HEED_API heed_status heed_paged_kv_cache_length(const heed_paged_kv_cache* cache,
                                                const heed_paged_sequence* sequence, size_t* length,
                                                heed_error* error);

// Adds seq tokens at the end of each of the sequences, all of them or none.
//   k  [batch, seq, num_kv_heads, head_dim]     any strides; batch: as many as sequences
//   v  [batch, seq, num_kv_heads, v_head_dim]
// k and v are f32, f16 or bf16, each its own. What is stored is rounded to nearest, ties to even;
// int8 and int4 are quantized as heed/c/quantize.h says, of one head of one token, and where
// there is a NaN or an infinity all that share the scale read as NaN.
// batch may be left out when it is 1. k and v must not lie in this cache's own memory.
// Errors: HEED_INVALID_ARGUMENT (a sequence twice, too), HEED_UNSUPPORTED (dtype),
// HEED_CAPACITY_EXCEEDED (more blocks than are free are needed, max_length), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_paged_kv_cache_append(heed_paged_kv_cache* cache,
                                                const heed_paged_sequence* sequences,
                                                size_t num_sequences, const heed_tensor* k,
                                                const heed_tensor* v, heed_context* context,
                                                heed_error* error);

// Forgets a sequence's tokens from `length` on; blocks without tokens go back to the pool.
// Errors: HEED_INVALID_ARGUMENT (length beyond the sequence's).
HEED_API heed_status heed_paged_kv_cache_truncate(heed_paged_kv_cache* cache,
                                                  const heed_paged_sequence* sequence,
                                                  size_t length, heed_error* error);

// What heed_attention_paged() reads: the pool, and for each of the sequences, in this order, its
// row of the block table (-1 past its last block) and its length. A sequence may stand there twice.
// The table and the lengths lie in this cache and hold until its next view; they do not follow
// appends. As much is written as view->struct_size says. Errors: HEED_INVALID_ARGUMENT,
// HEED_OUT_OF_MEMORY, HEED_CAPACITY_EXCEEDED (max_sequences).
HEED_API heed_status heed_paged_kv_cache_view(heed_paged_kv_cache* cache,
                                              const heed_paged_sequence* sequences,
                                              size_t num_sequences, heed_paged_kv* view,
                                              heed_error* error);

#ifdef __cplusplus
}
#endif
