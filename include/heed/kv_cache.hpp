// Keys and values of past tokens, in the order the attention kernels read them.
#pragma once

#include <cstddef>
#include <memory>

#include "heed/context.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

struct KvCacheConfig {
  size_t batch = 1;
  size_t num_kv_heads = 0;
  size_t head_dim = 0;    // of keys
  size_t v_head_dim = 0;  // of values; 0: as head_dim
  size_t capacity = 0;    // tokens per sequence
  // Not 0: a ring for windowed attention, in constant memory for a stream without end. It keeps the
  // last `capacity` tokens, rounded up to kKeyBlock, and overwrites older ones. `window` is the
  // largest AttentionOptions::window it will serve, at most `capacity`.
  size_t window = 0;
  // With a window: the first tokens are kept for ever, beside the `capacity` (AttentionOptions::
  // sink_tokens at most this).
  size_t sink_tokens = 0;
};

// A cache of f32 keys and values for `batch` sequences of one length. Tokens are counted from the
// start of the stream, in a ring too. All memory is taken at creation: batch * num_kv_heads *
// (capacity + sink_tokens, each rounded up to kKeyBlock) * (head_dim + v_head_dim rounded up to 16)
// * 4 bytes. One thread at a time may change it; many may read it.
//
// Attention with causal, window and sink_tokens within those of the config gives the same bits
// against a ring as against a cache that holds everything.
//
// Of a cache that was moved from every size is 0, and what is done with it gives kInvalidArgument.
class KvCache {
 public:
  // Errors: kInvalidArgument (a size of 0, overflow, window > capacity, sink_tokens without
  // window), kOutOfMemory.
  static Result<KvCache> create(const KvCacheConfig& config);

  const KvCacheConfig& config() const;  // v_head_dim filled in
  size_t length() const;                // tokens ever appended, per sequence
  size_t bytes() const;

  // Tokens first_held() ... length() - 1 are held, and the first config().sink_tokens; 0 as long as
  // nothing has been overwritten. A query at position e with a window w finds its keys when
  // first_held() is 0 or e + 1 >= first_held() + w.
  size_t first_held() const;

  // The most tokens that one append() may add now. Without a window capacity - length(). A ring
  // takes what leaves the first new token its whole window, so that all of them can be queries:
  // with C = capacity rounded up to kKeyBlock, C - window + 1 tokens at any time, and up to
  // C + sink_tokens (rounded up likewise) in all before it begins to overwrite. So a ring that is
  // given chunks of n tokens needs a capacity of window + n - 1.
  size_t room() const;

  // Adds tokens at the end of every sequence.
  //   k  f32 [batch, seq, num_kv_heads, head_dim]     any strides
  //   v  f32 [batch, seq, num_kv_heads, v_head_dim]
  // batch may be left out when it is 1.
  // Errors: kInvalidArgument, kUnsupported (dtype), kCapacityExceeded (seq > room(); nothing is
  // added). Where a ParallelFor leaves work undone length() stays, too, but a ring may have lost
  // the tokens before first_held().
  Status append(const TensorView& k, const TensorView& v, Context& context);

  // Forgets the tokens from `length` on. A ring must still hold the whole window of the token that
  // comes next: with C as above, it can go back C - window + 1 tokens from the furthest it has
  // been, to anywhere while it has overwritten nothing, and always to a length within the sinks.
  // Errors: kInvalidArgument when length > length() or further back than that; nothing is
  // forgotten.
  Status truncate(size_t length);

  struct Impl;

 private:
  struct Destroy {
    void operator()(Impl* impl) const;
  };
  KvCache() = default;
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed
