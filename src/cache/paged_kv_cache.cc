#include "heed/paged_kv_cache.hpp"

#include <algorithm>
#include <new>

#include "src/base/check.h"
#include "src/base/parallel.h"
#include "src/cache/paged_kv_cache.h"

namespace heed::inline v1 {
namespace {

constexpr PagedKvCacheConfig kNoConfig = {.block_size = 0};

Status MovedFrom() { return Status::Error(StatusCode::kInvalidArgument, "cache: was moved from"); }

}  // namespace

PagedKvCache::PagedKvCache() = default;
PagedKvCache::~PagedKvCache() = default;
PagedKvCache::PagedKvCache(PagedKvCache&& other) noexcept = default;
PagedKvCache& PagedKvCache::operator=(PagedKvCache&& other) noexcept = default;

void PagedKvCache::Destroy::operator()(Impl* impl) const { Remove(impl); }

Result<size_t> PagedKvCache::memory_bytes(const PagedKvCacheConfig& config) {
  Impl impl;
  HEED_RETURN_IF_ERROR(impl.Describe(config));
  Arena counted;
  impl.LayOut(&counted);
  if (counted.used() <= PTRDIFF_MAX) return counted.used();
  return Status::Error(StatusCode::kInvalidArgument,
                       "max_sequences: %zu of up to %zu tokens exceed the address space",
                       impl.config.max_sequences, impl.config.max_length);
}

Result<PagedKvCache> PagedKvCache::create_in(const PagedKvCacheConfig& config,
                                             const Memory& memory) {
  PagedKvCache cache;
  cache.impl_.reset(new (memory.data) Impl);
  HEED_RETURN_IF_ERROR(cache.impl_->Describe(config));
  Arena arena(memory.data);
  cache.impl_->LayOut(&arena);
  cache.impl_->FreeAllBlocks();
  return cache;
}

Result<PagedKvCache> PagedKvCache::create(const PagedKvCacheConfig& config, const Memory& memory) {
  if (IsHeap(memory)) return create(config);
  const Result<size_t> bytes = memory_bytes(config);
  HEED_RETURN_IF_ERROR(bytes.status());
  if (config.max_sequences == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "max_sequences: is 0, must be given with memory, which can't grow");
  }
  HEED_RETURN_IF_ERROR(CheckMemory(memory, *bytes));
  return create_in(config, memory);
}

Result<PagedKvCache> PagedKvCache::create(const PagedKvCacheConfig& config) {
  const Result<size_t> bytes = memory_bytes(config);
  HEED_RETURN_IF_ERROR(bytes.status());
  void* memory = Allocate(*bytes);
  if (memory == nullptr) return OutOfMemory("cache", *bytes);
  Result<PagedKvCache> cache = create_in(config, {memory, *bytes});
  cache->impl_->on_heap = true;
  return cache;
}

const PagedKvCacheConfig& PagedKvCache::config() const { return impl_ ? impl_->config : kNoConfig; }

size_t PagedKvCache::bytes() const {
  if (impl_ == nullptr) return 0;
  return impl_->keys.bytes(impl_->tokens()) + impl_->values.bytes(impl_->tokens());
}

size_t PagedKvCache::free_blocks() const { return impl_ ? impl_->free_blocks.size() : 0; }

size_t PagedKvCache::num_sequences() const {
  if (impl_ == nullptr) return 0;
  return impl_->sequences.size() - impl_->free_slots.size();
}

size_t PagedKvCache::references(size_t block) const {
  return impl_ && block < impl_->references.size() ? impl_->references[block] : 0;
}

Result<PagedSequence> PagedKvCache::add() {
  if (impl_ == nullptr) return MovedFrom();
  return impl_->NewSequence();
}

Result<PagedSequence> PagedKvCache::fork(PagedSequence parent, size_t length) {
  if (impl_ == nullptr) return MovedFrom();
  const Impl::Sequence* from = nullptr;
  HEED_RETURN_IF_ERROR(impl_->Find(parent, &from));
  if (length > from->length) {
    return Status::Error(StatusCode::kInvalidArgument, "length: is %zu, the parent holds %zu",
                         length, from->length);
  }
  const Result<PagedSequence> name = impl_->NewSequence();
  if (!name.ok()) return name;
  Impl::Sequence& child = impl_->At(*name);
  const size_t blocks = impl_->BlocksFor(length);
  if (!child.blocks.Reserve(blocks)) {
    impl_->EndSequence(*name);
    return OutOfMemory("sequence", blocks, sizeof(int32_t));
  }
  for (size_t i = 0; i < blocks; ++i) {
    child.blocks.Push(from->blocks[i]);
    ++impl_->references[static_cast<size_t>(from->blocks[i])];
  }
  child.length = length;
  return name;
}

Result<PagedSequence> PagedKvCache::fork(PagedSequence parent) {
  if (impl_ == nullptr) return MovedFrom();
  const Impl::Sequence* from = nullptr;
  HEED_RETURN_IF_ERROR(impl_->Find(parent, &from));
  return fork(parent, from->length);
}

Status PagedKvCache::free(PagedSequence sequence) {
  if (impl_ == nullptr) return MovedFrom();
  const Impl::Sequence* found = nullptr;
  HEED_RETURN_IF_ERROR(impl_->Find(sequence, &found));
  impl_->EndSequence(sequence);
  return Status();
}

Result<size_t> PagedKvCache::length(PagedSequence sequence) const {
  if (impl_ == nullptr) return MovedFrom();
  const Impl::Sequence* found = nullptr;
  HEED_RETURN_IF_ERROR(impl_->Find(sequence, &found));
  return found->length;
}

Status PagedKvCache::append(std::span<const PagedSequence> sequences, const TensorView& k,
                            const TensorView& v, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  if (impl_ == nullptr) return MovedFrom();
  const PagedKvCacheConfig& c = impl_->config;
  HEED_RETURN_IF_ERROR(impl_->FindDistinct(sequences));
  KvTokens tokens;
  HEED_RETURN_IF_ERROR(
      CheckKvTokens(k, v, sequences.size(), c.num_kv_heads, c.head_dim, c.v_head_dim, &tokens));
  const TensorView pool_k = impl_->KeyPool(), pool_v = impl_->ValuePool();
  const TensorView k_scales = impl_->keys.scales_view(c.num_blocks, c.block_size);
  const TensorView v_scales = impl_->values.scales_view(c.num_blocks, c.block_size);
  const NamedView pool[] = {{"the cache's k", &pool_k},
                            {"the cache's v", &pool_v},
                            {"the cache's k_scales", &k_scales},
                            {"the cache's v_scales", &v_scales}};
  const NamedView inputs[] = {{"k", &k}, {"v", &v}};
  HEED_RETURN_IF_ERROR(CheckNoOverlaps(pool, inputs));
  const size_t seq = tokens.keys.len;
  if (seq == 0 || sequences.empty()) return Status();
  Context::Impl& impl = *Context::Impl::Of(context);
  const size_t tasks = sequences.size() * seq, workers = WorkersForTokens(impl, tasks, tokens);
  const size_t row = std::max(c.head_dim, c.v_head_dim);
  Arena counted, arena;
  counted.Take<float>(workers, 2 * row);
  HEED_RETURN_IF_ERROR(impl.Reserve(counted.used(), &arena));
  float* rows = arena.Take<float>(workers, 2 * row);
  const size_t needed = impl_->PlanAppend(sequences, seq);
  const Status status = impl_->ReserveAppend(sequences, seq, needed);
  if (!status.ok()) {
    impl_->UndoPlan(sequences);
    return status;
  }
  for (const PagedSequence& name : sequences) {
    Impl::Sequence& s = impl_->At(name);
    impl_->Extend(s, s.length + seq);
  }
  const WidenedTokens widened(*impl.widen, tokens);
  const Status written = ForEachTask(impl, tasks, workers, [&](size_t task, size_t worker) {
    const size_t b = task / seq, i = task % seq;
    const Impl::Sequence& s = impl_->At(sequences[b]);
    impl_->Write(s, s.length + i, widened, b, i, rows + worker * 2 * row, impl);
  });
  for (const PagedSequence& name : sequences) {
    Impl::Sequence& s = impl_->At(name);
    if (written.ok()) s.length += seq;
    impl_->DropBlocks(s, impl_->BlocksFor(s.length));
  }
  return written;
}

Status PagedKvCache::truncate(PagedSequence sequence, size_t length) {
  if (impl_ == nullptr) return MovedFrom();
  const Impl::Sequence* found = nullptr;
  HEED_RETURN_IF_ERROR(impl_->Find(sequence, &found));
  if (length > found->length) {
    return Status::Error(StatusCode::kInvalidArgument, "length: is %zu, the sequence holds %zu",
                         length, found->length);
  }
  Impl::Sequence& s = impl_->At(sequence);
  impl_->DropBlocks(s, impl_->BlocksFor(length));
  s.length = length;
  return Status();
}

Result<PagedKv> PagedKvCache::view(std::span<const PagedSequence> sequences) {
  if (impl_ == nullptr) return MovedFrom();
  size_t max_blocks = 1;  // so that the table is a tensor with data, also without tokens
  for (const PagedSequence& name : sequences) {
    const Impl::Sequence* sequence = nullptr;
    HEED_RETURN_IF_ERROR(impl_->Find(name, &sequence));
    max_blocks = std::max(max_blocks, sequence->blocks.size());
  }
  Impl& m = *impl_;
  const size_t factors[] = {std::max(sequences.size(), size_t{1}), max_blocks, sizeof(int32_t)};
  size_t bytes = 0;
  if (!Product(factors, 3, &bytes)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "sequences: %zu of up to %zu blocks exceed the address space",
                         sequences.size(), max_blocks);
  }
  if (m.config.max_sequences > 0 && sequences.size() > m.config.max_sequences) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "sequences: are %zu, must be at most max_sequences, %zu", sequences.size(),
                         m.config.max_sequences);
  }
  if (!m.table.Reserve(bytes / sizeof(int32_t)) || !m.lengths.Reserve(factors[0])) {
    return OutOfMemory("block_table", bytes);
  }
  std::fill_n(m.table.data(), bytes / sizeof(int32_t), -1);
  for (size_t b = 0; b < sequences.size(); ++b) {
    Impl::Sequence& s = m.At(sequences[b]);
    m.lengths[b] = static_cast<int32_t>(s.length);
    std::copy_n(s.blocks.data(), s.blocks.size(), m.table.data() + b * max_blocks);
  }
  PagedKv kv;
  kv.k = m.KeyPool();
  kv.v = m.ValuePool();
  kv.k_scales = m.keys.scales_view(m.config.num_blocks, m.config.block_size);
  kv.v_scales = m.values.scales_view(m.config.num_blocks, m.config.block_size);
  kv.block_table = TensorView(m.table.data(), {sequences.size(), max_blocks});
  kv.seq_lens = TensorView(m.lengths.data(), {sequences.size()});
  return kv;
}

}  // namespace heed::inline v1
