// Keys and values of past tokens, in the order the attention kernels read them.
#pragma once

#include <cstddef>
#include <memory>

#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

struct KvCacheConfig {
  size_t batch = 1;
  size_t num_kv_heads = 0;
  size_t head_dim = 0;    // of keys
  size_t v_head_dim = 0;  // of values; 0: as head_dim
  size_t capacity = 0;    // tokens per sequence
};

// A contiguous cache of f32 keys and values for `batch` sequences of one length. All memory is
// taken at creation: batch * num_kv_heads * capacity (rounded up to kKeyBlock) * (head_dim +
// v_head_dim rounded up to 16) * 4 bytes. One thread at a time may change it; many may read it.
class KvCache {
 public:
  // Errors: kInvalidArgument (a size of 0, overflow), kOutOfMemory.
  static Result<KvCache> create(const KvCacheConfig& config);

  const KvCacheConfig& config() const { return config_; }  // v_head_dim filled in
  size_t length() const { return length_; }                // tokens held, per sequence
  size_t bytes() const;

  // Adds tokens at the end of every sequence.
  //   k  f32 [batch, seq, num_kv_heads, head_dim]     any strides
  //   v  f32 [batch, seq, num_kv_heads, v_head_dim]
  // batch may be left out when it is 1.
  // Errors: kInvalidArgument, kUnsupported (dtype), kCapacityExceeded (length() + seq > capacity;
  // nothing is added).
  Status append(const TensorView& k, const TensorView& v);

  // Forgets the tokens from `length` on. Errors: kInvalidArgument when length > length().
  Status truncate(size_t length);

  // Block b of one head, for heed itself: kKeyBlock keys in panels [key / 16][head_dim][16], values
  // in panels [v_head_dim / 16][kKeyBlock][16].
  const float* key_block(size_t sequence, size_t kv_head, size_t block) const;
  const float* value_block(size_t sequence, size_t kv_head, size_t block) const;

 private:
  KvCache() = default;
  struct Free {
    void operator()(float* p) const;
  };
  KvCacheConfig config_;
  size_t length_ = 0;
  size_t block_floats_ = 0;  // of one key block and its value block
  size_t num_blocks_ = 0;
  std::unique_ptr<float[], Free> data_;
};

}  // namespace heed
