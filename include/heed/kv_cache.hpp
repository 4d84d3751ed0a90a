// Keys and values of past tokens, in the order the attention kernels read them.
#pragma once

#include <cstddef>
#include <memory>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

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
  // How keys and values are stored: kF32, kBF16, kF16, kInt8 or kInt4, each its own. Keys need more
  // bits than values.
  //   kBF16, kF16  rounded to nearest, ties to even
  //   kInt8        codes -127 ... 127 and a scale for each token and head, f32: largest / 127
  //   kInt4        codes -8 ... 7 and a scale for each token, head and 32 channels, f16: the
  //                element of the largest magnitude / -8
  // A code is element / scale to nearest, ties to even (heed/quantize.hpp). In these two, elements
  // that share a scale with a NaN or an infinity read as NaN.
  DType k_dtype = DType::kF32, v_dtype = DType::kF32;
  // The values of a token are the first v_head_dim channels of its keys, as they are stored: latent
  // attention (DeepSeek, GLM) and shared keys and values. They are stored and read once; v_head_dim
  // is at most head_dim, and v_dtype becomes k_dtype.
  bool values_in_keys = false;
};

// A cache of keys and values for `batch` sequences of one length. Tokens are counted from the start
// of the stream, in a ring too. All memory is taken at creation: batch * num_kv_heads * (capacity +
// sink_tokens, each rounded up to kKeyBlock) times what a token of one head takes, which is for
// head_dim and for v_head_dim rounded up to 16
//   kF32 4 bytes a channel; kBF16, kF16 2; kInt8 1, and 4 for the scale; kInt4 a half, rounded up
//   to whole bytes for keys, and 2 for each scale.
// With values_in_keys the channels of values take nothing. One thread at a time may change it; many
// may read it.
//
// What is computed from it is what f32 gives for the numbers that are stored, bit for bit: those of
// 16 bits widened, float(code) * scale rounded once and +0 for a code of 0.
//
// Attention with causal, window and sink_tokens within those of the config gives the same bits
// against a ring as against a cache that holds everything.
//
// Of a cache that was moved from every size is 0, and what is done with it gives kInvalidArgument.
class HEED_API KvCache {
 public:
  // Errors: kInvalidArgument (a size of 0, overflow, window > capacity, sink_tokens without
  // window, v_head_dim > head_dim with values_in_keys), kUnsupported (a dtype that is not stored),
  // kOutOfMemory.
  static Result<KvCache> create(const KvCacheConfig& config);

  // The same in the caller's memory of at least memory_bytes(config), with nothing from the heap.
  // Errors also: kInvalidArgument (null or unaligned memory), kOutOfMemory (too little).
  static Result<KvCache> create(const KvCacheConfig& config, const Memory& memory);
  static Result<size_t> memory_bytes(const KvCacheConfig& config);

  // Stands for a cache of `length` tokens in calls that measure (ContextOptions::measure); others
  // refuse it. It holds no keys and values. Errors: as of create(), kCapacityExceeded.
  static Result<KvCache> without_data(const KvCacheConfig& config, size_t length);

  const KvCacheConfig& config() const;  // v_head_dim filled in, and v_dtype with values_in_keys
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

  // Adds tokens at the end of every sequence, rounded to the types that are stored.
  //   k  [batch, seq, num_kv_heads, head_dim]     any strides
  //   v  [batch, seq, num_kv_heads, v_head_dim]
  // k and v are f32, f16 or bf16, each its own. batch may be left out when it is 1.
  // Errors: kInvalidArgument, kUnsupported (dtype), kCapacityExceeded (seq > room()), kOutOfMemory
  // (workspace, of 16-bit tokens); nothing is added. Where a ParallelFor leaves work undone
  // length() stays, too, but a ring may have lost the tokens before first_held().
  Status append(const TensorView& k, const TensorView& v, Context& context);
  // With values_in_keys, and only then, there is no v.
  Status append(const TensorView& k, Context& context);

  // Forgets the tokens from `length` on. A ring must still hold the whole window of the token that
  // comes next: with C as above, it can go back C - window + 1 tokens from the furthest it has
  // been, to anywhere while it has overwritten nothing, and always to a length within the sinks.
  // Errors: kInvalidArgument when length > length() or further back than that; nothing is
  // forgotten.
  Status truncate(size_t length);

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  KvCache() = default;
  Status append_tokens(const TensorView& k, const TensorView* v, Context& context);
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
