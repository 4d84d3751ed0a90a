// Which sequence holds which block of the pool.
#include <algorithm>
#include <atomic>
#include <new>

#include "src/base/check.h"
#include "src/cache/paged_kv_cache.h"

namespace heed {
namespace {

uint64_t NextSerial() {
  static constinit std::atomic<uint64_t> next = 1;
  return next.fetch_add(1, std::memory_order_relaxed);
}

void CopyToken(const HeadsView& rows, size_t b, size_t i, float* to) {
  for (size_t h = 0; h < rows.heads; ++h) {
    const float* from = rows.row(b, i, h);
    for (size_t d = 0; d < rows.dim; ++d, from += rows.dim_stride) *to++ = *from;
  }
}

}  // namespace

Status PagedKvCache::Impl::Allocate() {
  const PagedKvCacheConfig& c = config;
  if (c.num_blocks == 0 || c.block_size == 0 || c.num_kv_heads == 0 || c.head_dim == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: num_blocks %zu, block_size %zu, num_kv_heads %zu and head_dim "
                         "%zu must all be at least 1",
                         c.num_blocks, c.block_size, c.num_kv_heads, c.head_dim);
  }
  if (c.num_blocks > INT32_MAX / c.block_size) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: num_blocks %zu * block_size %zu must be below 2^31", c.num_blocks,
                         c.block_size);
  }
  const size_t tokens = c.num_blocks * c.block_size;
  const size_t of_keys[] = {tokens, c.num_kv_heads, c.head_dim, sizeof(float), 8};
  const size_t of_values[] = {tokens, c.num_kv_heads, c.v_head_dim, sizeof(float), 8};
  size_t key_size = 0, value_size = 0;
  if (!Product(of_keys, 5, &key_size) || !Product(of_values, 5, &value_size)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: num_kv_heads %zu, head_dim %zu, v_head_dim %zu exceed the "
                         "address space",
                         c.num_kv_heads, c.head_dim, c.v_head_dim);
  }
  key_floats = c.num_kv_heads * c.head_dim;
  value_floats = c.num_kv_heads * c.v_head_dim;
  keys = AllocateFloats(tokens * key_floats);
  values = AllocateFloats(tokens * value_floats);
  if (keys == nullptr || values == nullptr || !references.Reserve(c.num_blocks) ||
      !free_blocks.Reserve(c.num_blocks)) {
    return OutOfMemory("cache", tokens * (key_floats + value_floats), sizeof(float));
  }
  for (size_t i = 0; i < c.num_blocks; ++i) {
    references.Push(0);
    free_blocks.Push(static_cast<int32_t>(c.num_blocks - 1 - i));
  }
  return Status();
}

Result<PagedSequence> PagedKvCache::Impl::NewSequence() {
  if (free_slots.size() == 0) {
    const size_t slot = sequences.size();
    auto* sequence = new (std::nothrow) Sequence;
    if (sequence == nullptr || !sequences.Reserve(slot + 1) || !free_slots.Reserve(slot + 1)) {
      delete sequence;
      return OutOfMemory("sequence", sizeof(Sequence));
    }
    sequences.Push(sequence);
    free_slots.Push(slot);
  }
  const size_t slot = free_slots.Pop();
  sequences[slot]->serial = NextSerial();
  return PagedSequence{slot, sequences[slot]->serial};
}

void PagedKvCache::Impl::EndSequence(PagedSequence name) {
  Sequence& sequence = At(name);
  DropBlocks(sequence, 0);
  sequence.length = 0;
  sequence.serial = 0;
  free_slots.Push(name.slot);
}

Status PagedKvCache::Impl::Find(PagedSequence name, const Sequence** found) const {
  if (name.serial == 0 || name.slot >= sequences.size() ||
      sequences[name.slot]->serial != name.serial) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "sequence: slot %zu, serial %llu is not of this cache, or was freed",
                         name.slot, static_cast<unsigned long long>(name.serial));
  }
  *found = sequences[name.slot];
  return Status();
}

Status PagedKvCache::Impl::FindDistinct(std::span<const PagedSequence> names) {
  ++calls;
  for (const PagedSequence& name : names) {
    const Sequence* sequence = nullptr;
    HEED_RETURN_IF_ERROR(Find(name, &sequence));
    if (sequence->call == calls) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "sequences: slot %zu, serial %llu stands there twice", name.slot,
                           static_cast<unsigned long long>(name.serial));
    }
    At(name).call = calls;
  }
  return Status();
}

int32_t PagedKvCache::Impl::TakeBlock() {
  const int32_t block = free_blocks.Pop();
  references[static_cast<size_t>(block)] = 1;
  return block;
}

void PagedKvCache::Impl::DropBlocks(Sequence& sequence, size_t keep) {
  while (sequence.blocks.size() > keep) {
    const int32_t block = sequence.blocks.Pop();
    if (--references[static_cast<size_t>(block)] == 0) free_blocks.Push(block);
  }
}

// How many blocks it takes to add seq tokens to each. Of the sequences that share a last block all
// but the last one named will copy it, and that one, too, if others hold on to the block: so the
// references are given up here already, until UndoPlan.
size_t PagedKvCache::Impl::PlanAppend(std::span<const PagedSequence> names, size_t seq) {
  size_t needed = 0;
  for (const PagedSequence& name : names) {
    Sequence& s = At(name);
    needed += BlocksFor(s.length + seq) - s.blocks.size();
    s.copies_last = false;
    if (s.length % config.block_size == 0) continue;
    size_t& holders = references[static_cast<size_t>(s.blocks[s.blocks.size() - 1])];
    if (holders == 1) continue;
    s.copies_last = true;
    --holders;
    ++needed;
  }
  return needed;
}

void PagedKvCache::Impl::UndoPlan(std::span<const PagedSequence> names) {
  for (const PagedSequence& name : names) {
    Sequence& s = At(name);
    if (s.copies_last) ++references[static_cast<size_t>(s.blocks[s.blocks.size() - 1])];
  }
}

Status PagedKvCache::Impl::ReserveAppend(std::span<const PagedSequence> names, size_t seq,
                                         size_t needed) {
  if (needed > free_blocks.size()) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "cache: %zu blocks are needed, %zu of %zu are free", needed,
                         free_blocks.size(), config.num_blocks);
  }
  for (const PagedSequence& name : names) {
    Sequence& s = At(name);
    const size_t blocks = BlocksFor(s.length + seq);
    if (!s.blocks.Reserve(blocks)) return OutOfMemory("sequence", blocks, sizeof(int32_t));
  }
  return Status();
}

// Gives a sequence the blocks for `length` tokens, the last one its own, as PlanAppend counted.
void PagedKvCache::Impl::Extend(Sequence& sequence, size_t length) {
  if (sequence.copies_last) {
    int32_t& last = sequence.blocks[sequence.blocks.size() - 1];
    const size_t from = static_cast<size_t>(last) * config.block_size;
    last = TakeBlock();
    const size_t to = static_cast<size_t>(last) * config.block_size;
    const size_t count = sequence.length % config.block_size;
    std::copy_n(keys.get() + from * key_floats, count * key_floats, keys.get() + to * key_floats);
    std::copy_n(values.get() + from * value_floats, count * value_floats,
                values.get() + to * value_floats);
  }
  while (sequence.blocks.size() < BlocksFor(length)) sequence.blocks.Push(TakeBlock());
}

void PagedKvCache::Impl::Write(const Sequence& sequence, size_t token, const KvTokens& tokens,
                               size_t b, size_t i) {
  const auto block = static_cast<size_t>(sequence.blocks[token / config.block_size]);
  const size_t place = block * config.block_size + token % config.block_size;
  CopyToken(tokens.keys, b, i, keys.get() + place * key_floats);
  CopyToken(tokens.values, b, i, values.get() + place * value_floats);
}

}  // namespace heed
