// A whole attention layer: projections, norms of queries and keys, rotary embedding, cache,
// attention, output projection.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/kv_cache.hpp"
#include "heed/matmul.hpp"
#include "heed/rope.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

struct MultiHeadAttentionConfig {
  size_t d_in = 0;  // width of x
  size_t num_heads = 0;
  size_t num_kv_heads = 0;  // 0: as num_heads
  size_t head_dim = 0;      // of queries and keys; need not be d_in / num_heads
  size_t v_head_dim = 0;    // of values; 0: as head_dim
  bool causal = true;
  std::optional<float> scale = {};       // unset: 1 / sqrt(head_dim)
  std::optional<RopeOptions> rope = {};  // unset: none

  // As in AttentionOptions.
  size_t window = 0;
  size_t sink_tokens = 0;
  float logits_soft_cap = 0.0f;

  // Of weights.q_norm and k_norm: x * (1 / sqrt(mean of x^2 + norm_eps)) * (norm_weight_offset +
  // weight), RMSNorm (Zhang and Sennrich, arXiv 1910.07467). Gemma stores weights minus 1: its
  // offset is 1.
  float norm_eps = 1e-6f;  // finite, at least 0
  float norm_weight_offset = 0.0f;

  // Queries and keys are turned by hadamard(), after norms and RoPE and before the cache. The cache
  // then holds turned keys, which only a layer that turns its queries can read. The output stays
  // the same but for rounding. It pays where keys are stored as int8 or int4 and a few channels of
  // a head are much larger than the others: the turn spreads them over all channels. Elsewhere it
  // costs time and gains nothing. An odd head_dim is left as it is.
  bool hadamard = false;

  // Of create_cache(): KvCacheConfig::k_dtype and v_dtype.
  DType k_cache_dtype = DType::kF32;
  DType v_cache_dtype = DType::kF32;

  // The values of a head are the first v_head_dim channels of its keys (KvCacheConfig::
  // values_in_keys): of what attention reads, after k_norm, RoPE and the Hadamard turn, and as the
  // cache stores them. There are no weights for v then, and v_cache_dtype becomes k_cache_dtype.
  // v_head_dim is at most head_dim.
  bool values_in_keys = false;
};

// One linear map: f32, f16 or bf16 in the layout of the whole set, any strides.
struct LinearWeights {
  TensorView weight = {};  // [in, out] or [out, in]
  TensorView bias = {};    // f32, f16 or bf16 [out]; absent: none
  // How the layer keeps the weight. With compute kF32 the bits are those of the same numbers kept
  // in f32. Neighbours of q, k and v with the same storage and compute are one product.
  PackOptions storage = {};
  // How the projection is computed (MatmulOptions); kInt16 is for int8 and int4 storage. The bits
  // are the same in prefill, chunks and decode. Decode is slower than with kF32.
  Compute compute = Compute::kF32;
  // Given in the place of `weight`: a matrix that is packed already, from a mapped file say, used
  // from where its elements lie without a copy; `storage` is not looked at. They must live as long
  // as the layer, the PackedMatrix itself need not where it was mapped.
  const PackedMatrix* packed = nullptr;
};

// Either q, k and v, or qkv alone: all query heads, then all key heads, then all value heads along
// the output dimension. Head h of a projection is its outputs h * head_dim ... (h + 1) * head_dim
// - 1. With values_in_keys v is absent, and qkv is queries and keys.
struct MultiHeadAttentionWeights {
  WeightLayout layout = WeightLayout::kOutIn;
  LinearWeights q = {};    // d_in -> num_heads * head_dim
  LinearWeights k = {};    // d_in -> num_kv_heads * head_dim
  LinearWeights v = {};    // d_in -> num_kv_heads * v_head_dim
  LinearWeights qkv = {};  // d_in -> the sum of these
  // num_heads * v_head_dim -> d_out; absent: the heads joined are the result.
  LinearWeights out = {};

  // f32, f16 or bf16, copied; absent: none.
  TensorView q_norm = {};  // [head_dim]: RMSNorm of each query head before RoPE (Qwen3, Gemma 3)
  TensorView k_norm = {};  // [head_dim]: of each key head
  TensorView sinks = {};   // [num_heads]: see AttentionOptions
  TensorView alibi_slopes = {};  // [num_heads]: see AttentionOptions
};

struct ForwardOptions {
  // Past tokens. x's tokens are appended and their queries see them and everything before. Without
  // a cache x is the whole sequence. Its values_in_keys is that of the layer.
  KvCache* cache = nullptr;

  // i32 [batch, seq] or [seq], for RoPE; absent: cache length + 0, 1, 2 ... (from 0 without a
  // cache).
  TensorView positions = {};

  // Padding. kv_lens, without a cache: x has tokens only up to kv_lens[b], and queries after them
  // see what the causal mask and the window leave of those. key_mask, also with one (batches padded
  // on the left): 0 hides a key of the kv_len = past + seq.
  TensorView kv_lens = {};   // i32 [batch], each in [0, seq]
  TensorView key_mask = {};  // u8 [batch, kv_len]

  DropoutOptions dropout = {};

  // Optional results.
  MutableTensorView lse = {};      // f32 [batch, num_heads, seq]
  MutableTensorView weights = {};  // f32 [batch, num_heads, seq, kv_len] with kv_len = past + seq
  // f32 [batch, seq, num_heads * v_head_dim]: heads joined, before `out`.
  MutableTensorView context = {};
};

// Immutable after creation, so many Contexts may use it at the same time (each with its own cache).
// Of a layer that was moved from every size is 0, and what is done with it gives kInvalidArgument.
class HEED_API MultiHeadAttention {
 public:
  // Checks everything and packs the weights; the caller's may go afterwards, but for matrices that
  // are packed already.
  // Errors: kInvalidArgument (named by projection), kUnsupported (dtype), kOutOfMemory.
  static Result<MultiHeadAttention> create(const MultiHeadAttentionConfig& config,
                                           const MultiHeadAttentionWeights& weights,
                                           Context& context);

  // The same in the caller's memory of at least memory_bytes(), with nothing from the heap. Errors
  // also: kInvalidArgument (null or unaligned memory), kOutOfMemory (too little).
  static Result<MultiHeadAttention> create(const MultiHeadAttentionConfig& config,
                                           const MultiHeadAttentionWeights& weights,
                                           const Memory& memory, Context& context);
  // Elements of weights are not looked at. With a context that measures they may be null.
  static Result<size_t> memory_bytes(const MultiHeadAttentionConfig& config,
                                     const MultiHeadAttentionWeights& weights, Context& context);

  // y = Attention(x).
  //   x  [batch, seq, d_in] or [seq, d_in], any strides
  //   y  [batch, seq, d_out] or [seq, d_out], unit stride along d_out
  // Each is f32, f16 or bf16: x is widened exactly, all is computed in f32, and y is rounded once,
  // to nearest, ties to even.
  // y and the results of `options` must not overlap each other, x or the inputs of `options`.
  // Without tokens (batch or seq is 0) nothing is written, and not all of `options` is checked.
  // With a cache the same bits come out whether a sequence is given at once, in chunks or token by
  // token. The first call of a size grows the context's workspace; later ones allocate nothing.
  // Errors: kInvalidArgument, kUnsupported, kCapacityExceeded, kOutOfMemory. A refused call leaves
  // y and the cache as they were: nothing is appended before everything is checked and all memory
  // taken. Only a ParallelFor that does not call its workers can make a call fail after that: y is
  // then unspecified, the cache's length() as before, and of a ring that had begun to overwrite
  // tokens first_held() says which are left.
  Status forward(const TensorView& x, const MutableTensorView& y, const ForwardOptions& options,
                 Context& context) const;
  Status forward(const TensorView& x, const MutableTensorView& y, KvCache& cache,
                 Context& context) const {
    ForwardOptions options;
    options.cache = &cache;
    return forward(x, y, options, context);
  }

  // A cache that fits this layer, for `capacity` tokens in all. For a stream without end a layer
  // with a window takes a ring instead: KvCache::create with the layer's window and sink_tokens.
  Result<KvCache> create_cache(size_t batch, size_t capacity) const;

  const MultiHeadAttentionConfig& config() const;  // defaults filled in
  size_t d_out() const;
  size_t bytes() const;  // of weights, those that were given packed included

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  MultiHeadAttention() = default;
  std::unique_ptr<Impl, Destroy> impl_;
};

}  // namespace heed::inline v1
