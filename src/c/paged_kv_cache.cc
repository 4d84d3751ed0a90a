#include "heed/paged_kv_cache.hpp"

#include "src/c/call.h"
#include "src/c/options.h"
#include "src/cache/paged_kv_cache.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

PagedSequence ToCpp(const heed_paged_sequence& sequence) {
  return {sequence.slot, sequence.serial};
}

Status CheckSequence(const heed_paged_kv_cache* cache, const char* name, const void* sequence) {
  HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
  return CheckPointer(name, sequence);
}

Status Give(const Result<PagedSequence>& made, heed_paged_sequence* sequence) {
  if (made.ok()) *sequence = {made->slot, made->serial};
  return made.status();
}

std::span<const PagedSequence> Sequences(const heed_paged_sequence* sequences, size_t count) {
  return {reinterpret_cast<const PagedSequence*>(sequences), count};
}

}  // namespace

heed_status heed_paged_kv_cache_create(const heed_paged_kv_cache_config* config,
                                       const heed_memory* memory, heed_paged_kv_cache** cache,
                                       heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("cache", cache));
    PagedKvCacheConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    return Keep(PagedKvCache::create(read, ReadMemory(memory)), cache);
  });
}

heed_status heed_paged_kv_cache_memory_bytes(const heed_paged_kv_cache_config* config,
                                             size_t* bytes, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("bytes", bytes));
    PagedKvCacheConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    return Give(PagedKvCache::memory_bytes(read), bytes);
  });
}

void heed_paged_kv_cache_destroy(heed_paged_kv_cache* cache) { Drop(Of(cache)); }

heed_status heed_paged_kv_cache_get_config(const heed_paged_kv_cache* cache,
                                           heed_paged_kv_cache_config* config, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    const heed_paged_kv_cache_config c = ToC(Of(cache)->config());
    return Write("config", &c, sizeof(c), config);
  });
}

size_t heed_paged_kv_cache_bytes(const heed_paged_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->bytes();
}

size_t heed_paged_kv_cache_free_blocks(const heed_paged_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->free_blocks();
}

size_t heed_paged_kv_cache_num_sequences(const heed_paged_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->num_sequences();
}

size_t heed_paged_kv_cache_references(const heed_paged_kv_cache* cache, size_t block) {
  return cache == nullptr ? 0 : Of(cache)->references(block);
}

heed_status heed_paged_kv_cache_add(heed_paged_kv_cache* cache, heed_paged_sequence* sequence,
                                    heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckSequence(cache, "sequence", sequence));
    return Give(Of(cache)->add(), sequence);
  });
}

heed_status heed_paged_kv_cache_fork(heed_paged_kv_cache* cache, const heed_paged_sequence* parent,
                                     size_t length, heed_paged_sequence* sequence,
                                     heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckSequence(cache, "parent", parent));
    HEED_RETURN_IF_ERROR(CheckPointer("sequence", sequence));
    return Give(length == SIZE_MAX ? Of(cache)->fork(ToCpp(*parent))
                                   : Of(cache)->fork(ToCpp(*parent), length),
                sequence);
  });
}

heed_status heed_paged_kv_cache_free(heed_paged_kv_cache* cache,
                                     const heed_paged_sequence* sequence, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckSequence(cache, "sequence", sequence));
    return Of(cache)->free(ToCpp(*sequence));
  });
}

heed_status heed_paged_kv_cache_length(const heed_paged_kv_cache* cache,
                                       const heed_paged_sequence* sequence, size_t* length,
                                       heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckSequence(cache, "sequence", sequence));
    HEED_RETURN_IF_ERROR(CheckPointer("length", length));
    const Result<size_t> tokens = Of(cache)->length(ToCpp(*sequence));
    if (tokens.ok()) *length = *tokens;
    return tokens.status();
  });
}

heed_status heed_paged_kv_cache_append(heed_paged_kv_cache* cache,
                                       const heed_paged_sequence* sequences, size_t num_sequences,
                                       const heed_tensor* k, const heed_tensor* v,
                                       heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    HEED_RETURN_IF_ERROR(CheckArray("sequences", sequences, num_sequences));
    return Of(cache)->append(Sequences(sequences, num_sequences), View(k), View(v), *Of(context));
  });
}

heed_status heed_paged_kv_cache_truncate(heed_paged_kv_cache* cache,
                                         const heed_paged_sequence* sequence, size_t length,
                                         heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckSequence(cache, "sequence", sequence));
    return Of(cache)->truncate(ToCpp(*sequence), length);
  });
}

heed_status heed_paged_kv_cache_view(heed_paged_kv_cache* cache,
                                     const heed_paged_sequence* sequences, size_t num_sequences,
                                     heed_paged_kv* view, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    HEED_RETURN_IF_ERROR(CheckArray("sequences", sequences, num_sequences));
    HEED_RETURN_IF_ERROR(CheckWritten("view", view));
    const Result<PagedKv> pages = Of(cache)->view(Sequences(sequences, num_sequences));
    HEED_RETURN_IF_ERROR(pages.status());
    heed_paged_kv c = {};
    c.k = ToC(pages->k);
    c.v = ToC(pages->v);
    c.block_table = ToC(pages->block_table);
    c.seq_lens = ToC(pages->seq_lens);
    c.k_scales = ToC(pages->k_scales);
    c.v_scales = ToC(pages->v_scales);
    return Write("view", &c, sizeof(c), view);
  });
}
