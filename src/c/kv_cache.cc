#include "heed/kv_cache.hpp"

#include "src/c/call.h"
#include "src/c/options.h"
#include "src/cache/kv_cache.h"

using namespace heed;  // NOLINT: the functions below are C's

heed_status heed_kv_cache_create(const heed_kv_cache_config* config, const heed_memory* memory,
                                 heed_kv_cache** cache, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("cache", cache));
    KvCacheConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    return Keep(KvCache::create(read, ReadMemory(memory)), cache);
  });
}

heed_status heed_kv_cache_memory_bytes(const heed_kv_cache_config* config, size_t* bytes,
                                       heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("bytes", bytes));
    KvCacheConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    return Give(KvCache::memory_bytes(read), bytes);
  });
}

heed_status heed_kv_cache_create_without_data(const heed_kv_cache_config* config, size_t length,
                                              heed_kv_cache** cache, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("cache", cache));
    KvCacheConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    return Keep(KvCache::without_data(read, length), cache);
  });
}

void heed_kv_cache_destroy(heed_kv_cache* cache) { Drop(Of(cache)); }

heed_status heed_kv_cache_get_config(const heed_kv_cache* cache, heed_kv_cache_config* config,
                                     heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    const heed_kv_cache_config c = ToC(Of(cache)->config());
    return Write("config", &c, sizeof(c), config);
  });
}

size_t heed_kv_cache_length(const heed_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->length();
}

size_t heed_kv_cache_bytes(const heed_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->bytes();
}

size_t heed_kv_cache_first_held(const heed_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->first_held();
}

size_t heed_kv_cache_room(const heed_kv_cache* cache) {
  return cache == nullptr ? 0 : Of(cache)->room();
}

heed_status heed_kv_cache_append(heed_kv_cache* cache, const heed_tensor* k, const heed_tensor* v,
                                 heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    if (View(v).absent()) return Of(cache)->append(View(k), *Of(context));
    return Of(cache)->append(View(k), View(v), *Of(context));
  });
}

heed_status heed_kv_cache_truncate(heed_kv_cache* cache, size_t length, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    return Of(cache)->truncate(length);
  });
}
