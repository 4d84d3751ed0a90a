// The room of caches: keys and values of past tokens, contiguous or a ring (here) and in pages
// (paged_kv_cache.h), in the layout that kernels read (src/kernels/layout.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "src/base/context.h"
#include "src/base/hidden.h"
#include "src/cache/kv_tokens.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// New tokens of a cache, checked.
struct AppendPlan {
  KvTokens tokens;
  size_t workers = 1, widened = 0;  // widened: floats of a worker
  size_t bytes = 0;                 // of memory that the run takes
};

struct HEED_HIDDEN KvCache::Impl : Placed {
  KvCacheConfig config;
  size_t length = 0;
  size_t first_held = 0;
  // Of a block of one head, in bytes: where its values and scales begin, and how long it is.
  size_t values_at = 0, key_scales_at = 0, value_scales_at = 0, block_bytes = 0;
  size_t sink_blocks = 0;   // the first blocks, which are never overwritten
  size_t ring_blocks = 0;   // the places of all others
  uint8_t* data = nullptr;  // null: it stands for a cache in calls that measure

  // Null for a cache that was moved from.
  static const Impl* Of(const KvCache& cache) { return cache.impl_.get(); }
  static Impl* Of(KvCache& cache) { return cache.impl_.get(); }

  // Block b (of absolute key index / kKeyBlock) of one head: kKeyBlock keys in panels
  // [key / 16][head_dim][16], values in panels [v_head_dim / 16][kKeyBlock][16], then the scales
  // of keys and of values: kInt8 [kKeyBlock] f32, kInt4 [channel / kInt4Group][kKeyBlock] f16. In a
  // ring two blocks share a place, the later one overwriting the earlier from its front: tokens
  // that first_held does not promise hold something else.
  Panels Keys(size_t sequence, size_t kv_head, size_t block) const {
    Panels k, v;
    PanelsOf(Block(sequence, kv_head, block), &k, &v);
    return k;
  }
  Panels Values(size_t sequence, size_t kv_head, size_t block) const {
    Panels k, v;
    PanelsOf(Block(sequence, kv_head, block), &k, &v);
    return v;
  }
  // Not returned, see KeyBlocks::Keys.
  void PanelsOf(const uint8_t* block, Panels* k, Panels* v) const;
  size_t key_panel_bytes() const { return BytesOfPanel(config.k_dtype, config.head_dim); }
  size_t value_panel_bytes() const { return BytesOfPanel(config.v_dtype, kKeyBlock); }

  uint8_t* Block(size_t sequence, size_t kv_head, size_t block) const;
  // Checks `config`, fills it in, and finds all but the data.
  Status Describe(const KvCacheConfig& of);
  // The memory of a cache: this, then the data.
  uint8_t* LayOut(Arena* arena) const;
  size_t bytes() const;
  size_t room() const;
  // first_held once `tokens` have been appended in all.
  size_t FirstHeldAt(size_t tokens) const;
  // append() in two steps; `v` is null with values_in_keys.
  Status PlanAppend(const TensorView& k, const TensorView* v, const Context::Impl& context,
                    AppendPlan* plan) const;
  Status RunAppend(const AppendPlan& plan, Arena arena, const Context::Impl& context);
  // One head of f32 tokens, from `length` + `after` on.
  void Write(const Kernels& kernels, size_t sequence, size_t kv_head, const KvTokens& tokens,
             size_t after = 0);
};

// Ok, or that the cache was moved from, or has no data where the call does not measure.
Status CheckCache(const KvCache& cache);

}  // namespace heed::inline v1
