// heed's tanh, of the soft cap: within its bound over the floats that matter.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "test/support/contexts.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

double Ulps(float got, double exact) {
  const uint32_t exponent = std::bit_cast<uint32_t>(static_cast<float>(exact)) & 0x7F800000;
  return std::fabs(static_cast<double>(got) - exact) /
         (static_cast<double>(std::bit_cast<float>(exponent)) * 0x1p-23);
}

TEST_CASE("tanh is within 2 ulp of the exact value in both families") {
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
    CHECK(worst <= 2.0);
  }
}

}  // namespace
}  // namespace heed::test
