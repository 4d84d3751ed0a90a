// What a PagedKvCache holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "heed/paged_kv_cache.hpp"
#include "src/base/context.h"
#include "src/cache/array.h"
#include "src/cache/kv_tokens.h"
#include "src/kernels/layout.h"

namespace heed {

struct PagedKvCache::Impl {
  struct Sequence {
    uint64_t serial = 0;  // 0: the slot is free
    size_t length = 0;
    Array<int32_t> blocks;
    uint64_t call = 0;         // the last append() that named it
    bool copies_last = false;  // during append: the last block is shared and will be copied
  };

  PagedKvCacheConfig config;
  size_t key_floats = 0, value_floats = 0;  // of a token
  Floats keys, values;
  Array<size_t> references;       // of each block
  Array<int32_t> free_blocks;     // a stack with room for all blocks
  Array<Sequence*> sequences;     // by slot, owned
  Array<size_t> free_slots;       // a stack with room for all slots
  Array<int32_t> table, lengths;  // of the last view()
  uint64_t calls = 0;             // of append()

  ~Impl() {
    for (size_t i = 0; i < sequences.size(); ++i) delete sequences[i];
  }

  Status Allocate();
  Result<PagedSequence> NewSequence();
  void EndSequence(PagedSequence name);
  Status Find(PagedSequence name, const Sequence** found) const;
  Status FindDistinct(std::span<const PagedSequence> names);
  Sequence& At(PagedSequence name) { return *sequences[name.slot]; }

  // [num_blocks, block_size, num_kv_heads, head_dim or v_head_dim].
  TensorView KeyPool() const {
    return {keys.get(),
            {config.num_blocks, config.block_size, config.num_kv_heads, config.head_dim}};
  }
  TensorView ValuePool() const {
    return {values.get(),
            {config.num_blocks, config.block_size, config.num_kv_heads, config.v_head_dim}};
  }

  size_t BlocksFor(size_t length) const { return CeilDiv(length, config.block_size); }
  int32_t TakeBlock();
  void DropBlocks(Sequence& sequence, size_t keep);
  size_t PlanAppend(std::span<const PagedSequence> names, size_t seq);
  void UndoPlan(std::span<const PagedSequence> names);
  Status ReserveAppend(std::span<const PagedSequence> names, size_t seq, size_t needed);
  void Extend(Sequence& sequence, size_t length);
  void Write(const Sequence& sequence, size_t token, const KvTokens& tokens, size_t b, size_t i);
};

}  // namespace heed
