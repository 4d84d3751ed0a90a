// What was moved from says so: every call that needs it is refused by name, and its sizes are 0.
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr size_t kSeq = 2, kHeads = 2, kDim = 4, kWidth = kHeads * kDim;

TEST_CASE("a context that was moved from is refused") {
  Context context;
  const Context taken = std::move(context);
  CHECK(WrongRefusal(context.status(), kInvalid, "context") == "");
  CHECK(context.num_threads() == 0);
  CHECK(context.workspace_bytes() == 0);
  CHECK(std::string(context.target()) == "");
}

TEST_CASE("a cache that was moved from is refused") {
  Context context;
  KvCache cache = std::move(
      *KvCache::create({.batch = 1, .num_kv_heads = kHeads, .head_dim = kDim, .capacity = 8}));
  const KvCache taken = std::move(cache);
  const Tensor<float> k({1, kSeq, kHeads, kDim});
  Tensor<float> out({1, kSeq, kHeads, kDim});
  CHECK(WrongRefusal(cache.append(k.view(), k.view(), context), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.truncate(0), kInvalid, "cache") == "");
  CHECK(WrongRefusal(attention(k.view(), cache, out.mutable_view(), {}, context), kInvalid,
                     "cache") == "");
  CHECK(cache.length() == 0);
  CHECK(cache.first_held() == 0);
  CHECK(cache.room() == 0);
  CHECK(cache.bytes() == 0);
  CHECK(cache.config().capacity == 0);
  CHECK(taken.room() == 8);
  cache = std::move(*KvCache::create({.num_kv_heads = kHeads, .head_dim = kDim, .capacity = 3}));
  CHECK(cache.room() == 3);
}

TEST_CASE("a packed matrix that was moved from is refused, and one without columns is not") {
  Context context;
  const Tensor<float> b({3, 5});
  PackedMatrix packed = std::move(*PackedMatrix::pack(b.view(), WeightLayout::kInOut, context));
  const PackedMatrix taken = std::move(packed);
  CHECK(packed.in() == 0);
  CHECK(packed.out() == 0);
  CHECK(packed.bytes() == 0);
  const Tensor<float> a({2, 3}), nothing({2, 0});
  Tensor<float> c({2, 5}), none({2, 0});
  CHECK(WrongRefusal(matmul(a.view(), packed, c.mutable_view(), {}, context), kInvalid, "b") == "");
  CHECK(WrongRefusal(matmul(nothing.view(), packed, none.mutable_view(), {}, context), kInvalid,
                     "b") == "");
  CHECK(matmul(a.view(), taken, c.mutable_view(), {}, context).ok());
  packed = PackedMatrix();
  CHECK(matmul(nothing.view(), packed, none.mutable_view(), {}, context).ok());
}

TEST_CASE("a layer that was moved from is refused") {
  Context context;
  const Tensor<float> weight({kWidth, kWidth});
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = weight.view();
  const MultiHeadAttentionConfig config = {.d_in = kWidth, .num_heads = kHeads, .head_dim = kDim};
  MultiHeadAttention layer = std::move(*MultiHeadAttention::create(config, weights, context));
  const MultiHeadAttention taken = std::move(layer);
  const Tensor<float> x({1, kSeq, kWidth});
  Tensor<float> y({1, kSeq, kWidth});
  CHECK(WrongRefusal(layer.forward(x.view(), y.mutable_view(), {}, context), kInvalid, "layer") ==
        "");
  CHECK(WrongRefusal(layer.create_cache(1, 8).status(), kInvalid, "layer") == "");
  CHECK(layer.d_out() == 0);
  CHECK(layer.bytes() == 0);
  CHECK(layer.config().d_in == 0);

  KvCache cache = std::move(*taken.create_cache(1, 8));
  const KvCache moved = std::move(cache);
  CHECK(WrongRefusal(taken.forward(x.view(), y.mutable_view(), cache, context), kInvalid,
                     "cache") == "");
}

TEST_CASE("a paged cache that was moved from is refused") {
  Context context;
  PagedKvCache cache =
      std::move(*PagedKvCache::create({.num_blocks = 4, .num_kv_heads = kHeads, .head_dim = kDim}));
  const PagedSequence sequence = *cache.add();
  PagedKvCache taken = std::move(cache);
  const Tensor<float> k({1, kSeq, kHeads, kDim});
  CHECK(WrongRefusal(cache.add().status(), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.fork(sequence).status(), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.fork(sequence, 0).status(), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.free(sequence), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.length(sequence).status(), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.append(sequence, k.view(), k.view(), context), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.truncate(sequence, 0), kInvalid, "cache") == "");
  CHECK(WrongRefusal(cache.view(std::span(&sequence, 1)).status(), kInvalid, "cache") == "");
  CHECK(cache.config().num_blocks == 0);
  CHECK(cache.config().block_size == 0);
  CHECK(cache.bytes() == 0);
  CHECK(cache.free_blocks() == 0);
  CHECK(cache.num_sequences() == 0);
  CHECK(cache.references(0) == 0);
  CHECK(taken.append(sequence, k.view(), k.view(), context).ok());
}

}  // namespace
}  // namespace heed::test
