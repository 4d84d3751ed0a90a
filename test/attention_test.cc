// attention against the specification, bit for bit, on every target and with any number of threads.
#include "heed/attention.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/numerics.hpp"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

void CheckProblem(const AttentionShape& shape, const AttentionCase& settings) {
  const AttentionProblem p(shape, settings);
  INFO(p.given);
  CHECK(p.Fault() == "");
}

TEST_CASE("attention equals its specification bit for bit at every head_dim") {
  std::vector<size_t> dims = {1, 7, 16, 33, 64, 80, 128, 300};
  if (Quick()) dims = {1, 7, 33, 64, 300};
  for (size_t dim : dims) {
    for (bool causal : {false, true}) {
      AttentionCase settings;
      settings.causal = causal;
      settings.lse = settings.weights = true;
      CheckProblem({1, 37, 141, 2, 1, dim, dim}, settings);
      CheckProblem({1, 1, 300, 1, 1, dim, dim}, settings);
      CheckProblem({1, 3, 130, 1, 1, dim, 20}, settings);
      CheckProblem({1, 3, 130, 1, 1, 20, dim}, settings);
    }
  }
}

TEST_CASE("attention equals its specification bit for bit at every q_len and kv_len") {
  std::vector<size_t> q_lens = {0, 1, 5, 127, 128, 129},
                      kv_lens = {0, 1, 5, 127, 128, 129, 1023, 1024, 1025, 2100};
  if (Quick()) q_lens = {0, 1, 5, 129}, kv_lens = {0, 1, 127, 129, 1025, 2100};
  for (size_t q_len : q_lens) {
    for (size_t kv_len : kv_lens) {
      for (bool causal : {false, true}) {
        AttentionCase settings;
        settings.causal = causal;
        settings.lse = true;
        settings.weights = q_len * kv_len < 50000;
        CheckProblem({1, q_len, kv_len, 2, 2, 8, 8}, settings);
      }
    }
  }
}

TEST_CASE("attention equals its specification bit for bit on long prefills") {
  if (Quick()) {
    CheckProblem({1, 1030, 1030, 1, 1, 4, 4}, {.causal = true, .lse = true});
    return;
  }
  for (size_t q_len : {size_t{1023}, size_t{1024}, size_t{1025}, size_t{2100}}) {
    for (size_t kv_len : {size_t{1}, size_t{129}, size_t{1025}, size_t{2100}}) {
      CheckProblem({1, q_len, kv_len, 1, 1, 8, 8}, {.causal = true, .lse = true});
    }
  }
  CheckProblem({1, 1025, 2100, 1, 1, 8, 16}, {.lse = true});
}

TEST_CASE("attention equals its specification bit for bit with shared key and value heads") {
  struct Heads {
    size_t num_heads, num_kv_heads;
  };
  for (const Heads& heads : {Heads{4, 4}, Heads{6, 2}, Heads{8, 1}, Heads{12, 3}, Heads{7, 1}}) {
    for (size_t q_len : {size_t{1}, size_t{2}, size_t{40}}) {
      for (size_t kv_len : {size_t{200}, size_t{1100}}) {
        if (Quick() && q_len * kv_len > 5000) continue;
        AttentionCase settings;
        settings.causal = true;
        settings.lse = true;
        CheckProblem({2, q_len, kv_len, heads.num_heads, heads.num_kv_heads, 24, 24}, settings);
      }
    }
  }
}

// Decode and its kin: from one row to more than are read in streams, and panels that do not come in
// fours; rows that see the same keys, and rows that don't.
TEST_CASE("attention equals its specification bit for bit with few rows") {
  struct Dims {
    size_t k, v;
  };
  const Dims all_dims[] = {{1, 300}, {15, 16}, {16, 80},  {17, 1},    {64, 64},
                           {80, 17}, {96, 96}, {33, 256}, {128, 128}, {300, 15}};
  const size_t kv_lens[] = {1, 16, 17, 65, 127, 128, 129, 200, 300};
  const Source sources[] = {Source::kCache, Source::kTensors, Source::kRing, Source::kPages};
  size_t n = 0;
  for (size_t rows = 1; rows <= 9; ++rows) {
    for (const Dims& dims : all_dims) {
      ++n;
      if (Quick() && n % 3 != 0) continue;
      AttentionCase settings;
      settings.causal = true;
      settings.lse = true;
      settings.source = sources[n % std::size(sources)];
      if (settings.source == Source::kRing) settings.window = 100;
      const size_t kv_len = kv_lens[n % std::size(kv_lens)];
      CheckProblem({1, 1, kv_len, rows, 1, dims.k, dims.v}, settings);
      if (kv_len >= rows) CheckProblem({1, rows, kv_len, 1, 1, dims.k, dims.v}, settings);
    }
  }
}

TEST_CASE(
    "attention equals its specification bit for bit with few rows and every change of a score") {
  for (size_t rows : {1u, 2u, 4u, 7u}) {
    AttentionCase settings;
    settings.source = Source::kCache;
    settings.causal = settings.lse = settings.alibi = settings.sinks = settings.kv_lens = true;
    settings.soft_cap = 5.0f;
    settings.dropout = 0.3f;
    CheckProblem({2, 1, 300, 2 * rows, 2, 40, 48}, settings);
    settings.window = 150;
    CheckProblem({2, 1, 300, 2 * rows, 2, 40, 48}, settings);
    settings.key_mask = true;
    CheckProblem({2, 1, 300, 2 * rows, 2, 40, 48}, settings);
    settings.mask = MaskType::kAdditive;
    settings.key_mask = settings.kv_lens = false;
    CheckProblem({2, 1, 1100, 2 * rows, 2, 8, 16}, settings);
  }
}

TEST_CASE("attention equals its specification bit for bit at the shapes of latent attention") {
  CheckProblem({1, 1, 150, 16, 1, 576, 512}, {.causal = true, .lse = true});
  if (!Quick()) CheckProblem({1, 5, 150, 4, 1, 576, 512}, {.causal = true, .lse = true});
}

// One row is then more than a task's share of the cache.
TEST_CASE("attention equals its specification bit for bit at a head_dim without end") {
  // 24 rows of it are more than a thread's stack.
  CheckProblem({1, 2, 3, 1, 1, 100000, 2}, {.lse = true});
  CheckProblem({1, 2, 3, 1, 1, 2, 100000}, {.lse = true});
}

TEST_CASE("cross-attention reads an encoder's keys that a cache keeps between calls") {
  const AttentionProblem p({2, 6, 333, 4, 2, 16, 24}, {.lse = true});
  auto cache = KvCache::create(
      {.batch = 2, .num_kv_heads = 2, .head_dim = 16, .v_head_dim = 24, .capacity = 333});
  REQUIRE(cache.ok());
  Context context;
  REQUIRE(cache->append(p.k.view(), p.v.view(), context).ok());
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> out({2, 6, 4, 24});
    for (size_t i = 0; i < 6; i += 2) {  // the decoder's tokens come in several calls
      REQUIRE(attention(p.q.view().slice(1, i, i + 2), *cache,
                        out.mutable_view().slice(1, i, i + 2), {}, *runner.context)
                  .ok());
    }
    CHECK(Difference(out.Dense(), p.Run(*runner.context).out) == "");
  }
}

TEST_CASE("attention equals its specification bit for bit in every memory layout") {
  for (Layout layout : kAllLayouts) {
    for (Layout out_layout : kUnitStrideLayouts) {
      AttentionCase settings;
      settings.causal = true;
      settings.lse = settings.weights = true;
      settings.layout = layout;
      settings.out_layout = out_layout;
      if (Quick() && out_layout != Layout::kPadded && out_layout != layout) continue;
      CheckProblem({2, 1, 150, 4, 2, 33, 17}, settings);
      CheckProblem({2, 51, 150, 4, 2, 33, 17}, settings);
    }
  }
}

TEST_CASE("attention equals its specification bit for bit where scores are large") {
  for (float q_scale : {8.0f, 30.0f, 1000.0f}) {
    for (size_t q_len : {size_t{1}, Quick() ? size_t{9} : size_t{60}}) {
      AttentionCase settings;
      settings.lse = settings.weights = true;
      settings.q_scale = q_scale;
      CheckProblem({1, q_len, 1500, 1, 1, 16, 16}, settings);
      settings.scale = -0.37f;
      settings.causal = true;
      CheckProblem({1, q_len, 1500, 1, 1, 16, 16}, settings);
    }
  }
}

TEST_CASE("attention equals its specification bit for bit at the edges of scale and soft cap") {
  for (float size :
       {0.0f, 1e-30f, 0x1.fffffep-61f, 0x1p-60f, 1.0f, 0x1p60f, 0x1.000002p60f, 1e30f}) {
    for (float scale : {size, -size}) {
      for (float soft_cap : {0.0f, 0x1p-60f, 30.0f, 0x1p60f}) {
        AttentionCase settings;
        settings.lse = settings.weights = settings.alibi = true;
        settings.scale = scale;
        settings.soft_cap = soft_cap;
        settings.mask = MaskType::kAdditive;
        CheckProblem({1, 7, 150, 2, 1, 16, 16}, settings);
        if (soft_cap == 30.0f) CheckProblem({1, 1, 1100, 2, 1, 16, 16}, settings);
      }
    }
  }
}

TEST_CASE("attention with dropout equals its specification bit for bit, mask or generator") {
  for (bool mask : {false, true}) {
    for (size_t q_len : {size_t{1}, size_t{50}}) {
      for (size_t kv_len : {size_t{45}, size_t{150}, size_t{1100}}) {
        AttentionCase settings;
        settings.causal = true;
        settings.lse = settings.weights = true;
        settings.dropout_mask = mask;
        if (!mask) settings.dropout = 0.3f;
        settings.seed = 0x123456789ABCDEF0u;
        if (Quick() && q_len * kv_len > 20000) continue;
        CheckProblem({2, q_len, kv_len, 2, 1, 16, 24}, settings);
        settings.layout = Layout::kLastFirst;
        settings.causal = false;
        CheckProblem({2, q_len, kv_len, 2, 1, 16, 24}, settings);
      }
    }
  }
}

TEST_CASE("a dropout mask may be shared by heads and queries through strides of 0") {
  AttentionProblem p({2, 9, 40, 4, 2, 16, 16}, {.causal = true, .dropout_mask = true});
  AttentionProblem shared = p;
  for (size_t i = 0; i < p.dropout_mask.size(); ++i)
    p.dropout_mask[i] = shared.dropout_mask[i % 40];
  AttentionOptions options;
  options.causal = true;
  options.dropout.mask = TensorView(&shared.dropout_mask[0], {2, 4, 9, 40}, {0, 0, 0, 1});
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> out({2, 9, 4, 16});
    REQUIRE(
        attention(p.q.view(), p.k.view(), p.v.view(), out.mutable_view(), options, *runner.context)
            .ok());
    CHECK(Difference(out.Dense(), p.Run(*runner.context).out) == "");
  }
}

TEST_CASE("rank 3 tensors are a batch of one") {
  const AttentionProblem p({1, 20, 30, 4, 2, 16, 8}, {.causal = true});
  const auto drop_batch = [](const TensorView& t) {
    return TensorView(t.data, t.dtype, t.shape + 1, 3, t.strides + 1, 3);
  };
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> out({20, 4, 8});
    AttentionOptions options;
    options.causal = true;
    REQUIRE(attention(drop_batch(p.q.view()), drop_batch(p.k.view()), drop_batch(p.v.view()),
                      out.mutable_view(), options, *runner.context)
                .ok());
    CHECK(Difference(out.Dense(), p.Run(*runner.context).out) == "");
  }
}

TEST_CASE("NaN and inf in hidden keys and values never leak") {
  for (size_t kv_len : {size_t{70}, size_t{300}, size_t{1200}}) {
    for (size_t q_len : {size_t{2}, size_t{60}}) {
      if (Quick() && q_len * kv_len > 20000) continue;
      AttentionProblem p({1, q_len, kv_len, 2, 1, 20, 20},
                         {.causal = true, .lse = true, .weights = true});
      const AttentionProblem clean = p;
      for (size_t i = 0; i < 20; ++i) {  // the last key, which only the last query sees
        p.k[(kv_len - 1) * 20 + i] = std::numeric_limits<float>::quiet_NaN();
        p.v[(kv_len - 1) * 20 + i] = std::numeric_limits<float>::infinity();
      }
      INFO(p.given.shape);
      CHECK(p.Fault() == "");
      for (Runner& runner : Runners()) {
        const AttentionAnswer got = p.Run(*runner.context), want = clean.Run(*runner.context);
        for (size_t i = 0; i + 1 < q_len; ++i) {
          for (size_t d = 0; d < 2 * 20; ++d) {
            REQUIRE(SameBits(got.out[i * 40 + d], want.out[i * 40 + d]));
          }
        }
        CHECK(std::isnan(got.out[(q_len - 1) * 40]));
      }
    }
  }
}

TEST_CASE("NaN and inf that are seen arrive as the specification says") {
  for (size_t q_len : {size_t{1}, size_t{30}}) {
    AttentionProblem p({1, q_len, 1300, 1, 1, 12, 12}, {.lse = true, .weights = true});
    p.v[200 * 12 + 3] = std::numeric_limits<float>::quiet_NaN();
    p.v[1100 * 12 + 4] = -std::numeric_limits<float>::infinity();
    CHECK(p.Fault() == "");
    p.k[700 * 12 + 5] = std::numeric_limits<float>::infinity();
    CHECK(p.Fault() == "");
    p.k[90 * 12] = std::numeric_limits<float>::quiet_NaN();
    CHECK(p.Fault() == "");
  }
}

TEST_CASE("keys whose scores are all -inf give zeros, not NaN") {
  for (size_t q_len : {size_t{3}, size_t{40}}) {  // segments apart, and one after the other
    AttentionProblem p({1, q_len, 1200, 1, 1, 4, 4}, {.lse = true, .weights = true});
    for (size_t i = 0; i < p.q.size(); ++i) p.q[i] = i == 2 ? 1.0f : 3e38f;
    for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = -3e38f;
    for (size_t i = 600 * 4; i < 610 * 4; ++i) p.k[i] = 0.0f;  // for some blocks only
    CHECK(p.Fault() == "");
    for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = -3e38f;
    CHECK(p.Fault() == "");
    p.v[1] = std::numeric_limits<float>::infinity();  // 0 times them is NaN, in a sum of 0
    p.v[4] = std::numeric_limits<float>::quiet_NaN();
    CHECK(p.Fault() == "");
    const AttentionAnswer answer = p.Run(*Runners()[0].context);
    CHECK(answer.out[0] == 0.0f);
    CHECK(answer.out[1] == 0.0f);
    CHECK(answer.lse[0] == -std::numeric_limits<float>::infinity());
    for (size_t i = 1100 * 4; i < 1200 * 4; ++i) p.k[i] = 0.0f;  // a segment that begins again
    CHECK(p.Fault() == "");
  }
}

// exp(-inf) is 0, and 0 times a value that is inf is NaN: such a segment must add nothing at all,
// alone, before and after others, in rows whose segments are computed apart and in rows that walk
// through them.
TEST_CASE("a segment whose scores are all -inf adds nothing, whatever its values are") {
  const float inf = std::numeric_limits<float>::infinity();
  for (size_t q_len : {size_t{1}, size_t{3}, size_t{40}}) {
    for (size_t segments = 1; segments <= 3; ++segments) {
      const size_t kv_len = segments * kSegmentKeys - 30;
      for (size_t silent = 1; silent < size_t{1} << segments; ++silent) {  // a bit for each
        AttentionProblem p({1, q_len, kv_len, 2, 1, 4, 20}, {.lse = true, .weights = true});
        for (size_t i = 0; i < p.q.size(); ++i) p.q[i] = 0.5f + std::fabs(p.q[i]);
        for (size_t j = 0; j < kv_len; ++j) {
          if ((silent >> (j / kSegmentKeys) & 1) == 0) continue;
          p.k[j * 4] = -inf;
          p.v[j * 20 + j % 20] = j % 2 == 0 ? inf : std::numeric_limits<float>::quiet_NaN();
        }
        INFO(p.given.shape << ", segments " << silent << " silent");
        CHECK(p.Fault() == "");
        const AttentionAnswer answer = p.Run(*Runners()[0].context);
        const bool all = silent + 1 == size_t{1} << segments;
        CHECK(std::all_of(answer.out.begin(), answer.out.end(),
                          [&](float x) { return all ? x == 0.0f : std::isfinite(x); }));
        CHECK(std::all_of(answer.lse.begin(), answer.lse.end(),
                          [&](float x) { return all ? x == -inf : std::isfinite(x); }));
      }
    }
  }
}

TEST_CASE("a sequence alone, in a batch, whole or in chunks of queries gives the same bits") {
  for (size_t len : {size_t{150}, size_t{1100}}) {
    if (Quick() && len > 150) continue;
    const AttentionProblem p({3, len, len, 2, 1, 16, 16}, {.causal = true});
    AttentionOptions options;
    options.causal = true;
    for (Runner& runner : Runners()) {
      if (Quick() && !runner.first_of_target) continue;
      INFO("length " << len << ", " << runner.name);
      Tensor<float> pieces({3, len, 2, 16});
      for (size_t b = 0; b < 3; ++b) {
        const auto alone = [b](const auto& t) { return t.slice(0, b, b + 1); };
        const size_t ends[] = {0, 1, 2, 50, 128, len};
        for (size_t c = 0; c + 1 < std::size(ends); ++c) {
          const size_t begin = ends[c], end = ends[c + 1];
          REQUIRE(attention(alone(p.q.view()).slice(1, begin, end),
                            alone(p.k.view()).slice(1, 0, end), alone(p.v.view()).slice(1, 0, end),
                            alone(pieces.mutable_view()).slice(1, begin, end), options,
                            *runner.context)
                      .ok());
        }
      }
      CHECK(Difference(pieces.Dense(), p.Run(*runner.context).out) == "");
    }
  }
}

}  // namespace
}  // namespace heed::test
