// Attention in Compute::kInt16 against the specification, in every size that kernels treat apart,
// and against float64 of the numbers that keys and values stand for.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "test/cases/attention_problem.h"
#include "test/cases/attention_reference.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/placements.h"
#include "test/support/refusal.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

AttentionCase CaseOf(const AttentionShape& shape, DType k, DType v, Source source) {
  AttentionCase c;
  c.shape = shape;
  c.source = source;
  c.k_dtype = k;
  c.v_dtype = v;
  c.int16 = true;
  c.causal = true;
  c.lse = true;
  return c;
}

// Groups of 1 to 8 rows and of more, channels beside panels, groups and chunks, several segments.
TEST_CASE("attention in int16 equals the specification bit for bit") {
  const AttentionShape shapes[] = {
      {1, 1, 300, 2, 2, 64, 64},  {1, 1, 257, 4, 1, 128, 128}, {2, 1, 130, 1, 1, 1, 1},
      {1, 1, 129, 3, 1, 33, 7},   {1, 1, 150, 2, 1, 7, 80},    {1, 1, 90, 1, 1, 300, 100},
      {1, 1, 33, 5, 1, 289, 48},  {1, 2, 31, 3, 1, 20, 130},   {1, 1, 1100, 1, 1, 16, 16},
      {1, 7, 140, 1, 1, 80, 33},  {1, 9, 140, 2, 2, 64, 300},  {1, 30, 150, 2, 1, 48, 64},
      {1, 64, 64, 1, 1, 128, 16},
  };
  const struct {
    DType k, v;
  } types[] = {{DType::kInt8, DType::kInt8}, {DType::kInt4, DType::kInt4},
               {DType::kInt8, DType::kInt4}, {DType::kInt4, DType::kInt8},
               {DType::kF32, DType::kInt8},  {DType::kInt4, DType::kF32}};
  for (const AttentionShape& shape : shapes) {
    for (const auto& [k, v] : types) {
      if (Quick() && k != v && shape.head_dim != 64) continue;
      for (const Source source : {Source::kCache, Source::kTensors}) {
        const AttentionCase c = CaseOf(shape, k, v, source);
        INFO(c);
        CHECK(AttentionProblem(c).Fault() == "");
      }
    }
  }
}

// A cache with keys and values of normal numbers.
struct Filled {
  Filled(const KvCacheConfig& config, size_t tokens, Context& context)
      : k({1, tokens, config.num_kv_heads, config.head_dim}),
        v({1, tokens, config.num_kv_heads, config.v_head_dim}) {
    Random random(tokens);
    k.FillNormal(random);
    v.FillNormal(random);
    Result<KvCache> made = KvCache::create(config);
    REQUIRE(std::string(made.status().message()) == "");
    cache = std::move(*made);
    Append(0, tokens, context);
  }
  void Append(size_t begin, size_t end, Context& context) {
    const TensorView keys = k.view().slice(1, begin, end);
    const Status status = cache->config().values_in_keys
                              ? cache->append(keys, context)
                              : cache->append(keys, v.view().slice(1, begin, end), context);
    REQUIRE(std::string(status.message()) == "");
  }
  Tensor<float> k, v;
  std::optional<KvCache> cache;
};

KvCacheConfig Config(DType k, DType v) {
  KvCacheConfig config;
  config.num_kv_heads = 2;
  config.head_dim = config.v_head_dim = 64;
  config.capacity = 400;
  config.k_dtype = k;
  config.v_dtype = v;
  return config;
}

TEST_CASE("attention in int16 has the same bits as a whole and token by token") {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (Runner& runner : Runners()) {
      INFO(name_of(dtype) << " " << runner.name);
      constexpr size_t kTokens = 170;
      Filled all(Config(dtype, dtype), kTokens, *runner.context);
      AttentionOptions options;
      options.causal = true;
      options.compute = Compute::kInt16;
      Random random(3);
      Tensor<float> q({1, kTokens, 4, 64}), whole({1, kTokens, 4, 64}), one({1, kTokens, 4, 64});
      q.FillNormal(random);
      RequireOk(attention(q.view(), *all.cache, whole.mutable_view(), options, *runner.context));
      RequireOk(all.cache->truncate(0));
      for (size_t i = 0; i < kTokens; ++i) {
        all.Append(i, i + 1, *runner.context);
        RequireOk(attention(q.view().slice(1, i, i + 1), *all.cache,
                            one.mutable_view().slice(1, i, i + 1), options, *runner.context));
      }
      CHECK(Difference(one.Dense(), whole.Dense()) == "");
    }
  }
}

// A cache's keys that are its values too, beside a cache that holds them twice.
TEST_CASE("values that lie in keys have the bits of values apart in int16") {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (Runner& runner : Runners()) {
      KvCacheConfig config = Config(dtype, dtype);
      Filled apart(config, 150, *runner.context);
      RequireOk(apart.cache->truncate(0));
      RequireOk(apart.cache->append(apart.k.view(), apart.k.view(), *runner.context));
      config.values_in_keys = true;
      config.v_dtype = DType::kF32;
      const Filled together(config, 150, *runner.context);
      AttentionOptions options;
      options.compute = Compute::kInt16;
      Random random(3);
      Tensor<float> q({1, 5, 6, 64}), want({1, 5, 6, 64}), got({1, 5, 6, 64});
      q.FillNormal(random);
      RequireOk(attention(q.view(), *apart.cache, want.mutable_view(), options, *runner.context));
      RequireOk(attention(q.view(), *together.cache, got.mutable_view(), options, *runner.context));
      INFO(name_of(dtype) << " " << runner.name);
      CHECK(Difference(got.Dense(), want.Dense()) == "");
    }
  }
}

// int8 tensors of one head, 16 channels, with scales to be spoiled.
struct Small {
  static constexpr size_t kKeys = 40, kDim = 16;
  Small() {
    for (size_t i = 0; i < kKeys * kDim; ++i) {
      k[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 255) - 127);
      v[i] = static_cast<int8_t>(static_cast<int>(i * 53 % 255) - 127);
    }
    for (size_t d = 0; d < kDim; ++d) q[d] = 0.1f * static_cast<float>(d) - 0.5f;
  }
  std::vector<float> Run(size_t seen, Context& context) {
    Tensor<float> out({1, 1, 1, kDim});
    std::vector<uint8_t> mask(kKeys, 0);
    std::fill_n(mask.begin(), seen, uint8_t{1});
    AttentionOptions o;
    o.compute = Compute::kInt16;
    o.k_scales = TensorView(k_scales.data(), {1, kKeys, 1});
    o.v_scales = TensorView(v_scales.data(), {1, kKeys, 1});
    o.key_mask = TensorView(mask.data(), {1, kKeys});
    RequireOk(attention(q.view(), TensorView(k.data(), {1, kKeys, 1, kDim}),
                        TensorView(v.data(), {1, kKeys, 1, kDim}), out.mutable_view(), o, context));
    return out.Dense();
  }
  Tensor<float> q{{1, 1, 1, kDim}};
  std::vector<int8_t> k = std::vector<int8_t>(kKeys * kDim), v = k;
  std::vector<float> k_scales = std::vector<float>(kKeys, 0.01f);
  std::vector<float> v_scales = std::vector<float>(kKeys, 0.02f);
};

TEST_CASE("in int16 a scale that is not finite makes NaN where it is seen, and nothing elsewhere") {
  for (Runner& runner : Runners()) {
    Small good, bad;
    const std::vector<float> want = good.Run(30, *runner.context);
    for (const float scale : {kNaN, kInf, -kInf}) {
      for (std::vector<float>* spoiled : {&bad.k_scales, &bad.v_scales}) {
        std::vector<float>& scales = *spoiled;
        INFO(runner.name << " " << scale
                         << (spoiled == &bad.k_scales ? " of a key" : " of a value"));
        const float before = scales[33];
        scales[33] = scale;
        CHECK(Difference(bad.Run(30, *runner.context), want) == "");
        const std::vector<float> seen = bad.Run(35, *runner.context);
        if (spoiled == &bad.v_scales || std::isnan(scale)) {
          CHECK(std::all_of(seen.begin(), seen.end(), [](float x) { return std::isnan(x); }));
        }
        scales[33] = before;
      }
    }
    bad.q[3] = kNaN;
    const std::vector<float> of_nan = bad.Run(30, *runner.context);
    CHECK(std::all_of(of_nan.begin(), of_nan.end(), [](float x) { return std::isnan(x); }));
  }
}

// What docs/numerics.md says of the error: e of a score, and of an output what scores and rounded
// weights make of it.
TEST_CASE("attention in int16 is as close to float64 as its rounding to int16 says") {
  double worst = 0.0, squares = 0.0, squares_of_out = 0.0;
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (const AttentionShape& shape :
         {AttentionShape{1, 4, 300, 2, 2, 64, 64}, AttentionShape{1, 1, 700, 4, 1, 128, 128}}) {
      const AttentionCase c = CaseOf(shape, dtype, dtype, Source::kCache);
      const AttentionProblem p(c);
      Context context;
      const AttentionAnswer got = p.Run(context);
      const ReferenceAnswer<double> want = Reference<double>(p);
      const std::vector<float> q = p.q.Dense(), k = p.k.Dense(), v = p.v.Dense();
      for (size_t h = 0; h < shape.num_heads; ++h) {
        for (size_t i = 0; i < shape.q_len; ++i) {
          const size_t token = i * shape.num_heads + h;
          const size_t kv_head = h / (shape.num_heads / shape.num_kv_heads);
          const float* row = &q[token * shape.head_dim];
          double most = 0.0, of_scores = 0.0, largest_v = 0.0;
          for (size_t d = 0; d < shape.head_dim; ++d)
            most = std::max(most, std::fabs(double{row[d]}));
          for (size_t j = 0; j < shape.kv_len; ++j) {
            double sum = 0.0;
            const size_t key = j * shape.num_kv_heads + kv_head;
            for (size_t d = 0; d < shape.head_dim; ++d) {
              sum += std::fabs(double{k[key * shape.head_dim + d]});
            }
            of_scores = std::max(of_scores, p.Scale() * 0.51 / 32767.0 * most * sum);
            for (size_t d = 0; d < shape.v_head_dim; ++d) {
              largest_v = std::max(largest_v, std::fabs(double{v[key * shape.v_head_dim + d]}));
            }
          }
          // A block's weights are off by 0.51 / 32767 of its largest, times a value: at most that
          // of all 128.
          const double* weight = &want.weights[(h * shape.q_len + i) * shape.kv_len];
          double of_weights = 0.0;
          for (size_t block = 0; block < shape.kv_len; block += kKeyBlock) {
            const size_t end = std::min(shape.kv_len, block + kKeyBlock);
            of_weights += 0.51 / 32767.0 * *std::max_element(weight + block, weight + end) *
                          static_cast<double>(end - block) * largest_v * 16.0;
          }
          const double bound = 2.0 * (std::exp(2.0 * of_scores) - 1.0) * largest_v + of_weights;
          for (size_t d = 0; d < shape.v_head_dim; ++d) {
            const size_t at = token * shape.v_head_dim + d;
            const double error = double{got.out[at]} - want.out[at];
            worst = std::max(worst, (std::fabs(error) - 1e-6) / bound);
            squares += error * error;
            squares_of_out += want.out[at] * want.out[at];
          }
        }
      }
    }
  }
  MESSAGE("error of int16 / output, RMS: ", std::sqrt(squares / squares_of_out));
  CHECK(worst < 1.0);
  CHECK(std::sqrt(squares / squares_of_out) < 1e-4);
}

TEST_CASE("int16 is refused by name where nothing is stored in integers") {
  Context context;
  const Filled f32(Config(DType::kF32, DType::kBF16), 20, context);
  const Filled int8(Config(DType::kInt8, DType::kBF16), 20, context);
  Tensor<float> q({1, 1, 2, 64}), out({1, 1, 2, 64});
  AttentionOptions options;
  options.compute = Compute::kInt16;
  CHECK(WrongRefusal(attention(q.view(), *f32.cache, out.mutable_view(), options, context),
                     StatusCode::kInvalidArgument, "compute") == "");
  CHECK(WrongRefusal(
            attention(q.view(), int8.k.view(), int8.v.view(), out.mutable_view(), options, context),
            StatusCode::kInvalidArgument, "compute") == "");
  options.compute = static_cast<Compute>(7);
  CHECK(WrongRefusal(attention(q.view(), *int8.cache, out.mutable_view(), options, context),
                     StatusCode::kInvalidArgument, "compute") == "");
  CHECK(out.AllUntouched());
}

}  // namespace
}  // namespace heed::test
