// Keys and values of many sequences in blocks of one pool (Kwon et al., "PagedAttention", arXiv
// 2309.06180): a sequence takes a block when it needs one, and sequences that begin alike share the
// blocks of their common tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

struct PagedKvCacheConfig {
  size_t num_blocks = 0;   // num_blocks * block_size must be below 2^31
  size_t block_size = 16;  // tokens of a block
  size_t num_kv_heads = 0;
  size_t head_dim = 0;    // of keys
  size_t v_head_dim = 0;  // of values; 0: as head_dim
  // How keys and values are stored, each its own: kF32, kF16, kBF16, kInt8 (4 bytes more for each
  // token and head) or kInt4 (2 bytes more for each 32 channels). See PagedKv.
  DType k_dtype = DType::kF32;
  DType v_dtype = DType::kF32;
  // Sequences at a time, and named in one view(), at most; 0: any number. With a number all memory
  // is taken at creation: for each sequence two lists of max_length / block_size entries of 4
  // bytes.
  size_t max_sequences = 0;
  // With max_sequences: tokens of a sequence at most; 0: as many as the pool holds.
  size_t max_length = 0;
};

// Names a sequence of one PagedKvCache until it is freed. No two sequences of a process are ever
// named alike, so one that is freed, or of another cache, is always refused.
struct PagedSequence {
  size_t slot = 0;
  uint64_t serial = 0;  // 0: no sequence
};

// A pool of keys and values. All memory for them is taken at creation: num_blocks * block_size *
// num_kv_heads * (head_dim + v_head_dim) elements as they are stored, and their scales. Lists of
// blocks (8 bytes or less for each block of a sequence) grow with the sequences and are used again,
// so that a cache that has seen its largest load allocates nothing; with max_sequences it never
// does after creation.
//
// One thread at a time may call what is not const; many may read, also through a PagedKv.
// A sequence that an argument names must be alive: kInvalidArgument otherwise. A call that is
// refused changes no length and no token. Of a cache that was moved from every size is 0, and what
// is done with it gives kInvalidArgument.
class HEED_API PagedKvCache {
 public:
  // Errors: kInvalidArgument (a size of 0, overflow), kUnsupported (k_dtype, v_dtype),
  // kOutOfMemory.
  static Result<PagedKvCache> create(const PagedKvCacheConfig& config);

  // The same in the caller's memory of at least memory_bytes(config), with nothing from the heap;
  // needs max_sequences. Errors also: kInvalidArgument (null or unaligned memory, max_sequences of
  // 0), kOutOfMemory (too little).
  static Result<PagedKvCache> create(const PagedKvCacheConfig& config, const Memory& memory);
  static Result<size_t> memory_bytes(const PagedKvCacheConfig& config);

  const PagedKvCacheConfig& config() const;  // v_head_dim filled in
  size_t bytes() const;                      // of keys and values
  size_t free_blocks() const;
  size_t num_sequences() const;
  // How many sequences hold a block; 0 for one that is free, or that does not exist.
  size_t references(size_t block) const;

  // A new sequence, without tokens. Errors: kOutOfMemory, kCapacityExceeded (max_sequences).
  Result<PagedSequence> add();

  // A new sequence that begins with the first `length` tokens of `parent` (without `length`: all of
  // them). It shares their blocks; whichever of the two first adds tokens to a block that is not
  // full copies it. Takes no block from the pool. Errors: kInvalidArgument (length beyond the
  // parent's), kOutOfMemory, kCapacityExceeded (max_sequences).
  Result<PagedSequence> fork(PagedSequence parent, size_t length);
  Result<PagedSequence> fork(PagedSequence parent);

  // Ends a sequence. Blocks that no other sequence holds go back to the pool.
  Status free(PagedSequence sequence);

  Result<size_t> length(PagedSequence sequence) const;  // tokens

  // Adds seq tokens at the end of each of the sequences, all of them or none.
  //   k  [batch, seq, num_kv_heads, head_dim]     any strides; batch: as many as sequences
  //   v  [batch, seq, num_kv_heads, v_head_dim]
  // k and v are f32, f16 or bf16, each its own. What is stored is rounded to nearest, ties to even;
  // int8 and int4 are quantized as heed/quantize.hpp says, of one head of one token, and where
  // there is a NaN or an infinity all that share the scale read as NaN.
  // batch may be left out when it is 1. k and v must not lie in this cache's own memory.
  // Errors: kInvalidArgument (a sequence twice, too), kUnsupported (dtype), kCapacityExceeded (more
  // blocks than free_blocks() are needed, max_length), kOutOfMemory.
  Status append(std::span<const PagedSequence> sequences, const TensorView& k, const TensorView& v,
                Context& context);
  Status append(PagedSequence sequence, const TensorView& k, const TensorView& v,
                Context& context) {
    return append(std::span(&sequence, 1), k, v, context);
  }

  // Forgets a sequence's tokens from `length` on; blocks without tokens go back to the pool.
  // Errors: kInvalidArgument (length beyond the sequence's).
  Status truncate(PagedSequence sequence, size_t length);

  // What attention() reads: the pool, and for each of the sequences, in this order, its row of the
  // block table (-1 past its last block) and its length. A sequence may stand there twice. The
  // table and the lengths lie in this cache and hold until its next view(); they do not follow
  // appends. Errors: kInvalidArgument, kOutOfMemory, kCapacityExceeded (max_sequences).
  Result<PagedKv> view(std::span<const PagedSequence> sequences);

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  PagedKvCache() = default;
  static Result<PagedKvCache> create_in(const PagedKvCacheConfig& config, const Memory& memory);
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
