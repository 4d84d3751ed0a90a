// Keys and values of many sequences in blocks of one pool: see heed/c/paged_kv_cache.h.
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

// heed_paged_kv_cache_config.
struct PagedKvCacheConfig {
  size_t num_blocks = 0;
  size_t block_size = 16;
  size_t num_kv_heads = 0;
  size_t head_dim = 0;
  size_t v_head_dim = 0;
  DType k_dtype = DType::kF32;
  DType v_dtype = DType::kF32;
  size_t max_sequences = 0;
  size_t max_length = 0;
};

// heed_paged_sequence.
struct PagedSequence {
  size_t slot = 0;
  uint64_t serial = 0;
};

// heed_paged_kv_cache, and the functions that begin with it. Of a cache that was moved from every
// size is 0, and what is done with it gives kInvalidArgument.
class HEED_API PagedKvCache {
 public:
  ~PagedKvCache();
  PagedKvCache(PagedKvCache&& other) noexcept;
  PagedKvCache& operator=(PagedKvCache&& other) noexcept;

  static Result<PagedKvCache> create(const PagedKvCacheConfig& config);
  static Result<PagedKvCache> create(const PagedKvCacheConfig& config, const Memory& memory);
  static Result<size_t> memory_bytes(const PagedKvCacheConfig& config);

  const PagedKvCacheConfig& config() const;  // heed_paged_kv_cache_get_config
  size_t bytes() const;
  size_t free_blocks() const;
  size_t num_sequences() const;
  size_t references(size_t block) const;

  Result<PagedSequence> add();
  Result<PagedSequence> fork(PagedSequence parent, size_t length);
  Result<PagedSequence> fork(PagedSequence parent);  // with all tokens
  Status free(PagedSequence sequence);
  Result<size_t> length(PagedSequence sequence) const;

  Status append(std::span<const PagedSequence> sequences, const TensorView& k, const TensorView& v,
                Context& context);
  HEED_INLINE Status append(PagedSequence sequence, const TensorView& k, const TensorView& v,
                            Context& context) {
    return append(std::span(&sequence, 1), k, v, context);
  }

  Status truncate(PagedSequence sequence, size_t length);

  Result<PagedKv> view(std::span<const PagedSequence> sequences);

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  PagedKvCache();
  static Result<PagedKvCache> create_in(const PagedKvCacheConfig& config, const Memory& memory);
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
