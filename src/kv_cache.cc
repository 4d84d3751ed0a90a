#include "heed/kv_cache.hpp"

#include <algorithm>

#include "src/check.h"
#include "src/context.h"
#include "src/kernels/layout.h"

namespace heed {
namespace {

// A token's row of one head as [batch, seq, heads, dim], whether or not batch was given.
struct TokenRows {
  const float* data;
  ptrdiff_t batch, seq, head, dim;
};

TokenRows RowsOf(const TensorView& view) {
  const size_t first = view.rank - 3;
  return {static_cast<const float*>(view.data), first == 1 ? view.strides[0] : 0,
          view.strides[first], view.strides[first + 1], view.strides[first + 2]};
}

Status CheckTokens(const char* name, const TensorView& view, const KvCacheConfig& config,
                   size_t head_dim) {
  HEED_RETURN_IF_ERROR(CheckInput(name, view, DType::kF32, 3, 4));
  const size_t first = view.rank - 3;
  const size_t batch = first == 1 ? view.shape[0] : 1;
  if (batch != config.batch || view.shape[first + 1] != config.num_kv_heads ||
      view.shape[first + 2] != head_dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be [%zu, seq, %zu, %zu] for this cache", name,
                         ShapeText(view).text, config.batch, config.num_kv_heads, head_dim);
  }
  return Status();
}

}  // namespace

void KvCache::Free::operator()(float* p) const { FreeFloats()(p); }

Result<KvCache> KvCache::create(const KvCacheConfig& config) {
  KvCache cache;
  cache.config_ = config;
  if (config.v_head_dim == 0) cache.config_.v_head_dim = config.head_dim;
  const KvCacheConfig& c = cache.config_;
  if (c.batch == 0 || c.num_kv_heads == 0 || c.head_dim == 0 || c.capacity == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: batch %zu, num_kv_heads %zu, head_dim %zu and capacity %zu must "
                         "all be at least 1",
                         c.batch, c.num_kv_heads, c.head_dim, c.capacity);
  }
  constexpr size_t kLimit = PTRDIFF_MAX / 64;  // so that rounding up can't wrap
  const size_t block_floats =
      kKeyBlock * (c.head_dim % kLimit + RoundUp(c.v_head_dim % kLimit, kPanel));
  const size_t blocks = CeilDiv(c.capacity, kKeyBlock);
  const size_t factors[] = {c.batch, c.num_kv_heads, blocks, block_floats, sizeof(float)};
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
  cache.num_blocks_ = blocks;
  cache.data_.reset(AllocateFloats(bytes / sizeof(float)).release());
  if (cache.data_ == nullptr) return OutOfMemory("cache", bytes);
  std::fill_n(cache.data_.get(), bytes / sizeof(float), 0.0f);
  return cache;
}

size_t KvCache::bytes() const {
  return config_.batch * config_.num_kv_heads * num_blocks_ * block_floats_ * sizeof(float);
}

const float* KvCache::key_block(size_t sequence, size_t kv_head, size_t block) const {
  const size_t head = sequence * config_.num_kv_heads + kv_head;
  return data_.get() + (head * num_blocks_ + block) * block_floats_;
}

const float* KvCache::value_block(size_t sequence, size_t kv_head, size_t block) const {
  return key_block(sequence, kv_head, block) + kKeyBlock * config_.head_dim;
}

Status KvCache::append(const TensorView& k, const TensorView& v) {
  HEED_RETURN_IF_ERROR(CheckTokens("k", k, config_, config_.head_dim));
  HEED_RETURN_IF_ERROR(CheckTokens("v", v, config_, config_.v_head_dim));
  const size_t seq = k.shape[k.rank - 3];
  if (v.shape[v.rank - 3] != seq) {
    return Status::Error(StatusCode::kInvalidArgument, "v: has %zu tokens, k has %zu",
                         v.shape[v.rank - 3], seq);
  }
  if (seq > config_.capacity - length_) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "cache: holds %zu of %zu tokens, %zu more do not fit", length_,
                         config_.capacity, seq);
  }
  const TokenRows keys = RowsOf(k), values = RowsOf(v);
  for (size_t b = 0; b < config_.batch; ++b) {
    for (size_t h = 0; h < config_.num_kv_heads; ++h) {
      for (size_t i = 0; i < seq; ++i) {
        const size_t token = length_ + i, at = token % kKeyBlock;
        const auto row = [&](const TokenRows& rows) {
          return rows.data + static_cast<ptrdiff_t>(b) * rows.batch +
                 static_cast<ptrdiff_t>(i) * rows.seq + static_cast<ptrdiff_t>(h) * rows.head;
        };
        float* block = const_cast<float*>(key_block(b, h, token / kKeyBlock));
        float* key = block + at / kPanel * kPanel * config_.head_dim + at % kPanel;
        for (size_t d = 0; d < config_.head_dim; ++d) {
          key[d * kPanel] = row(keys)[static_cast<ptrdiff_t>(d) * keys.dim];
        }
        float* value = block + kKeyBlock * config_.head_dim + at * kPanel;
        for (size_t d = 0; d < config_.v_head_dim; ++d) {
          value[d / kPanel * kKeyBlock * kPanel + d % kPanel] =
              row(values)[static_cast<ptrdiff_t>(d) * values.dim];
        }
      }
    }
  }
  length_ += seq;
  return Status();
}

Status KvCache::truncate(size_t length) {
  if (length > length_) {
    return Status::Error(StatusCode::kInvalidArgument, "length: is %zu, the cache holds %zu",
                         length, length_);
  }
  length_ = length;
  return Status();
}

}  // namespace heed
