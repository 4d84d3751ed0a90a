#include "heed/kv_cache.hpp"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/cache/kv_tokens.h"
#include "src/kernels/layout.h"

namespace heed {
namespace {

Status CheckConfig(const KvCacheConfig& c) {
  if (c.batch == 0 || c.num_kv_heads == 0 || c.head_dim == 0 || c.capacity == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: batch %zu, num_kv_heads %zu, head_dim %zu and capacity %zu must "
                         "all be at least 1",
                         c.batch, c.num_kv_heads, c.head_dim, c.capacity);
  }
  if (c.window > c.capacity) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "window: is %zu, must be at most capacity, %zu", c.window, c.capacity);
  }
  if (c.window == 0 && c.sink_tokens != 0) {
    return Status::Error(StatusCode::kInvalidArgument, "sink_tokens: is %zu, needs a window",
                         c.sink_tokens);
  }
  return Status();
}

// The first key that a query at `position` sees, sinks apart.
size_t WindowBegin(size_t position, size_t window) {
  return position + 1 - std::min(position + 1, window);
}

}  // namespace

void KvCache::Free::operator()(float* p) const { FreeFloats()(p); }

Result<KvCache> KvCache::create(const KvCacheConfig& config) {
  KvCache cache;
  cache.config_ = config;
  if (config.v_head_dim == 0) cache.config_.v_head_dim = config.head_dim;
  const KvCacheConfig& c = cache.config_;
  HEED_RETURN_IF_ERROR(CheckConfig(c));
  constexpr size_t kLimit = PTRDIFF_MAX / 64;  // so that rounding up can't wrap
  const size_t block_floats =
      kKeyBlock * (c.head_dim % kLimit + RoundUp(c.v_head_dim % kLimit, kPanel));
  cache.sink_blocks_ = CeilDiv(c.sink_tokens, kKeyBlock);
  cache.ring_blocks_ = CeilDiv(c.capacity, kKeyBlock);
  const size_t factors[] = {c.batch, c.num_kv_heads, cache.sink_blocks_ + cache.ring_blocks_,
                            block_floats, sizeof(float)};
  size_t bytes = 0;
  if (c.head_dim > kLimit / kKeyBlock || c.v_head_dim > kLimit / kKeyBlock ||
      !Product(factors, 5, &bytes)) {
    return Status::Error(
        StatusCode::kInvalidArgument,
        "config: batch %zu, num_kv_heads %zu, head_dim %zu, capacity %zu exceed the "
        "address space",
        c.batch, c.num_kv_heads, c.head_dim, c.capacity);
  }
  cache.block_floats_ = block_floats;
  cache.data_.reset(AllocateFloats(bytes / sizeof(float)).release());
  if (cache.data_ == nullptr) return OutOfMemory("cache", bytes);
  std::fill_n(cache.data_.get(), bytes / sizeof(float), 0.0f);
  return cache;
}

size_t KvCache::bytes() const {
  return config_.batch * config_.num_kv_heads * (sink_blocks_ + ring_blocks_) * block_floats_ *
         sizeof(float);
}

const float* KvCache::key_block(size_t sequence, size_t kv_head, size_t block) const {
  const size_t head = sequence * config_.num_kv_heads + kv_head;
  const size_t place =
      block < sink_blocks_ ? block : sink_blocks_ + (block - sink_blocks_) % ring_blocks_;
  return data_.get() + (head * (sink_blocks_ + ring_blocks_) + place) * block_floats_;
}

const float* KvCache::value_block(size_t sequence, size_t kv_head, size_t block) const {
  return key_block(sequence, kv_head, block) + kKeyBlock * config_.head_dim;
}

size_t KvCache::room() const {
  if (config_.window == 0) return config_.capacity - length_;
  const size_t ring = ring_blocks_ * kKeyBlock, all = ring + sink_blocks_ * kKeyBlock;
  return std::max(ring - config_.window + 1, all - std::min(all, length_));
}

Status KvCache::append(const TensorView& k, const TensorView& v) {
  const FloatEnvironment environment;
  KvTokens tokens;
  HEED_RETURN_IF_ERROR(CheckKvTokens(k, v, config_.batch, config_.num_kv_heads, config_.head_dim,
                                     config_.v_head_dim, &tokens));
  if (tokens.seq > room()) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "cache: at %zu tokens with capacity %zu and window %zu it can take %zu "
                         "more, not %zu",
                         length_, config_.capacity, config_.window, room(), tokens.seq);
  }
  for (size_t b = 0; b < config_.batch; ++b) {
    for (size_t h = 0; h < config_.num_kv_heads; ++h) {
      for (size_t i = 0; i < tokens.seq; ++i) {
        Write(b, h, length_ + i, tokens.keys.row(b, i, h), tokens.keys.dim,
              tokens.values.row(b, i, h), tokens.values.dim);
      }
    }
  }
  length_ += tokens.seq;
  const size_t ring = ring_blocks_ * kKeyBlock;
  if (length_ > sink_blocks_ * kKeyBlock + ring) {
    first_held_ = std::max(first_held_, length_ - ring);
  }
  return Status();
}

void KvCache::Write(size_t sequence, size_t kv_head, size_t token, const float* key,
                    ptrdiff_t key_step, const float* value, ptrdiff_t value_step) {
  const size_t at = token % kKeyBlock;
  float* block = const_cast<float*>(key_block(sequence, kv_head, token / kKeyBlock));
  float* k = block + at / kPanel * kPanel * config_.head_dim + at % kPanel;
  for (size_t d = 0; d < config_.head_dim; ++d, key += key_step) k[d * kPanel] = *key;
  float* v = block + kKeyBlock * config_.head_dim + at * kPanel;
  for (size_t d = 0; d < config_.v_head_dim; ++d, value += value_step) {
    v[d / kPanel * kKeyBlock * kPanel + d % kPanel] = *value;
  }
}

Status KvCache::truncate(size_t length) {
  if (length > length_) {
    return Status::Error(StatusCode::kInvalidArgument, "length: is %zu, the cache holds %zu",
                         length, length_);
  }
  const size_t sinks = sink_blocks_ * kKeyBlock;
  const size_t needed = std::max(WindowBegin(length, config_.window), sinks);
  if (needed < std::min(first_held_, length)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "length: is %zu, whose window of %zu is overwritten: the ring holds %zu "
                         "to %zu",
                         length, config_.window, first_held_, length_);
  }
  length_ = length;
  first_held_ = length <= sinks ? 0 : std::min(first_held_, length);
  return Status();
}

}  // namespace heed
