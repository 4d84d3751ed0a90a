// What a forward pass leaves of its cache: new tokens, or, when it is refused, what was there.
#include <doctest/doctest.h>

#include <span>
#include <utility>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "heed/numerics.hpp"
#include "heed/paged_kv_cache.hpp"
#include "src/cache/kv_cache.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr size_t kWidth = 16, kHeads = 2, kDim = 8, kWindow = 64, kHeld = 120, kNew = 65;

MultiHeadAttention MakeLayer(Random& random) {
  Context context;
  const Tensor<float> weight = Normal({kWidth, kWidth}, random);
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = weight.view();
  MultiHeadAttentionConfig config = {.d_in = kWidth, .num_heads = kHeads, .head_dim = kDim};
  config.window = kWindow;
  config.rope = RopeOptions();
  return std::move(*MultiHeadAttention::create(config, weights, context));
}

// A ring of 128 tokens that holds 120, so that 65 more overwrite the first 57.
KvCache MakeRing(const MultiHeadAttention& layer, const TensorView& x, Context& context) {
  KvCache ring = std::move(*KvCache::create(
      {.num_kv_heads = kHeads, .head_dim = kDim, .capacity = 100, .window = kWindow}));
  Tensor<float> y({kHeld, kWidth});
  REQUIRE(layer.forward(x.slice(0, 0, kHeld), y.mutable_view(), ring, context).ok());
  return ring;
}

TEST_CASE("a refused forward leaves a ring as it was") {
  Context context;
  Random random(1);
  const MultiHeadAttention layer = MakeLayer(random);
  const Tensor<float> x = Normal({kHeld + kNew, kWidth}, random);
  KvCache ring = MakeRing(layer, x.view(), context);
  const TensorView chunk = x.view().slice(0, kHeld, kHeld + kNew);
  Tensor<float> y({kNew, kWidth}), weights({1, kHeads, kNew, kHeld + kNew});
  const std::vector<uint8_t> key_mask(kHeld + kNew, 1);
  const auto refused = [&](const char* name, auto spoil) {
    ForwardOptions options;
    options.cache = &ring;
    spoil(options);
    const Status status = layer.forward(chunk, y.mutable_view(), options, context);
    CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, name) == "");
    CHECK(ring.length() == kHeld);
    CHECK(ring.first_held() == 0);
    CHECK(y.AllUntouched());
  };
  refused("probability", [](ForwardOptions& o) { o.dropout.probability = 2.0f; });
  refused("weights", [&](ForwardOptions& o) { o.weights = weights.mutable_view(); });
  refused("key_mask", [&](ForwardOptions& o) {
    o.key_mask = TensorView(key_mask.data(), {1, kHeld + kNew});
  });

  // What was refused has not moved what comes next, and the ring goes back as far as it could.
  REQUIRE(layer.forward(chunk, y.mutable_view(), ring, context).ok());
  CHECK(ring.first_held() == kHeld + kNew - 128);
  const std::vector<float> after = y.Dense();
  KvCache fresh = MakeRing(layer, x.view(), context);
  Tensor<float> again({kNew, kWidth});
  REQUIRE(layer.forward(chunk, again.mutable_view(), fresh, context).ok());
  CHECK(Difference(after, again.Dense()) == "");
  KvCache other = MakeRing(layer, x.view(), context);
  ForwardOptions bad;
  bad.cache = &other;
  bad.dropout.probability = 2.0f;
  CHECK(!layer.forward(chunk, y.mutable_view(), bad, context).ok());
  CHECK(other.truncate(40).ok());
}

TEST_CASE("a call's memory is what its plan says, and the layer's steps share it") {
  Random random(2);
  const MultiHeadAttention layer = MakeLayer(random);
  const Tensor<float> x = Normal({1, kHeld, kWidth}, random);
  Tensor<float> y({1, kHeld, kWidth});
  Context context({.num_threads = 1});
  CHECK(context.workspace_bytes() == 0);
  REQUIRE(layer.forward(x.view(), y.mutable_view(), {}, context).ok());
  const size_t held = context.workspace_bytes();
  const size_t own = kHeld * (3 + 1) * kWidth * sizeof(float);
  CHECK(held > own);
  Context alone({.num_threads = 1});
  const Tensor<float> q({1, kHeld, kHeads, kDim}, Layout::kContiguous);
  Tensor<float> out({1, kHeld, kHeads, kDim});
  AttentionOptions options;
  options.causal = true;
  options.window = kWindow;
  REQUIRE(attention(q.view(), q.view(), q.view(), out.mutable_view(), options, alone).ok());
  CHECK(held == own + alone.workspace_bytes());
}

// Every float that a cache holds of a sequence's head.
std::vector<float> BlocksOf(const KvCache& cache, size_t sequence, size_t head) {
  const KvCacheConfig& c = cache.config();
  const KvCache::Impl& impl = *KvCache::Impl::Of(cache);
  std::vector<float> all;
  for (size_t block = 0; block * kKeyBlock < c.capacity; ++block) {
    const float* keys = impl.Keys(sequence, head, block).f32();
    const float* values = impl.Values(sequence, head, block).f32();
    all.insert(all.end(), keys, keys + kKeyBlock * c.head_dim);
    all.insert(all.end(), values, values + kKeyBlock * RoundUp(c.v_head_dim, kPanel));
  }
  return all;
}

TEST_CASE("caches hold the same bytes whatever the threads that append") {
  const KvCacheConfig config = {
      .batch = 2, .num_kv_heads = 3, .head_dim = 5, .v_head_dim = 19, .capacity = 300};
  const PagedKvCacheConfig paged_config = {
      .num_blocks = 60, .block_size = 16, .num_kv_heads = 3, .head_dim = 5, .v_head_dim = 19};
  Random random(3);
  const Tensor<float> k = Normal({2, 300, 3, 5}, random, Layout::kScattered);
  const Tensor<float> v = Normal({2, 300, 3, 19}, random, Layout::kSwapped);
  const auto append = [&](Context& context, KvCache* cache, PagedKvCache* pages,
                          std::span<const PagedSequence> sequences) {
    for (size_t begin : {size_t{0}, size_t{1}, size_t{140}}) {
      const size_t end = begin == 0 ? 1 : begin == 1 ? 140 : 300;
      const TensorView new_k = k.view().slice(1, begin, end), new_v = v.view().slice(1, begin, end);
      REQUIRE(cache->append(new_k, new_v, context).ok());
      REQUIRE(pages->append(sequences, new_k, new_v, context).ok());
    }
  };
  Context one({.num_threads = 1});
  KvCache want = std::move(*KvCache::create(config));
  PagedKvCache want_pages = std::move(*PagedKvCache::create(paged_config));
  const PagedSequence want_names[] = {*want_pages.add(), *want_pages.add()};
  append(one, &want, &want_pages, want_names);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    KvCache cache = std::move(*KvCache::create(config));
    PagedKvCache pages = std::move(*PagedKvCache::create(paged_config));
    const PagedSequence names[] = {*pages.add(), *pages.add()};
    append(*runner.context, &cache, &pages, names);
    for (size_t b = 0; b < config.batch; ++b) {
      for (size_t h = 0; h < config.num_kv_heads; ++h) {
        CHECK(Difference(BlocksOf(cache, b, h), BlocksOf(want, b, h)) == "");
      }
    }
    const PagedKv got = *pages.view(names), expected = *want_pages.view(want_names);
    const size_t floats = 2 * 300 / 16 * 16 * 3 * 5;  // of blocks that are full
    const auto* from = static_cast<const float*>(got.k.data);
    const auto* to = static_cast<const float*>(expected.k.data);
    CHECK(Difference(std::vector<float>(from, from + floats / 2),
                     std::vector<float>(to, to + floats / 2)) == "");
  }
}

}  // namespace
}  // namespace heed::test
