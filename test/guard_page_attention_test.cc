// Attention, caches and the layer with operands and results at pages that can't be touched.
#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/attention_state.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "heed/paged_kv_cache.hpp"
#include "test/cases/attention_problem.h"
#include "test/cases/random_attention.h"
#include "test/support/layer.h"
#include "test/support/mode.h"
#include "test/support/placements.h"

namespace heed::test {
namespace {

constexpr AttentionCase kSettings[] = {
    {},
    {.causal = true, .lse = true},
    {.lse = true, .weights = true, .dropout = 0.3f},
    {.causal = true,
     .dropout_mask = true,
     .layout = Layout::kPadded,
     .out_layout = Layout::kPadded},
    {.causal = true, .lse = true, .layout = Layout::kSwapped, .out_layout = Layout::kSwapped},
    {.causal = true,
     .weights = true,
     .layout = Layout::kBackwards,
     .out_layout = Layout::kBackwards},
    {.lse = true, .layout = Layout::kLastFirst},
    {.causal = true, .layout = Layout::kScattered},
    {.causal = true, .k_dtype = DType::kInt8, .v_dtype = DType::kInt4},
    {.k_dtype = DType::kInt4, .v_dtype = DType::kInt8, .layout = Layout::kBackwards},
};

TEST_CASE("attention keeps within its operands and results at awkward sizes") {
  constexpr size_t kGroups[][2] = {{1, 1}, {2, 1}, {3, 3}, {6, 2}};  // heads and kv heads
  size_t turn = 0;
  for (size_t q_len : kAwkwardSizes) {
    for (size_t kv_len : kAwkwardSizes) {
      const auto& heads = kGroups[turn % std::size(kGroups)];
      const size_t head_dim = kAwkwardSizes[turn % std::size(kAwkwardSizes)];
      const size_t v_dim = kAwkwardSizes[(turn + q_len) % std::size(kAwkwardSizes)];
      const AttentionShape shape = {1 + turn % 2, q_len,    kv_len, heads[0],
                                    heads[1],     head_dim, v_dim};
      const AttentionCase& settings = kSettings[turn++ % std::size(kSettings)];
      if (Quick() && turn % 3 != 0) continue;
      INFO(shape << "; " << settings);
      CheckAtGuardPages<AttentionProblem>(shape, settings);
    }
  }
}

TEST_CASE("decoding against several segments keeps within its operands and results") {
  for (size_t kv_len : {kSegmentKeys - 1, kSegmentKeys + 1, 2 * kSegmentKeys + 17}) {
    for (size_t q_len : Sizes{1, 3}) {
      for (const AttentionCase& settings : kSettings) {
        const AttentionShape shape = {1, q_len, kv_len, 4, 2, 17, 15};
        INFO(shape << "; " << settings);
        CheckAtGuardPages<AttentionProblem>(shape, settings);
      }
    }
  }
}

// Windows, masks, lengths, packed sequences, pages, caches and all other options, against the
// specification instead of a run elsewhere.
TEST_CASE("random calls of attention keep within their operands and results") {
  for (Placement placement : kAtGuardPages) {
    const Place place(placement);
    for (uint64_t seed = 1; seed <= (Quick() ? 200 : 2000); ++seed) {
      const AttentionCase drawn = DrawCase(seed);
      INFO(NameOf(placement) << ", " << drawn);
      CHECK(FaultOf(drawn, DrawRunner(seed)) == "");
    }
  }
}

struct PartsProblem {
  PartsProblem(size_t queries, size_t keys, size_t dim)
      : q_len(queries), q({1, queries, 4, dim}), sinks({4}) {
    Random random(keys);
    q.FillNormal(random);
    sinks.FillNormal(random);
    for (size_t begin = 0; begin < keys; begin += kSegmentKeys) {
      const size_t n = std::min(keys - begin, kSegmentKeys);
      k.push_back(Normal({1, n, 2, dim}, random));
      v.push_back(Normal({1, n, 2, dim}, random));
    }
    kv_len = keys;
  }
  std::vector<float> Run(Context& context) const {
    const size_t v_dim = q.shape().back();
    std::vector<Tensor<float>> max, sum, acc;
    std::vector<AttentionState> states;
    for (size_t part = 0; part < k.size(); ++part) {
      max.emplace_back(std::vector<size_t>{1, 1, 4, q_len});
      sum.emplace_back(std::vector<size_t>{1, 1, 4, q_len});
      acc.emplace_back(std::vector<size_t>{1, 1, q_len, 4, v_dim});
      states.push_back(
          {max.back().mutable_view(), sum.back().mutable_view(), acc.back().mutable_view()});
      RequireOk(attention_partial(q.view(), k[part].view(), v[part].view(), part * kSegmentKeys,
                                  kv_len, states.back(), {.causal = true}, context));
    }
    Tensor<float> out({1, q_len, 4, v_dim}), lse({1, 4, q_len}), twice(out), twice_lse(lse);
    RequireOk(merge_attention(states.data(), states.size(), sinks.view(), out.mutable_view(),
                              lse.mutable_view(), context));
    RequireOk(merge_attention(out.view(), lse.view(), out.view(), lse.view(), twice.mutable_view(),
                              twice_lse.mutable_view(), context));
    return Joined({&out, &lse, &twice, &twice_lse, &max.back(), &sum.back(), &acc.back()});
  }
  size_t q_len, kv_len;
  Tensor<float> q, sinks;
  std::vector<Tensor<float>> k, v;
};

TEST_CASE("parts and their merges keep within their operands and results") {
  for (size_t dim : kAwkwardSizes) {
    INFO("head_dim " << dim);
    CheckAtGuardPages<PartsProblem>(size_t{1}, kSegmentKeys + dim, dim);
    CheckAtGuardPages<PartsProblem>(size_t{5}, kSegmentKeys - 1 + dim, dim);
  }
}

// Tokens in chunks of awkward sizes, appended to a cache, a ring and pages, each chunk attending.
struct StreamProblem {
  StreamProblem(size_t head_dim, size_t v_dim, Layout layout) : out_dim(v_dim) {
    Random random(head_dim * 31 + v_dim);
    for (size_t n : Sizes{1, 3, 15, 17, 1, 33, 5}) {
      q.push_back(Normal({1, n, 4, head_dim}, random, layout));
      k.push_back(Normal({1, n, 2, head_dim}, random, layout));
      v.push_back(Normal({1, n, 2, v_dim}, random, layout));
      length += n;
    }
  }
  std::vector<float> Run(Context& context) const {
    KvCacheConfig config;
    config.num_kv_heads = 2;
    config.head_dim = q[0].shape().back();
    config.v_head_dim = out_dim;
    config.capacity = length;
    Result<KvCache> cache = KvCache::create(config);
    config.capacity = 64, config.window = 20, config.sink_tokens = 3;
    Result<KvCache> ring = KvCache::create(config);
    Result<PagedKvCache> pages = PagedKvCache::create({8, 16, 2, config.head_dim, out_dim});
    REQUIRE(cache.ok());
    REQUIRE(ring.ok());
    REQUIRE(pages.ok());
    const Result<PagedSequence> sequence = pages->add();
    REQUIRE(sequence.ok());
    std::vector<float> all;
    for (size_t i = 0; i < q.size(); ++i) {
      RequireOk(cache->append(k[i].view(), v[i].view(), context));
      RequireOk(ring->append(k[i].view(), v[i].view(), context));
      RequireOk(pages->append(*sequence, k[i].view(), v[i].view(), context));
      const Result<PagedKv> view = pages->view({&*sequence, 1});
      REQUIRE(view.ok());
      const std::vector<size_t> shape = {1, q[i].shape()[1], 4, out_dim};
      Tensor<float> whole(shape), windowed(shape), paged(shape);
      const AttentionOptions causal = {.causal = true};
      const AttentionOptions window = {.causal = true, .window = 20, .sink_tokens = 3};
      RequireOk(attention(q[i].view(), *cache, whole.mutable_view(), causal, context));
      RequireOk(attention(q[i].view(), *ring, windowed.mutable_view(), window, context));
      RequireOk(attention(q[i].view(), *view, paged.mutable_view(), causal, context));
      const std::vector<float> results = Joined({&whole, &windowed, &paged});
      all.insert(all.end(), results.begin(), results.end());
    }
    return all;
  }
  size_t out_dim, length = 0;
  std::vector<Tensor<float>> q, k, v;
};

TEST_CASE("caches, rings and pages keep within what is appended and its results") {
  size_t turn = 0;
  for (size_t head_dim : kAwkwardSizes) {
    const size_t v_dim = kAwkwardSizes[(turn * 7 + 3) % std::size(kAwkwardSizes)];
    const Layout layout = kUnitStrideLayouts[turn++ % std::size(kUnitStrideLayouts)];
    INFO("head_dim " << head_dim << "/" << v_dim << ", layout " << static_cast<int>(layout));
    CheckAtGuardPages<StreamProblem>(head_dim, v_dim, layout);
  }
}

TEST_CASE("a layer keeps within its weights, x, y and optional results") {
  LayerForm plain, modern, fused, masked;
  plain.bias = true;
  modern.num_heads = 6, modern.num_kv_heads = 2, modern.head_dim = 18, modern.v_head_dim = 7;
  modern.rope = RopeOptions();
  modern.q_norm = modern.k_norm = modern.sinks = true;
  modern.dtype = DType::kBF16;
  modern.window = 9;
  fused.fused = fused.bias = true;
  fused.layout = WeightLayout::kInOut;
  fused.dtype = DType::kF16;
  fused.has_output = false;
  fused.weight_layout = Layout::kPadded, fused.x_layout = Layout::kPadded;
  masked.mask = masked.alibi_slopes = masked.kv_lens = masked.key_mask = true;
  masked.weight_layout = Layout::kScattered, masked.x_layout = Layout::kBackwards;
  for (const LayerForm& form : {plain, modern, fused, masked}) {
    for (size_t seq : Sizes{1, 3, 17, 33}) {
      for (Placement placement : kAtGuardPages) {
        INFO(form << "; seq " << seq << ", " << NameOf(placement));
        const Place place(placement);
        LayerProblem problem(form, 2, seq);
        problem.give_positions = true;
        CHECK(problem.Fault() == "");
        Context context;
        problem.RunWithCache(seq / 2 + 1, context);
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
