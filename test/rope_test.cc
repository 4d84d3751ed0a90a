// rope against the specification and against long double.
#include "heed/rope.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "test/spec/rope.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/layer_reference.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

struct RopeCase {
  size_t batch, seq, heads, head_dim;
  RopeOptions options;
};

RopeScaling Linear(double factor) {
  RopeScaling s;
  s.type = RopeScalingType::kLinear;
  s.factor = factor;
  return s;
}

RopeScaling Llama31() {  // as Llama 3.1 is published
  RopeScaling s;
  s.type = RopeScalingType::kLlama3;
  s.factor = 8.0;
  s.original_max_position_embeddings = 8192;
  return s;
}

RopeScaling GptOss() {  // as GPT-OSS is published
  RopeScaling s;
  s.type = RopeScalingType::kYarn;
  s.factor = 32.0;
  s.original_max_position_embeddings = 4096;
  s.truncate = false;
  return s;
}

std::vector<RopeScaling> Scalings() {
  RopeScaling whole = GptOss(), given = GptOss(), scales = GptOss(), narrow = GptOss();
  RopeScaling first = GptOss();
  whole.truncate = true;
  given.attention_factor = 1.25;
  scales.mscale = 1.0, scales.mscale_all_dim = 0.7;
  narrow.beta_fast = narrow.beta_slow = 3.0;  // a ramp of no width
  // Before the first pair, which the ramp of no width then begins and ends at: 652 turns of 2 pi
  // are 4096.6.
  first.beta_fast = 700.0, first.beta_slow = 652.0, first.truncate = true;
  return {Linear(8.0), Llama31(), GptOss(), whole, given, scales, narrow, first};
}

std::vector<RopeCase> Cases() {
  std::vector<RopeCase> cases;
  for (bool interleaved : {false, true}) {
    const size_t head_dims[] = {2, 6, 32, 34, 64, 80, 128};
    for (size_t head_dim : head_dims) {
      cases.push_back({2, 5, 3, head_dim, {0, 10000.0, interleaved}});
    }
    cases.push_back({1, 3, 2, 80, {32, 10000.0, interleaved}});
    cases.push_back({1, 3, 2, 7, {6, 500000.0, interleaved}});
    cases.push_back({1, 3, 2, 64, {2, 1e6, interleaved}});
    cases.push_back({1, 200, 4, 64, {0, 10.0, interleaved}});
    for (const RopeScaling& scaling : Scalings()) {
      cases.push_back({1, 9, 2, 64, {0, 500000.0, interleaved, scaling}});
      cases.push_back({1, 9, 2, 80, {20, 150000.0, interleaved, scaling}});
    }
  }
  return cases;
}

template <Family kFamily>
void RotateAll(const RopeCase& c, const std::vector<int32_t>& positions, std::vector<float>* x) {
  for (size_t row = 0; row < c.batch * c.seq * c.heads; ++row) {
    spec::Rope<kFamily>(x->data() + row * c.head_dim, positions[row / c.heads], c.head_dim,
                        c.options);
  }
}

std::vector<float> Expected(Family family, const RopeCase& c, std::vector<float> x,
                            const std::vector<int32_t>& positions) {
  if (family == Family::kFma) {
    RotateAll<Family::kFma>(c, positions, &x);
  } else {
    RotateAll<Family::kMultiplyAdd>(c, positions, &x);
  }
  return x;
}

// Positions near 0, near a million and near the end of the range.
int32_t SomePosition(Random& random) {
  const int32_t bases[] = {0, 1000000, 2147483000};
  return bases[random.Below(3)] + static_cast<int32_t>(random.Below(600));
}

TEST_CASE("rope equals its specification bit for bit: pairings, partial, in place, any layout") {
  Random random(1);
  for (const RopeCase& c : Cases()) {
    for (Layout layout : kUnitStrideLayouts) {
      Tensor<float> x = Normal({c.batch, c.seq, c.heads, c.head_dim}, random, layout);
      Tensor<int32_t> positions({c.batch, c.seq}, layout);
      for (size_t i = 0; i < positions.size(); ++i) positions[i] = SomePosition(random);
      for (Runner& runner : Runners()) {
        INFO("head_dim " << c.head_dim << ", rope_dim " << c.options.rope_dim << ", "
                         << runner.name);
        const std::vector<float> want = Expected(runner.family, c, x.Dense(), positions.Dense());
        Tensor<float> y(x.shape(), layout), in_place = x;
        REQUIRE(
            rope(x.view(), positions.view(), y.mutable_view(), c.options, *runner.context).ok());
        CHECK(Difference(y.Dense(), want) == "");
        CHECK(y.GapsIntact());
        REQUIRE(rope(in_place.view(), positions.view(), in_place.mutable_view(), c.options,
                     *runner.context)
                    .ok());
        CHECK(Difference(in_place.Dense(), want) == "");
        CHECK(in_place.GapsIntact());
      }
    }
  }
}

TEST_CASE("rope's positions may be shared by the batch, and the batch may be left out") {
  Random random(2);
  const RopeCase c = {2, 4, 2, 16, {}};
  const Tensor<float> x = Normal({2, 4, 2, 16}, random);
  Tensor<int32_t> positions({4});
  positions.Assign({3, 0, 100, 7});
  for (Runner& runner : Runners()) {
    Tensor<float> y({2, 4, 2, 16}), first({4, 2, 16});
    REQUIRE(rope(x.view(), positions.view(), y.mutable_view(), c.options, *runner.context).ok());
    CHECK(Difference(y.Dense(),
                     Expected(runner.family, c, x.Dense(), {3, 0, 100, 7, 3, 0, 100, 7})) == "");
    const TensorView rank3(&x[0], {4, 2, 16});
    REQUIRE(rope(rank3, positions.view(), first.mutable_view(), c.options, *runner.context).ok());
    std::vector<float> half = y.Dense();
    half.resize(first.size());
    CHECK(Difference(first.Dense(), half) == "");
  }
}

TEST_CASE("rope is within float rounding of long double at position 0, 1, a million and 2^31 - 1") {
  const size_t dim = 64;
  Random random(3);
  const Tensor<float> x = Normal({1, 1, dim}, random);
  for (int32_t position : {0, 1, 4096, 1000000, 2147483647}) {
    Tensor<int32_t> positions({1});
    positions[0] = position;
    for (Runner& runner : Runners()) {
      INFO("position " << position << ", " << runner.name);
      Tensor<float> y({1, 1, dim});
      REQUIRE(rope(x.view(), positions.view(), y.mutable_view(), {}, *runner.context).ok());
      for (size_t t = 0; t < dim / 2; ++t) {
        // The angle in double is the contract: near 2^31 its rounding alone moves the sine by up to
        // 2e-7.
        const double angle = position * std::pow(10000.0, -2.0 * static_cast<double>(t) / dim);
        const double a = double{x[t]}, b = double{x[t + dim / 2]};
        const double size = std::fabs(a) + std::fabs(b);
        const double allowed = size * (2e-7 + 3e-16 * angle);
        CHECK(std::fabs(a * std::cos(angle) - b * std::sin(angle) - double{y[t]}) <= allowed);
        CHECK(std::fabs(b * std::cos(angle) + a * std::sin(angle) - double{y[t + dim / 2]}) <=
              allowed);
      }
    }
  }
}

TEST_CASE(
    "rope at position 0 is the identity, and rope_dim, theta and interleaved change the answer") {
  Random random(4);
  const Tensor<float> x = Normal({3, 1, 8}, random);
  Tensor<int32_t> zeros({3}), positions({3});
  zeros.Assign({0, 0, 0});
  positions.Assign({1, 2, 3});
  for (Runner& runner : Runners()) {
    const auto run = [&](const RopeOptions& options, const Tensor<int32_t>& at) {
      Tensor<float> y({3, 1, 8});
      REQUIRE(rope(x.view(), at.view(), y.mutable_view(), options, *runner.context).ok());
      return y.Dense();
    };
    CHECK(run({}, zeros) == x.Dense());
    const std::vector<float> plain = run({}, positions);
    const std::vector<float> partial = run({4, 10000.0, false}, positions);
    for (size_t i = 0; i < 24; ++i) CHECK((partial[i] == x[i]) == (i % 8 >= 4));
    CHECK(run({0, 100.0, false}, positions) != plain);
    CHECK(run({0, 10000.0, true}, positions) != plain);
    CHECK(run({8, 10000.0, false}, positions) == plain);
  }
}

// `known` was computed apart, with Python's math, from the formulas in Hugging Face's order.
TEST_CASE("rope of no element returns at once, however many tokens there are") {
  float* none = nullptr;
  const int32_t position = 0;
  constexpr size_t kMany = SIZE_MAX >> 24;
  Context context;
  for (const MutableTensorView& y :
       {MutableTensorView(none, {kMany, 2, 0, 64}), MutableTensorView(none, {kMany, 2, 3, 0})}) {
    CHECK(rope(y, TensorView(&position, {2}, {0}), y, {}, context).ok());
    CHECK(rope(y, TensorView(&position, {kMany, 2}, {0, 0}), y, {}, context).ok());
    CHECK(WrongRefusal(rope(y, TensorView(&position, {kMany, 3}, {0, 0}), y, {}, context),
                       StatusCode::kInvalidArgument, "positions") == "");
  }
}

TEST_CASE("scaled frequencies are those of the formulas and of published models") {
  for (const RopeScaling& scaling : Scalings()) {
    for (size_t rope_dim : {size_t{20}, size_t{64}, size_t{128}}) {
      RopeOptions options;
      options.theta = 150000.0;
      options.scaling = scaling;
      const spec::RopeTable table = spec::MakeRopeTable(options, rope_dim);
      for (size_t t = 0; t < rope_dim / 2; ++t) {
        const double want = RopeFrequency(options, rope_dim, t);
        CHECK(std::fabs(table.frequency[t] - want) <= 1e-13 * want);
      }
      CHECK(std::fabs(table.factor - RopeFactor(scaling)) <= 1e-13 * table.factor);
    }
  }
  struct Known {
    double theta;
    size_t rope_dim;
    RopeScaling scaling;
    size_t pair;
    double frequency;
  };
  const Known known[] = {
      {500000.0, 128, Llama31(), 0, 1},
      {500000.0, 128, Llama31(), 10, 0.1286873734326505},
      {500000.0, 128, Llama31(), 29, 0.002166570763503359},
      {500000.0, 128, Llama31(), 30, 0.001371893567761138},
      {500000.0, 128, Llama31(), 32, 0.0005248461609929547},
      {500000.0, 128, Llama31(), 34, 0.0001785078127679964},
      {500000.0, 128, Llama31(), 35, 9.556212353964683e-05},
      {500000.0, 128, Llama31(), 63, 3.068925988914511e-07},
      {150000.0, 64, GptOss(), 0, 1},
      {150000.0, 64, GptOss(), 8, 0.05081327481546147},
      {150000.0, 64, GptOss(), 9, 0.03170569618466377},
      {150000.0, 64, GptOss(), 12, 0.006794959489732219},
      {150000.0, 64, GptOss(), 16, 0.0004564839192232409},
      {150000.0, 64, GptOss(), 17, 0.0001293187012450632},
      {150000.0, 64, GptOss(), 18, 3.830881237375338e-05},
      {150000.0, 64, GptOss(), 31, 3.023511428119214e-07},
  };
  for (const Known& k : known) {
    RopeOptions options;
    options.theta = k.theta;
    options.scaling = k.scaling;
    const double got = spec::MakeRopeTable(options, k.rope_dim).frequency[k.pair];
    INFO("pair " << k.pair);
    CHECK(std::fabs(got - k.frequency) <= 1e-12 * k.frequency);
  }
  CHECK(std::fabs(spec::MakeRopeTable({.scaling = GptOss()}, 64).factor - 1.346573590279973) <
        1e-14);
}

struct BadScaling {
  const char* argument;
  void (*spoil)(RopeOptions&);
};

const BadScaling kBadScalings[] = {
    {"factor", [](RopeOptions& o) { o.scaling.factor = 0.5; }},
    {"factor", [](RopeOptions& o) { o.scaling.factor = NAN; }},
    {"factor", [](RopeOptions& o) { o.scaling = Linear(0.0); }},
    {"original_max_position_embeddings",
     [](RopeOptions& o) { o.scaling.original_max_position_embeddings = 0; }},
    {"beta_slow", [](RopeOptions& o) { o.scaling.beta_slow = 0.0; }},
    {"beta_fast", [](RopeOptions& o) { o.scaling.beta_fast = 0.5; }},
    {"attention_factor", [](RopeOptions& o) { o.scaling.attention_factor = -1.0; }},
    {"mscale", [](RopeOptions& o) { o.scaling.mscale = INFINITY; }},
    {"mscale_all_dim", [](RopeOptions& o) { o.scaling.mscale_all_dim = -1.0; }},
    {"theta", [](RopeOptions& o) { o.theta = 1.0; }},
    {"low_freq_factor",
     [](RopeOptions& o) { o.scaling = Llama31(), o.scaling.low_freq_factor = 0.0; }},
    {"high_freq_factor",
     [](RopeOptions& o) { o.scaling = Llama31(), o.scaling.high_freq_factor = 1.0; }},
};

TEST_CASE("scalings that are not possible are refused by name") {
  Context context;
  Random random(5);
  const Tensor<float> x = Normal({1, 1, 8}, random);
  Tensor<int32_t> positions({1});
  positions[0] = 1;
  for (const BadScaling& bad : kBadScalings) {
    INFO(std::string(bad.argument));
    RopeOptions options;
    options.scaling = GptOss();
    bad.spoil(options);
    Tensor<float> y({1, 1, 8});
    const Status s = rope(x.view(), positions.view(), y.mutable_view(), options, context);
    CHECK(WrongRefusal(s, StatusCode::kInvalidArgument, bad.argument) == "");
    CHECK(y.AllUntouched());
  }
}

}  // namespace
}  // namespace heed::test
