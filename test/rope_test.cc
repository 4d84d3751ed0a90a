// rope against the specification and against long double.
#include "heed/rope.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/tensor.h"

namespace heed::test {
namespace {

struct RopeCase {
  size_t batch, seq, heads, head_dim;
  RopeOptions options;
};

size_t RotatedChannels(const RopeCase& c) {
  return c.options.rope_dim == 0 ? c.head_dim : c.options.rope_dim;
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
  }
  return cases;
}

std::vector<float> Expected(Family family, const RopeCase& c, std::vector<float> x,
                            const std::vector<int32_t>& positions) {
  WithSpec(family, [&](auto spec) {
    for (size_t token = 0; token < c.batch * c.seq; ++token) {
      for (size_t head = 0; head < c.heads; ++head) {
        spec.Rope(x.data() + (token * c.heads + head) * c.head_dim, positions[token],
                  RotatedChannels(c), c.options.theta, c.options.interleaved);
      }
    }
  });
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

}  // namespace
}  // namespace heed::test
