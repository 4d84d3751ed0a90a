// heed's tanh, of the soft cap: within its bound over the floats that matter.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "heed/attention.hpp"
#include "src/kernels/tanh_constants.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

double Ulps(float got, double exact) {
  const uint32_t exponent = std::bit_cast<uint32_t>(static_cast<float>(exact)) & 0x7F800000;
  return std::fabs(static_cast<double>(got) - exact) /
         (static_cast<double>(std::bit_cast<float>(exponent)) * 0x1p-23);
}

TEST_CASE("tanh is within 2.1 ulp of the exact value with fma and 2.4 ulp without") {
  // Below 2^-13 the result is x itself or its neighbour, above 9.1 it is 1.
  const auto first = std::bit_cast<uint32_t>(0x1p-14f), last = std::bit_cast<uint32_t>(9.2f);
  const uint32_t step = Exhaustive() ? 3 : 1009;
  for (Family family : Families()) {
    double worst = 0;
    WithSpec(family, [&](auto spec) {
      for (uint32_t bits = first; bits <= last; bits += step) {
        const float x = std::bit_cast<float>(bits);
        worst = std::max(worst, Ulps(spec.Tanh(x), std::tanh(double{x})));
      }
      CHECK(spec.Tanh(-0.5f) == -spec.Tanh(0.5f));
      CHECK(spec.Tanh(-3.0f) == -spec.Tanh(3.0f));
      CHECK(spec.Tanh(0.0f) == 0.0f);
      CHECK(spec.Tanh(1e-30f) == 1e-30f);
      CHECK(spec.Tanh(std::numeric_limits<float>::infinity()) == 1.0f);
      CHECK(spec.Tanh(-1e30f) == -1.0f);
      CHECK(std::isnan(spec.Tanh(std::numeric_limits<float>::quiet_NaN())));
    });
    MESSAGE("worst error " << worst << " ulp");
    CHECK(worst <= (family == Family::kFma ? 2.1 : 2.4));
  }
}

// The log-sum-exp of a single key is its score, here tanh(1 * x).
TEST_CASE("the kernels' tanh is the specification's, also where its two forms meet") {
  Tensor<float> q({1, 200, 1, 1}), one({1, 1, 1, 1}), out({1, 200, 1, 1}), lse({1, 1, 200});
  for (size_t i = 0; i < 200; ++i) {
    const auto steps = static_cast<int32_t>(i % 100) - 50;
    const uint32_t bits = std::bit_cast<uint32_t>(kTanhSmall) + static_cast<uint32_t>(steps);
    q[i] = std::copysign(std::bit_cast<float>(bits), i < 100 ? 1.0f : -1.0f);
  }
  one[0] = 1.0f;
  AttentionOptions options;
  options.logits_soft_cap = 1.0f;
  options.lse = lse.mutable_view();
  bool forms_differ = false;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const Status status =
        attention(q.view(), one.view(), one.view(), out.mutable_view(), options, *runner.context);
    REQUIRE(std::string(status.message()) == "");
    std::vector<float> want;
    WithSpec(runner.family, [&](auto spec) {
      for (float x : q.Dense()) want.push_back(spec.Tanh(x));
      const float e = spec.Exp2(kTanhExponent * kTanhSmall), x = kTanhSmall, square = x * x;
      float p = kTanhC4;
      for (float c : {kTanhC3, kTanhC2, kTanhC1, kTanhC0}) p = spec.Fma(p, square, c);
      forms_differ |= spec.Fma(x * square, p, x) != (1.0f - e) / (1.0f + e);
    });
    CHECK(Difference(lse.Dense(), want) == "");
  }
  CHECK(forms_differ);  // else the threshold would not be tested
}

}  // namespace
}  // namespace heed::test
