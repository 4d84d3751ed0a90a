// softmax against the specification and against float64.
#include "heed/softmax.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Expected(Family family, const std::vector<float>& x, float scale, size_t n) {
  std::vector<float> y(x.size());
  WithSpec(family, [&](auto spec) {
    for (size_t row = 0; n > 0 && row < x.size() / n; ++row) {
      spec.Softmax(x.data() + row * n, y.data() + row * n, scale, n);
    }
  });
  return y;
}

// What is wrong with softmax of x on this runner, out of place and in place; empty: nothing.
std::string Fault(const Tensor<float>& x, Layout layout, float scale, Runner& runner) {
  const std::vector<float> want = Expected(runner.family, x.Dense(), scale, x.shape().back());
  SoftmaxOptions options;
  options.scale = scale;
  Tensor<float> y(x.shape(), layout);
  Status status = softmax(x.view(), y.mutable_view(), options, *runner.context);
  if (!status.ok()) return status.message();
  if (!y.GapsIntact()) return "wrote outside y";
  if (std::string fault = Difference(y.Dense(), want); !fault.empty()) return fault;

  Tensor<float> in_place(x.shape(), layout);
  in_place.Assign(x.Dense());
  status = softmax(in_place.view(), in_place.mutable_view(), options, *runner.context);
  if (!status.ok()) return std::string("in place: ") + status.message();
  if (!in_place.GapsIntact()) return "in place: wrote outside y";
  return Difference(in_place.Dense(), want);
}

TEST_CASE("softmax equals its specification bit for bit on every target, at every row length") {
  Random random(1);
  for (size_t n = 1; n <= 600; n += n < 70 ? 1 : 53) {
    if (Quick() && n > 20 && n % 5 != 2) continue;
    const Tensor<float> x = Normal({3, n}, random, Layout::kPadded, 4.0f);
    for (Runner& runner : Runners()) {
      if (!runner.first_of_target) continue;
      for (float scale : {1.0f, 0.125f, -1.7f}) {
        INFO("length " << n << ", scale " << scale << ", " << runner.name);
        CHECK(Fault(x, Layout::kContiguous, scale, runner) == "");
      }
    }
  }
}

// Where units of scores begin and end, and what is multiplied before.
TEST_CASE("softmax equals its specification bit for bit at the edges of the scale") {
  Random random(7);
  Tensor<float> x = Normal({5, 37}, random);
  x[3] = -kInf;
  x[37 + 5] = kNaN;
  x[2 * 37 + 36] = kInf;
  for (size_t j = 0; j < 37; ++j) x[3 * 37 + j] *= 1e30f;
  for (float size : {0.0f, 0x1p-149f, 1e-30f, 0x1.fffffep-61f, 0x1p-60f, 0x1p-59f, 1.0f, 0x1p59f,
                     0x1p60f, 0x1.000002p60f, 1e30f, 3e38f}) {
    for (float scale : {size, -size}) {
      for (Runner& runner : Runners()) {
        if (!runner.first_of_target) continue;
        INFO("scale " << scale << ", " << runner.name);
        CHECK(Fault(x, Layout::kContiguous, scale, runner) == "");
      }
    }
  }
}

TEST_CASE("softmax gives the same bits in every layout and with any number of threads") {
  Random random(2);
  const std::vector<std::vector<size_t>> shapes = {{1000}, {200, 300}, {3, 5, 129}, {2, 3, 4, 77}};
  for (const std::vector<size_t>& shape : shapes) {
    for (Layout layout : kUnitStrideLayouts) {
      const Tensor<float> x = Normal(shape, random, layout, 3.0f);
      for (Runner& runner : Runners()) {
        INFO("rank " << shape.size() << ", layout " << static_cast<int>(layout) << ", "
                     << runner.name);
        CHECK(Fault(x, layout, 0.5f, runner) == "");
      }
    }
  }
}

TEST_CASE("softmax gives -inf weight 0, a row of nothing but -inf zeros, and NaN or +inf NaN") {
  const size_t n = 37;
  Random random(3);
  Tensor<float> x = Normal({6, n}, random);
  for (size_t j = 0; j < n; ++j) {
    if (j % 3 == 0) x[0 * n + j] = -kInf;
    x[1 * n + j] = -kInf;
    x[5 * n + j] = j % 2 == 0 ? -3e38f : 3e38f;  // t - max overflows to -inf
  }
  x[2 * n + 36] = kNaN;
  x[3 * n + 0] = kInf;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    CHECK(Fault(x, Layout::kContiguous, 1.0f, runner) == "");
    Tensor<float> y({6, n});
    REQUIRE(softmax(x.view(), y.mutable_view(), {}, *runner.context).ok());
    for (size_t j = 0; j < n; ++j) {
      CHECK((y[j] == 0.0f) == (j % 3 == 0));
      CHECK(SameBits(y[1 * n + j], 0.0f));
      CHECK(std::isnan(y[2 * n + j]));
      CHECK(std::isnan(y[3 * n + j]));
      CHECK(std::isfinite(y[4 * n + j]));
      CHECK((y[5 * n + j] == 0.0f) == (j % 2 == 0));
    }
  }
}

TEST_CASE("softmax of rows of length 0, or of no rows, leaves everything alone") {
  for (Runner& runner : Runners()) {
    Tensor<float> x({4, 5}), y({4, 5});
    for (size_t dim : {size_t{0}, size_t{1}}) {
      CHECK(
          softmax(x.view().slice(dim, 2, 2), y.mutable_view().slice(dim, 2, 2), {}, *runner.context)
              .ok());
    }
    CHECK(y.AllUntouched());
  }
}

TEST_CASE("softmax of no element returns at once, however many rows there are") {
  float* none = nullptr;
  Context context;
  for (const MutableTensorView& y : {MutableTensorView(none, {SIZE_MAX >> 24, 0}),
                                     MutableTensorView(none, {SIZE_MAX >> 24, 0, 64}, {0, 0, 1})}) {
    CHECK(softmax(y, y, {}, context).ok());
  }
}

TEST_CASE("softmax is as close to float64 as a plain float loop, within a factor of two") {
  Random random(6);
  for (size_t n : {size_t{5}, size_t{64}, size_t{1000}, size_t{20000}}) {
    const Tensor<float> x = Normal({1, n}, random, Layout::kContiguous, 3.0f);
    float max = -kInf, sum = 0.0f;
    double exact_sum = 0.0;
    for (size_t j = 0; j < n; ++j) max = std::max(max, x[j]);
    std::vector<float> naive(n);
    std::vector<double> want(n);
    for (size_t j = 0; j < n; ++j) {
      sum += naive[j] = std::exp(x[j] - max);
      exact_sum += want[j] = std::exp(double{x[j]} - double{max});
    }
    for (float& e : naive) e /= sum;
    for (double& e : want) e /= exact_sum;
    // Twice the naive error, and never more than 4 ulp of the largest weight: a naive loop that
    // happens to round well at some length is no yardstick.
    const double allowed = std::max(2 * WorstError(naive, want), 4 * 0x1p-24 / exact_sum);
    for (Family family : Families()) {
      const std::vector<float> y = Expected(family, x.Dense(), 1.0f, n);
      CHECK(WorstError(y, want) <= allowed);
      double total = 0.0;
      for (float weight : y) total += double{weight};
      CHECK(std::fabs(total - 1.0) < 1e-6);
    }
  }
}

TEST_CASE("softmax's scale multiplies x, and adding a constant to x changes next to nothing") {
  Random random(7);
  const size_t n = 100;
  const Tensor<float> x = Normal({1, n}, random);
  Tensor<float> doubled({1, n}), shifted({1, n});
  for (size_t j = 0; j < n; ++j) {
    doubled[j] = 2.0f * x[j];
    shifted[j] = x[j] + 8.0f;
  }
  SoftmaxOptions twice;
  twice.scale = 2.0f;
  for (Runner& runner : Runners()) {
    Tensor<float> plain({1, n}), scaled({1, n}), of_doubled({1, n}), of_shifted({1, n});
    REQUIRE(softmax(x.view(), plain.mutable_view(), {}, *runner.context).ok());
    REQUIRE(softmax(x.view(), scaled.mutable_view(), twice, *runner.context).ok());
    REQUIRE(softmax(doubled.view(), of_doubled.mutable_view(), {}, *runner.context).ok());
    REQUIRE(softmax(shifted.view(), of_shifted.mutable_view(), {}, *runner.context).ok());
    CHECK(Difference(scaled.Dense(), of_doubled.Dense()) == "");
    CHECK(Difference(scaled.Dense(), plain.Dense()) != "");
    // x + 8 rounds by up to 2^-21, which moves a weight below 0.2 by less than 2^-22.
    for (size_t j = 0; j < n; ++j) CHECK(std::fabs(of_shifted[j] - plain[j]) < 0x1p-22f);
  }
}

}  // namespace
}  // namespace heed::test
