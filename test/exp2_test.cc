// heed's 2^x: equal to the specification and within its bound, over every float of its domain.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "src/base/targets.h"
#include "src/kernels/exp2_constants.h"
#include "src/kernels/softmax.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

constexpr float kLowest = -125.5f;  // 0 from here down

struct Kernel {
  Family family;
  void (*exp2_row)(const float* x, float* y, size_t n);
};

// The kernels of the supported targets, found by the names that the public API uses.
std::vector<Kernel> Kernels() {
  std::vector<Kernel> kernels;
  for (const char* name : Targets()) {
    kernels.push_back({family(name), KernelsOf<SoftmaxKernels>(TargetByName(name)).exp2_row});
  }
  return kernels;
}

// |got - exact| in units of the last place of a float near `exact`.
double Ulps(float got, double exact) {
  const uint32_t exponent = std::bit_cast<uint32_t>(static_cast<float>(exact)) & 0x7F800000;
  const double ulp = static_cast<double>(std::bit_cast<float>(exponent)) * 0x1p-23;
  return std::fabs(static_cast<double>(got) - exact) / ulp;
}

struct Outcome {
  double worst[2] = {};  // of each family
  size_t tested = 0;
  size_t unequal = 0;  // kernel results that are not the specification's bits
};

// Tests the floats -0 - (first + i * step) * (smallest unit) for i < count.
void TestRun(const std::vector<Kernel>& kernels, uint32_t first, uint32_t step, size_t count,
             Outcome* outcome) {
  constexpr size_t kRun = 4096;
  float x[kRun], want[2][kRun], got[kRun];
  for (size_t i = 0; i < count; ++i) {
    x[i] = std::bit_cast<float>(first + static_cast<uint32_t>(i) * step);
    want[0][i] = spec::Spec<Family::kFma>::Exp2(x[i]);
    want[1][i] = spec::Spec<Family::kMultiplyAdd>::Exp2(x[i]);
    const double exact = std::exp2(static_cast<double>(x[i]));
    for (size_t f = 0; f < 2; ++f) {
      outcome->worst[f] = std::max(outcome->worst[f], Ulps(want[f][i], exact));
    }
  }
  outcome->tested += count;
  for (const Kernel& kernel : kernels) {
    kernel.exp2_row(x, got, count);
    const float* wanted = want[kernel.family == Family::kFma ? 0 : 1];
    if (std::memcmp(got, wanted, count * sizeof(float)) != 0) ++outcome->unequal;
  }
}

Outcome TestDomain(uint32_t step) {
  constexpr uint32_t kFirst = 0x80000000, kRun = 4096;  // -0
  const uint32_t last = std::bit_cast<uint32_t>(kLowest) - 1;
  const std::vector<Kernel> kernels = Kernels();
  std::vector<Outcome> outcomes(std::max(1u, std::thread::hardware_concurrency()));
  std::atomic<uint32_t> next_run = 0;
  const auto work = [&](Outcome* outcome) {
    for (;;) {
      const uint64_t first = kFirst + uint64_t{next_run++} * kRun * step;
      if (first > last) return;
      const size_t count = std::min<size_t>(kRun, (last - first) / step + 1);
      TestRun(kernels, static_cast<uint32_t>(first), step, count, outcome);
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < outcomes.size(); ++i) threads.emplace_back(work, &outcomes[i]);
  work(&outcomes[0]);
  for (std::thread& thread : threads) thread.join();
  Outcome all;
  for (const Outcome& outcome : outcomes) {
    for (size_t f = 0; f < 2; ++f) all.worst[f] = std::max(all.worst[f], outcome.worst[f]);
    all.tested += outcome.tested;
    all.unequal += outcome.unequal;
  }
  return all;
}

TEST_CASE(
    "2^x is the specification's on every target, within 1.93 ulp with fma and 2.2 ulp without") {
  REQUIRE(Kernels().size() == Targets().size());
  const Outcome outcome = TestDomain(Exhaustive() ? 1 : 1009);
  MESSAGE("2^x: worst error ", outcome.worst[0], " ulp with fma, ", outcome.worst[1],
          " ulp without, over ", outcome.tested,
          " floats: ", std::string(Exhaustive() ? "all" : "every 1009th"), " of (-125.5, 0]");
  CHECK(outcome.tested >= (Exhaustive() ? 1100000000u : 1000000u));
  CHECK(outcome.unequal == 0);
  CHECK(outcome.worst[0] <= 1.93);
  CHECK(outcome.worst[1] <= 2.2);
}

TEST_CASE("2^x is exactly 1 at 0, exactly 0 below its domain, and NaN for NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  const float below = kLowest, lowest = std::nextafter(below, 0.0f);
  std::vector<float> x = {0.0f, -0.0f, lowest, below, -126.0f, -1e10f, -3.4e38f, -inf};
  x.insert(x.end(), 11, -0.0f);
  for (uint32_t nan : {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0xFFFFFFFFu, 0x7FFFFFFFu}) {
    x.push_back(std::bit_cast<float>(nan));
  }
  for (const Kernel& kernel : Kernels()) {
    std::vector<float> y(x.size()), want;
    kernel.exp2_row(x.data(), y.data(), x.size());
    for (float value : x) {
      want.push_back(WithSpec(kernel.family, [&](auto spec) { return spec.Exp2(value); }));
    }
    CHECK(Difference(y, want) == "");
    CHECK(y[0] == 1.0f);
    CHECK(y[1] == 1.0f);
    CHECK(y[2] >= std::numeric_limits<float>::min());
    for (size_t i = 3; i < 8; ++i) CHECK(SameBits(y[i], 0.0f));
    for (size_t i = x.size() - 5; i < x.size(); ++i) CHECK(std::isnan(y[i]));
    std::vector<float> in_place = x;
    kernel.exp2_row(in_place.data(), in_place.data(), x.size());
    CHECK(Difference(in_place, want) == "");
  }
}

}  // namespace
}  // namespace heed::test
