// The room of caches: keys and values of past tokens, contiguous or a ring (here) and in pages
// (paged_kv_cache.h), in the layout that kernels read (src/kernels/layout.h).
#pragma once

#include <cstddef>

#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "src/base/context.h"
#include "src/cache/kv_tokens.h"
#include "src/kernels/panels.h"

namespace heed {

struct KvCache::Impl {
  KvCacheConfig config;
  size_t length = 0;
  size_t first_held = 0;
  size_t block_floats = 0;  // of one key block and its value block
  size_t sink_blocks = 0;   // the first blocks, which are never overwritten
  size_t ring_blocks = 0;   // the places of all others
  Floats data;

  // Null for a cache that was moved from.
  static const Impl* Of(const KvCache& cache) { return cache.impl_.get(); }

  // Block b (of absolute key index / kKeyBlock) of one head: kKeyBlock keys in panels
  // [key / 16][head_dim][16], values in panels [v_head_dim / 16][kKeyBlock][16]. In a ring two
  // blocks share a place, the later one overwriting the earlier from its front: tokens that
  // first_held does not promise hold something else.
  Panels Keys(size_t sequence, size_t kv_head, size_t block) const {
    return {Block(sequence, kv_head, block)};
  }
  Panels Values(size_t sequence, size_t kv_head, size_t block) const {
    return {Block(sequence, kv_head, block) + kKeyBlock * config.head_dim};
  }

  float* Block(size_t sequence, size_t kv_head, size_t block) const;
  Status Allocate();
  size_t bytes() const;
  size_t room() const;
  // first_held once `tokens` have been appended in all.
  size_t FirstHeldAt(size_t tokens) const;
  // One head of the tokens, from `length` on.
  void Write(size_t sequence, size_t kv_head, const KvTokens& tokens);
};

// Ok, or that the cache was moved from.
Status CheckCache(const KvCache& cache);

}  // namespace heed
