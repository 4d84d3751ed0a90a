// That the specification of attention is right: float64 references and properties.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "heed/attention.hpp"
#include "heed/numerics.hpp"
#include "test/cases/attention_reference.h"
#include "test/support/compare.h"
#include "test/support/placements.h"
#include "test/support/run_cases.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_CASE("attention is as close to float64 as a plain float loop, within a factor of two") {
  const AttentionShape shapes[] = {{1, 20, 20, 1, 1, 16, 16},  {2, 30, 40, 4, 2, 64, 32},
                                   {1, 40, 10, 2, 1, 8, 8},    {1, 4, 2100, 2, 1, 80, 80},
                                   {1, 1, 5000, 1, 1, 300, 5}, {1, 130, 130, 2, 2, 7, 1}};
  for (const AttentionShape& shape : shapes) {
    for (float q_scale : {1.0f, 10.0f}) {
      for (bool mask : {false, true}) {
        AttentionCase settings;
        settings.causal = shape.q_len > 1;
        settings.lse = settings.weights = true;
        settings.dropout_mask = mask;
        settings.q_scale = q_scale;
        const AttentionProblem p(shape, settings);
        const ReferenceAnswer<double> want = Reference<double>(p);
        const ReferenceAnswer<float> naive = Reference<float>(p);
        for (Family family : Families()) {
          INFO(p.given << "; " << name_of(family));
          const AttentionAnswer got = p.Expected(family);
          // Twice what a naive float program loses, plus a few roundings of a value near 1.
          CHECK(WorstError(got.out, want.out) <= 2 * WorstError(naive.out, want.out) + 3e-7);
          CHECK(WorstError(got.lse, want.lse) <= 2 * WorstError(naive.lse, want.lse) + 1e-6);
          CHECK(WorstError(got.weights, want.weights) <=
                2 * WorstError(naive.weights, want.weights) + 1e-7);
        }
      }
    }
  }
}

TEST_CASE("the two families agree within the error of float") {
  if (Families().size() < 2) return SkipCase("this machine has one family only");
  const AttentionProblem p({1, 30, 300, 2, 1, 64, 64}, {.causal = true});
  const std::vector<float> other = p.Expected(Family::kMultiplyAdd).out;
  CHECK(WorstError(p.Expected(Family::kFma).out, {other.begin(), other.end()}) < 1e-6);
}

TEST_CASE(
    "the weights of a query sum to 1, hidden keys have weight 0, and weights times v is out") {
  const AttentionShape s = {1, 20, 1200, 2, 1, 16, 4};
  const AttentionProblem p(s, {.causal = true, .lse = true, .weights = true});
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const AttentionAnswer a = p.Run(*runner.context);
    for (size_t row = 0; row < 2 * s.q_len; ++row) {
      const size_t h = row / s.q_len, i = row % s.q_len;
      double sum = 0.0, out[4] = {};
      for (size_t j = 0; j < s.kv_len; ++j) {
        const float weight = a.weights[row * s.kv_len + j];
        if (j > i + s.kv_len - s.q_len) REQUIRE(SameBits(weight, 0.0f));
        sum += double{weight};
        for (size_t d = 0; d < 4; ++d) out[d] += double{weight} * double{p.v[j * 4 + d]};
      }
      CHECK(std::fabs(sum - 1.0) < 1e-6);
      for (size_t d = 0; d < 4; ++d) {
        CHECK(std::fabs(out[d] - double{a.out[(i * 2 + h) * 4 + d]}) < 1e-6);
      }
    }
  }
}

TEST_CASE("the weights of a query sum to 1 where a mask moves all its scores far away") {
  constexpr size_t kQueries = 3;
  for (size_t dim : {size_t{64}, size_t{96}, size_t{128}}) {
    for (size_t kv_len : {size_t{100}, size_t{2500}}) {
      Tensor<float> q({1, kQueries, 1, dim}), k({1, kv_len, 1, dim}), v({1, kv_len, 1, 1});
      Tensor<float> out({1, kQueries, 1, 1}), weights({1, 1, kQueries, kv_len});
      Random random(7);
      for (Tensor<float>* x : {&q, &k, &v}) {
        for (size_t n = 0; n < x->size(); ++n) (*x)[n] = random.Normal();
      }
      for (float moved : {-1e4f, 1e4f, -1e9f, std::numeric_limits<float>::lowest()}) {
        AttentionOptions options;
        options.mask = TensorView(&moved, {1, kQueries, kv_len}, {0, 0, 0});
        options.weights = weights.mutable_view();
        for (Runner& runner : Runners()) {
          INFO(runner.name << ", D " << dim << ", " << kv_len << " keys, " << moved);
          RequireOk(attention(q.view(), k.view(), v.view(), out.mutable_view(), options,
                              *runner.context));
          const std::vector<float> dense = weights.Dense();
          for (size_t i = 0; i < kQueries; ++i) {
            double sum = 0.0;
            for (size_t j = 0; j < kv_len; ++j) sum += double{dense[i * kv_len + j]};
            // Segments are joined by maxima that were rounded in base 2.
            CHECK(std::fabs(sum - 1.0) < (kv_len > kSegmentKeys ? 2e-3 : 1e-5));
          }
        }
      }
    }
  }
}

TEST_CASE("adding the same vector to every key hardly changes anything but lse") {
  AttentionProblem p({1, 9, 70, 1, 1, 16, 16}, {.lse = true});
  AttentionProblem shifted = p;
  for (size_t i = 0; i < p.k.size(); ++i) shifted.k[i] = p.k[i] + 0.5f;
  for (Runner& runner : Runners()) {
    const AttentionAnswer a = p.Run(*runner.context), b = shifted.Run(*runner.context);
    CHECK(WorstError(b.out, {a.out.begin(), a.out.end()}) < 1e-6);
    CHECK(WorstError(b.lse, {a.lse.begin(), a.lse.end()}) > 1e-2);
  }
}

TEST_CASE("editing a future key or value changes no earlier query by a bit") {
  const size_t len = 200, edited = 131;
  const AttentionProblem p({1, len, len, 2, 2, 16, 16}, {.causal = true});
  AttentionProblem changed = p;
  for (size_t i = edited * 32; i < (edited + 1) * 32; ++i) changed.k[i] = changed.v[i] = 7.0f;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    std::vector<float> a = p.Run(*runner.context).out, b = changed.Run(*runner.context).out;
    CHECK(Difference(a, b) != "");
    a.resize(edited * 32), b.resize(edited * 32);
    CHECK(Difference(a, b) == "");
  }
}

TEST_CASE("two halves of the keys, merged by their lse, are the whole") {
  const AttentionProblem p({1, 5, 300, 1, 1, 16, 16}, {.lse = true});
  const AttentionAnswer whole = p.Expected(Families()[0]);
  for (Runner& runner : Runners()) {
    Tensor<float> out0({1, 5, 1, 16}), out1({1, 5, 1, 16}), lse0({1, 1, 5}), lse1({1, 1, 5});
    const auto half = [&](size_t begin, size_t end, Tensor<float>& out, Tensor<float>& lse) {
      AttentionOptions options;
      options.lse = lse.mutable_view();
      REQUIRE(attention(p.q.view(), p.k.view().slice(1, begin, end),
                        p.v.view().slice(1, begin, end), out.mutable_view(), options,
                        *runner.context)
                  .ok());
    };
    half(0, 100, out0, lse0);
    half(100, 300, out1, lse1);
    for (size_t i = 0; i < 5; ++i) {
      const double w0 = std::exp(double{lse0[i]}), w1 = std::exp(double{lse1[i]});
      CHECK(std::fabs(std::log(w0 + w1) - double{whole.lse[i]}) < 1e-6);
      for (size_t d = 0; d < 16; ++d) {
        const double merged =
            (w0 * double{out0[i * 16 + d]} + w1 * double{out1[i * 16 + d]}) / (w0 + w1);
        CHECK(std::fabs(merged - double{whole.out[i * 16 + d]}) < 1e-6);
      }
    }
  }
}

TEST_CASE("without keys, or with none that may be seen, out is zeros and lse -inf") {
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const AttentionProblem none({1, 3, 0, 2, 1, 8, 8}, {.lse = true});
    const AttentionAnswer a = none.Run(*runner.context);
    CHECK(Difference(a.out, std::vector<float>(3 * 2 * 8, 0.0f)) == "");
    CHECK(Difference(a.lse, std::vector<float>(3 * 2, -kInf)) == "");

    const AttentionProblem few({1, 3, 2, 1, 1, 8, 8}, {.causal = true, .lse = true});
    const AttentionAnswer b = few.Run(*runner.context);
    CHECK(b.lse[0] == -kInf);
    CHECK(std::isfinite(b.lse[1]));
    for (size_t d = 0; d < 8; ++d) {
      CHECK(SameBits(b.out[d], 0.0f));
      CHECK(SameBits(b.out[8 + d], few.v[d]));  // sees one key only
    }
  }
}

TEST_CASE("scale multiplies the scores, and defaults to 1 / sqrt(head_dim)") {
  AttentionProblem p({1, 6, 50, 1, 1, 64, 8}, {});
  AttentionProblem stated = p, doubled = p, zero = p;
  stated.given.scale = 0.125f;
  doubled.given.scale = 0.0625f;
  for (size_t i = 0; i < doubled.q.size(); ++i) doubled.q[i] *= 2.0f;
  zero.given.scale = 0.0f;
  zero.given.weights = true;
  for (Runner& runner : Runners()) {
    const AttentionAnswer want = p.Run(*runner.context);
    CHECK(Difference(stated.Run(*runner.context), want) == "");
    CHECK(Difference(doubled.Run(*runner.context), want) == "");
    CHECK(Difference(zero.Run(*runner.context).out, want.out) != "");
    for (float weight : zero.Run(*runner.context).weights) CHECK(SameBits(weight, 1.0f / 50));
  }
}

TEST_CASE("causal changes every query but the last, and query head h reads kv head h / group") {
  const AttentionProblem full({1, 10, 10, 4, 2, 8, 8}, {});
  AttentionProblem causal = full, spread = full;
  causal.given.causal = true;
  spread.given.shape.num_kv_heads = 4;
  spread.k = Tensor<float>({1, 10, 4, 8});
  spread.v = Tensor<float>({1, 10, 4, 8});
  for (size_t i = 0; i < spread.k.size(); ++i) {
    const size_t d = i % 8, h = i / 8 % 4, j = i / 32;
    spread.k[i] = full.k[(j * 2 + h / 2) * 8 + d];
    spread.v[i] = full.v[(j * 2 + h / 2) * 8 + d];
  }
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const std::vector<float> a = full.Run(*runner.context).out;
    const std::vector<float> b = causal.Run(*runner.context).out;
    for (size_t i = 0; i < a.size(); ++i) CHECK(SameBits(a[i], b[i]) == (i / 32 == 9));
    CHECK(Difference(spread.Run(*runner.context).out, a) == "");
  }
}

}  // namespace
}  // namespace heed::test
