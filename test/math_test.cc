// The library's own log, pow, sine and cosine within the bounds of src/math.h.
#include "src/base/math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "test/support/mode.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

// long double has 64 bits or more where tests run; its libm is taken as exact.
using Exact = long double;

size_t Samples() { return Quick() ? 20000 : 2000000; }

double UlpOf(double x) {
  return std::nextafter(std::fabs(x), std::numeric_limits<double>::infinity()) - std::fabs(x);
}

TEST_CASE("Log is within 2 ulp, for sums of softmax and over all of double") {
  Random random(1);
  double worst = 0.0;
  for (size_t i = 0; i < Samples(); ++i) {
    double x = 1.0 + random.Uniform();  // then sums up to a million, then any size
    if (i % 3 == 1) x = 1.0 + 1e6 * random.Uniform() * random.Uniform();
    if (i % 3 == 2) x = std::ldexp(x, static_cast<int>(random.Below(2000)) - 1000);
    const Exact exact = std::log(static_cast<Exact>(x));
    const double error = static_cast<double>(std::fabs(static_cast<Exact>(Log(x)) - exact)) /
                         UlpOf(static_cast<double>(exact));
    worst = std::max(worst, error);
  }
  MESSAGE("Log: worst error ", worst, " ulp");
  CHECK(worst <= 2.0);
  CHECK(Log(1.0) == 0.0);
}

TEST_CASE("Pow is within 1e-14 of the frequencies of RoPE") {
  Random random(2);
  double worst = 0.0;
  for (size_t i = 0; i < Samples() / 4; ++i) {
    const double base = std::exp(20.0 * random.Uniform());  // 1 to 5e8
    const double exponent = -random.Uniform();
    const Exact exact = std::pow(static_cast<Exact>(base), static_cast<Exact>(exponent));
    worst = std::max(
        worst,
        static_cast<double>(std::fabs(static_cast<Exact>(Pow(base, exponent)) - exact) / exact));
  }
  MESSAGE("Pow: worst relative error ", worst);
  CHECK(worst <= 1e-14);
  for (double base : {0.5, 1.0, 10000.0, 1e30}) {
    CHECK(Pow(base, 0.0) == 1.0);
    CHECK(std::fabs(Pow(base, 1.0) / base - 1.0) <= 1e-14);
  }
}

// The larger error of the two.
double SinCosError(double angle) {
  double sin, cos;
  SinCos(angle, &sin, &cos);
  const Exact exact = angle;
  return static_cast<double>(std::max(std::fabs(static_cast<Exact>(sin) - std::sin(exact)),
                                      std::fabs(static_cast<Exact>(cos) - std::cos(exact))));
}

TEST_CASE("SinCos is within 1e-15 at any angle up to 2^31") {
  Random random(3);
  double worst = 0.0;
  for (size_t i = 0; i < Samples() / 2; ++i) {
    double angle = 2147483648.0 * random.Uniform();
    if (i % 2 == 0) angle *= random.Uniform() * random.Uniform() * random.Uniform();
    worst = std::max(worst, SinCosError(angle));
  }
  for (int multiple = 0; multiple < 3000; ++multiple) {  // around where it turns
    const double turn = multiple * 0.78539816339744831;
    for (double angle : {std::nextafter(turn, 0.0), turn, std::nextafter(turn, 1e300)}) {
      worst = std::max(worst, SinCosError(std::max(0.0, angle)));
    }
  }
  for (uint32_t position = 0; position < 2000; ++position) {  // whole angles, to the last
    worst = std::max(worst, SinCosError(position));
    worst = std::max(worst, SinCosError(2147483648.0 - position));
  }
  MESSAGE("SinCos: worst error ", worst);
  CHECK(worst <= 1e-15);
}

TEST_CASE("SinCos of 0 is exactly 0 and 1") {
  double sin, cos;
  SinCos(0.0, &sin, &cos);
  CHECK(sin == 0.0);
  CHECK(cos == 1.0);
}

}  // namespace
}  // namespace heed::test
