// What a PagedKvCache holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "heed/paged_kv_cache.hpp"
#include "src/base/context.h"
#include "src/base/hidden.h"
#include "src/cache/array.h"
#include "src/cache/kv_tokens.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {

// The keys or the values of all blocks, each head of a token as a row.
struct PagedPool {
  DType dtype = DType::kF32;
  size_t heads = 0, dim = 0;
  size_t row_bytes = 0, token_bytes = 0;  // of elements
  size_t row_scales = 0, token_scales_bytes = 0;
  char *data = nullptr, *scales = nullptr;  // those of a token's heads side by side

  // Without data: that `tokens` of them fit the address space.
  bool Describe(DType type, size_t num_heads, size_t head_dim, size_t tokens);
  void LayOut(size_t tokens, Arena* arena);
  size_t bytes(size_t tokens) const { return tokens * (token_bytes + token_scales_bytes); }
  // As PagedKv has them.
  TensorView view(size_t num_blocks, size_t block_size) const;
  TensorView scales_view(size_t num_blocks, size_t block_size) const;  // absent: there are none

  char* Token(size_t place) const { return data + place * token_bytes; }
  char* Scales(size_t place) const { return scales + place * token_scales_bytes; }
  void Copy(size_t from, size_t count, size_t to) const;
  // `codes`: room for a row's, a byte each.
  void Write(size_t place, size_t head, const float* row, const Kernels& kernels,
             int8_t* codes) const;
};

struct HEED_HIDDEN PagedKvCache::Impl : Placed {
  static Impl* Of(const PagedKvCache& cache) { return cache.impl_.get(); }

  struct Sequence {
    uint64_t serial = 0;  // 0: the slot is free
    size_t length = 0;
    Array<int32_t> blocks;
    uint64_t call = 0;         // the last append() that named it
    bool copies_last = false;  // during append: the last block is shared and will be copied
  };

  PagedKvCacheConfig config;
  PagedPool keys, values;
  Array<size_t> references;    // of each block
  Array<int32_t> free_blocks;  // a stack with room for all blocks
  Array<Sequence*> sequences;  // by slot
  Sequence* places = nullptr;  // with max_sequences: of all, and of their blocks
  int32_t* places_of_blocks = nullptr;
  Array<size_t> free_slots;       // a stack with room for all slots
  Array<int32_t> table, lengths;  // of the last view()
  uint64_t calls = 0;             // of append()

  ~Impl() {
    for (size_t i = 0; i < sequences.size() && places == nullptr; ++i) Delete(sequences[i]);
  }

  // Checks `config`, fills it in, and finds all but the memory.
  Status Describe(const PagedKvCacheConfig& of);
  // The memory of a cache: this, then all that is taken at creation.
  void LayOut(Arena* arena);
  void FreeAllBlocks();
  Sequence* MakeSequence(size_t slot);
  Result<PagedSequence> NewSequence();
  void EndSequence(PagedSequence name);
  Status Find(PagedSequence name, const Sequence** found) const;
  Status FindDistinct(std::span<const PagedSequence> names);
  Sequence& At(PagedSequence name) { return *sequences[name.slot]; }

  size_t tokens() const { return config.num_blocks * config.block_size; }
  // [num_blocks, block_size, num_kv_heads, head_dim or v_head_dim].
  TensorView KeyPool() const { return keys.view(config.num_blocks, config.block_size); }
  TensorView ValuePool() const { return values.view(config.num_blocks, config.block_size); }

  size_t MaxBlocksOfSequence() const {
    return std::min(BlocksFor(config.max_length), config.num_blocks);
  }
  size_t BlocksFor(size_t length) const { return CeilDiv(length, config.block_size); }
  int32_t TakeBlock();
  void DropBlocks(Sequence& sequence, size_t keep);
  size_t PlanAppend(std::span<const PagedSequence> names, size_t seq);
  void UndoPlan(std::span<const PagedSequence> names);
  Status ReserveAppend(std::span<const PagedSequence> names, size_t seq, size_t needed);
  void Extend(Sequence& sequence, size_t length);
  // Token i of a batch's sequence b as a sequence's token `token`. `row`: the floats of a head,
  // twice.
  void Write(const Sequence& sequence, size_t token, const WidenedTokens& tokens, size_t b,
             size_t i, float* row, const Kernels& kernels);
};

}  // namespace heed::inline v1
