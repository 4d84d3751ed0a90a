// KvCache, and attention against it.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

KvCache MakeCache(const AttentionShape& s, size_t capacity) {
  KvCacheConfig config;
  config.batch = s.batch;
  config.num_kv_heads = s.num_kv_heads;
  config.head_dim = s.head_dim;
  config.v_head_dim = s.v_head_dim;
  config.capacity = capacity;
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(cache.ok());
  return std::move(*cache);
}

void Append(const AttentionProblem& p, size_t begin, size_t end, KvCache* cache) {
  Context context;
  const Status status =
      cache->append(p.k.view().slice(1, begin, end), p.v.view().slice(1, begin, end), context);
  REQUIRE(std::string(status.message()) == "");
  REQUIRE(cache->length() == end);
}

// Gives the tokens of p to a new cache in chunks that end at `ends`, with the attention of each.
AttentionAnswer RunInChunks(const AttentionProblem& p, const std::vector<size_t>& ends,
                            Context& context) {
  const AttentionShape& s = p.given.shape;
  KvCache cache = MakeCache(s, s.kv_len);
  Tensor<float> out({s.batch, s.q_len, s.num_heads, s.v_head_dim}, p.given.out_layout);
  Tensor<float> lse({s.batch, s.num_heads, s.q_len});
  size_t begin = 0;
  for (size_t end : ends) {
    Append(p, begin, end, &cache);
    AttentionOptions options = p.Options();
    options.lse = lse.mutable_view().slice(2, begin, end);
    const Status status = attention(p.q.view().slice(1, begin, end), cache,
                                    out.mutable_view().slice(1, begin, end), options, context);
    REQUIRE(std::string(status.message()) == "");
    begin = end;
  }
  CHECK(out.GapsIntact());
  return {out.Dense(), lse.Dense(), {}};
}

std::vector<size_t> EqualChunks(size_t len, size_t chunk) {
  std::vector<size_t> ends;
  for (size_t end = chunk; end < len; end += chunk) ends.push_back(end);
  ends.push_back(len);
  return ends;
}

void CheckChunks(const AttentionShape& shape, const AttentionCase& settings,
                 const std::vector<std::vector<size_t>>& ways) {
  const AttentionProblem p(shape, settings);
  const PerFamily<AttentionAnswer> want([&](Family family) { return p.Expected(family); });
  for (Runner& runner : Runners()) {
    for (size_t i = 0; i < ways.size(); ++i) {
      INFO(p.given << "; way " << i << ", " << runner.name);
      CHECK(Difference(RunInChunks(p, ways[i], *runner.context), want[runner.family]) == "");
    }
  }
}

TEST_CASE("prefill, chunked prefill and token by token through a cache give the same bits") {
  const size_t len = Quick() ? 140 : 270;
  const std::vector<std::vector<size_t>> ways = {
      {len}, {1, 2, 7, 100, 128, 129, len}, EqualChunks(len, 48), EqualChunks(len, 1)};
  CheckChunks({1, len, len, 2, 2, 16, 16}, {.causal = true, .lse = true}, ways);
  CheckChunks({2, len, len, 4, 2, 33, 7}, {.causal = true, .lse = true}, ways);
  CheckChunks({1, len, len, 6, 1, 8, 40}, {.causal = true, .lse = true, .layout = Layout::kSwapped},
              ways);
  CheckChunks({2, len, len, 2, 1, 16, 16},
              {.causal = true, .lse = true, .dropout = 0.2f, .seed = 3}, ways);
}

TEST_CASE("chunks give the same bits across segments of keys") {
  const size_t len = Quick() ? 1050 : 2100;
  const std::vector<std::vector<size_t>> ways = {
      {len}, {1000, 1023, 1024, 1025, 1026, len - 1, len}, EqualChunks(len, 250)};
  CheckChunks({1, len, len, Quick() ? size_t{1} : size_t{2}, 1, 8, 8},
              {.causal = true, .lse = true}, ways);
}

TEST_CASE("attention against a cache equals the specification in every layout, causal or not") {
  for (Layout layout : kAllLayouts) {
    for (bool causal : {false, true}) {
      AttentionCase settings;
      settings.causal = causal;
      settings.lse = settings.weights = true;
      settings.layout = layout;
      for (size_t q_len : {size_t{0}, size_t{1}, size_t{20}, size_t{160}}) {
        if (Quick() && q_len == 160 && layout != Layout::kScattered) continue;
        const AttentionProblem p({2, q_len, 150, 4, 2, 20, 12}, settings);
        KvCache cache = MakeCache(p.given.shape, 151);
        Append(p, 0, 150, &cache);
        const PerFamily<AttentionAnswer> want([&](Family family) { return p.Expected(family); });
        for (Runner& runner : Runners()) {
          INFO(p.given << "; " << runner.name);
          Tensor<float> out({2, q_len, 4, 12}), lse({2, 4, q_len}), weights({2, 4, q_len, 150});
          AttentionOptions options = p.Options();
          options.lse = lse.mutable_view();
          options.weights = weights.mutable_view();
          REQUIRE(attention(p.q.view(), cache, out.mutable_view(), options, *runner.context).ok());
          CHECK(Difference({out.Dense(), lse.Dense(), weights.Dense()}, want[runner.family]) == "");
        }
      }
    }
  }
}

TEST_CASE("truncate forgets tokens: appending others after it is as if the first had never been") {
  const AttentionProblem p({2, 10, 300, 2, 1, 16, 16}, {.causal = true});
  AttentionProblem wrong = p;
  for (size_t i = 0; i < wrong.k.size(); ++i) wrong.k[i] = wrong.v[i] = 1e30f;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    KvCache cache = MakeCache(p.given.shape, 300);
    Append(p, 0, 131, &cache);
    Append(wrong, 131, 290, &cache);
    REQUIRE(cache.truncate(131).ok());
    CHECK(cache.length() == 131);
    Append(p, 131, 300, &cache);
    Tensor<float> out({2, 10, 2, 16});
    REQUIRE(attention(p.q.view(), cache, out.mutable_view(), p.Options(), *runner.context).ok());
    CHECK(Difference(out.Dense(), p.Run(*runner.context).out) == "");
  }
}

TEST_CASE("an empty cache gives zeros, also after truncate to 0") {
  const AttentionProblem p({1, 3, 20, 1, 1, 8, 8}, {});
  KvCache cache = MakeCache(p.given.shape, 20);
  for (int turn = 0; turn < 2; ++turn) {
    for (Runner& runner : Runners()) {
      Tensor<float> out({1, 3, 1, 8});
      REQUIRE(attention(p.q.view(), cache, out.mutable_view(), {}, *runner.context).ok());
      CHECK(Difference(out.Dense(), std::vector<float>(24, 0.0f)) == "");
    }
    Append(p, 0, 20, &cache);
    REQUIRE(cache.truncate(0).ok());
  }
}

TEST_CASE("a cache reports what it holds, and takes rank 3 tokens when its batch is 1") {
  KvCacheConfig config;
  config.num_kv_heads = 3;
  config.head_dim = 20;
  config.capacity = 130;
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(cache.ok());
  CHECK(cache->config().v_head_dim == 20);
  CHECK(cache->length() == 0);
  CHECK(cache->bytes() == 3 * 256 * (20 + 32) * sizeof(float));
  Random random(1);
  Context context;
  const Tensor<float> k = Normal({7, 3, 20}, random), v = Normal({7, 3, 20}, random);
  CHECK(cache->append(k.view(), v.view(), context).ok());
  CHECK(cache->length() == 7);
  CHECK(cache->append(k.view().slice(0, 0, 0), v.view().slice(0, 0, 0), context).ok());
  CHECK(cache->length() == 7);
  KvCache moved = std::move(*cache);
  CHECK(moved.length() == 7);
}

}  // namespace
}  // namespace heed::test
