// Which sequence holds which block of the pool.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "src/base/check.h"
#include "src/cache/paged_kv_cache.h"

namespace heed::inline v1 {
namespace {

uint64_t NextSerial() {
  static constinit std::atomic<uint64_t> next = 1;
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

bool PagedPool::Describe(DType type, size_t num_heads, size_t head_dim, size_t tokens) {
  dtype = type;
  heads = num_heads;
  dim = head_dim;
  const size_t factors[] = {tokens, heads, dim, sizeof(float), 8};
  size_t most = 0;
  if (!Product(factors, 5, &most)) return false;
  row_bytes = dtype == DType::kInt4 ? CeilDiv(dim, 2) : dim * size_of(dtype);
  token_bytes = heads * row_bytes;
  row_scales = dtype == DType::kInt4 ? CeilDiv(dim, kInt4Group) : dtype == DType::kInt8 ? 1 : 0;
  token_scales_bytes = heads * row_scales * (dtype == DType::kInt8 ? sizeof(float) : sizeof(f16));
  return true;
}

void PagedPool::LayOut(size_t tokens, Arena* arena) {
  data = arena->Take<char>(tokens * token_bytes);
  scales = arena->TakeIf<char>(row_scales > 0, tokens * token_scales_bytes);
}

TensorView PagedPool::view(size_t num_blocks, size_t block_size) const {
  const size_t last = dtype == DType::kInt4 ? row_bytes : dim;
  const size_t shape[] = {num_blocks, block_size, heads, last};
  return TensorView(data, dtype, shape, 4);
}

TensorView PagedPool::scales_view(size_t num_blocks, size_t block_size) const {
  if (row_scales == 0) return {};
  const size_t shape[] = {num_blocks, block_size, heads, row_scales};
  return dtype == DType::kInt8 ? TensorView(scales, DType::kF32, shape, 3)
                               : TensorView(scales, DType::kF16, shape, 4);
}

void PagedPool::Write(size_t place, size_t head, const float* row, const Kernels& kernels,
                      int8_t* codes) const {
  char* to = Token(place) + head * row_bytes;
  if (dtype == DType::kInt8) {
    kernels.quantize->int8_row(row, dim, dim, reinterpret_cast<float*>(Scales(place)) + head,
                               reinterpret_cast<int8_t*>(to));
  } else if (dtype == DType::kInt4) {
    kernels.quantize->int4_row(row, dim, kInt4Group,
                               reinterpret_cast<f16*>(Scales(place)) + head * row_scales, codes);
    for (size_t i = 0; i < row_bytes; ++i) {
      const int low = codes[2 * i] & 15, high = 2 * i + 1 < dim ? codes[2 * i + 1] & 15 : 0;
      to[i] = static_cast<char>(low | high << 4);
    }
  } else {
    RowWriterOf(*kernels.widen, dtype)(row, dim, to);
  }
}

void PagedPool::Copy(size_t from, size_t count, size_t to) const {
  std::memcpy(Token(to), Token(from), count * token_bytes);
  if (row_scales > 0) std::memcpy(Scales(to), Scales(from), count * token_scales_bytes);
}

Status PagedKvCache::Impl::Describe(const PagedKvCacheConfig& of) {
  config = of;
  if (of.v_head_dim == 0) config.v_head_dim = of.head_dim;
  if (of.max_sequences > 0 && of.max_length == 0) config.max_length = SIZE_MAX;
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
  HEED_RETURN_IF_ERROR(CheckStored("k_dtype", c.k_dtype));
  HEED_RETURN_IF_ERROR(CheckStored("v_dtype", c.v_dtype));
  if (!keys.Describe(c.k_dtype, c.num_kv_heads, c.head_dim, tokens()) ||
      !values.Describe(c.v_dtype, c.num_kv_heads, c.v_head_dim, tokens())) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: num_kv_heads %zu, head_dim %zu, v_head_dim %zu exceed the "
                         "address space",
                         c.num_kv_heads, c.head_dim, c.v_head_dim);
  }
  if (c.max_length > 0 && c.max_sequences == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "max_length: is %zu, needs max_sequences",
                         c.max_length);
  }
  config.max_length = std::min(c.max_length, tokens());
  return Status();
}

void PagedKvCache::Impl::LayOut(Arena* arena) {
  const PagedKvCacheConfig& c = config;
  const size_t sequence_blocks = MaxBlocksOfSequence();
  (void)arena->Take<Impl>();
  keys.LayOut(tokens(), arena);
  values.LayOut(tokens(), arena);
  references.Use(arena->Take<size_t>(c.num_blocks), c.num_blocks);
  free_blocks.Use(arena->Take<int32_t>(c.num_blocks), c.num_blocks);
  if (c.max_sequences == 0) return;
  places = arena->Take<Sequence>(c.max_sequences);
  places_of_blocks = arena->Take<int32_t>(c.max_sequences, sequence_blocks);
  sequences.Use(arena->Take<Sequence*>(c.max_sequences), c.max_sequences);
  free_slots.Use(arena->Take<size_t>(c.max_sequences), c.max_sequences);
  table.Use(arena->Take<int32_t>(c.max_sequences, sequence_blocks),
            c.max_sequences * sequence_blocks);
  lengths.Use(arena->Take<int32_t>(c.max_sequences), c.max_sequences);
}

void PagedKvCache::Impl::FreeAllBlocks() {
  for (size_t i = 0; i < config.num_blocks; ++i) {
    references.Push(0);
    free_blocks.Push(static_cast<int32_t>(config.num_blocks - 1 - i));
  }
}

// Null: there is no memory.
PagedKvCache::Impl::Sequence* PagedKvCache::Impl::MakeSequence(size_t slot) {
  if (places == nullptr) {
    auto* sequence = New<Sequence>();
    if (sequence != nullptr && sequences.Reserve(slot + 1) && free_slots.Reserve(slot + 1)) {
      return sequence;
    }
    Delete(sequence);
    return nullptr;
  }
  auto* sequence = new (places + slot) Sequence;
  const size_t blocks = MaxBlocksOfSequence();
  sequence->blocks.Use(places_of_blocks + slot * blocks, blocks);
  return sequence;
}

Result<PagedSequence> PagedKvCache::Impl::NewSequence() {
  if (free_slots.size() == 0) {
    const size_t slot = sequences.size();
    if (config.max_sequences > 0 && slot == config.max_sequences) {
      return Status::Error(StatusCode::kCapacityExceeded,
                           "cache: holds %zu sequences, max_sequences", slot);
    }
    Sequence* sequence = MakeSequence(slot);
    if (sequence == nullptr) return OutOfMemory("sequence", sizeof(Sequence));
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
    if (config.max_sequences > 0 && s.length + seq > config.max_length) {
      return Status::Error(StatusCode::kCapacityExceeded,
                           "cache: a sequence of %zu tokens can take %zu more by max_length, not "
                           "%zu",
                           s.length, config.max_length - s.length, seq);
    }
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
    keys.Copy(from, count, to);
    values.Copy(from, count, to);
  }
  while (sequence.blocks.size() < BlocksFor(length)) sequence.blocks.Push(TakeBlock());
}

void PagedKvCache::Impl::Write(const Sequence& sequence, size_t token, const WidenedTokens& tokens,
                               size_t b, size_t i, float* row, const Kernels& kernels) {
  auto* codes = reinterpret_cast<int8_t*>(row + std::max(config.head_dim, config.v_head_dim));
  const auto block = static_cast<size_t>(sequence.blocks[token / config.block_size]);
  const size_t place = block * config.block_size + token % config.block_size;
  for (size_t h = 0; h < config.num_kv_heads; ++h) {
    keys.Write(place, h, tokens.Key(b, i, h, row), kernels, codes);
    values.Write(place, h, tokens.Value(b, i, h, row), kernels, codes);
  }
}

}  // namespace heed::inline v1
