// Keys and values of past tokens: see heed/c/kv_cache.h.
#pragma once

#include <cstddef>
#include <memory>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_kv_cache_config.
struct KvCacheConfig {
  size_t batch = 1;
  size_t num_kv_heads = 0;
  size_t head_dim = 0;
  size_t v_head_dim = 0;
  size_t capacity = 0;
  size_t window = 0;
  size_t sink_tokens = 0;
  DType k_dtype = DType::kF32, v_dtype = DType::kF32;
  bool values_in_keys = false;
};

// heed_kv_cache, and the functions that begin with it. Of a cache that was moved from every size is
// 0, and what is done with it gives kInvalidArgument.
class HEED_API KvCache {
 public:
  ~KvCache();
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&& other) noexcept;

  static Result<KvCache> create(const KvCacheConfig& config);
  static Result<KvCache> create(const KvCacheConfig& config, const Memory& memory);
  static Result<size_t> memory_bytes(const KvCacheConfig& config);

  // heed_kv_cache_create_without_data.
  static Result<KvCache> without_data(const KvCacheConfig& config, size_t length);

  const KvCacheConfig& config() const;  // heed_kv_cache_get_config
  size_t length() const;
  size_t bytes() const;
  size_t first_held() const;
  size_t room() const;

  Status append(const TensorView& k, const TensorView& v, Context& context);
  // With values_in_keys.
  Status append(const TensorView& k, Context& context);

  Status truncate(size_t length);

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  KvCache();
  Status append_tokens(const TensorView& k, const TensorView* v, Context& context);
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
