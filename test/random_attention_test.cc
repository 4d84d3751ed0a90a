// Attention with random shapes, options, layouts, targets and threads, against the specification
// bit for bit and against float64. HEED_TEST_DRAWS says how many; HEED_TEST_SEED runs one alone,
// the number that a failure prints.
#include "test/cases/random_attention.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "heed/numerics.hpp"
#include "test/support/mode.h"

namespace heed::test {
namespace {

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || text[0] == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

constexpr uint64_t kQuickDraws = 400;

TEST_CASE("random calls of attention equal the specification bit for bit") {
  const uint64_t only = Number("HEED_TEST_SEED", 0);
  const uint64_t draws = only != 0 ? 1 : Number("HEED_TEST_DRAWS", Quick() ? kQuickDraws : 10000);
  for (uint64_t n = 0; n < draws; ++n) {
    const uint64_t seed = only != 0 ? only : n + 1;
    const AttentionCase drawn = DrawCase(seed);
    const Runner& runner = DrawRunner(seed);
    const auto fault_of = [&](const AttentionCase& c) { return FaultOf(c, runner); };
    const std::string fault = fault_of(drawn);
    INFO(drawn << " on " << runner.name);
    CHECK(fault == "");
    if (fault.empty()) continue;
    const AttentionCase small = Shrink(drawn, fault_of);
    FAIL_CHECK("still fails as: " << Text(small) << "\n" << fault_of(small));
    break;
  }
}

// What is never drawn is never compared: every feature is there, also in the fewest draws.
TEST_CASE("the draws have every feature of attention") {
  for (const Feature& feature : Features()) {
    size_t drawn = 0, segments = 0;
    for (uint64_t seed = 1; seed <= kQuickDraws; ++seed) {
      const AttentionCase c = DrawCase(seed);
      if (!feature.has(c)) continue;
      ++drawn;
      segments += c.shape.kv_len > kSegmentKeys;
    }
    INFO(std::string(feature.name)
         << ": " << drawn << " times, " << segments << " with several segments");
    CHECK(drawn >= 10);
    CHECK(segments >= 1);
  }
}

// A fault of one feature, and in one size, comes out as the smallest case that has both.
TEST_CASE("a failing draw shrinks to what makes it fail") {
  const auto fault = [](const AttentionCase& c) {
    return std::string(c.alibi && c.shape.kv_len >= 7 ? "wrong" : "");
  };
  uint64_t seed = 1;
  while (fault(DrawCase(seed)).empty()) ++seed;
  const AttentionCase small = Shrink(DrawCase(seed), fault);
  CHECK(small.alibi);
  CHECK(small.shape.kv_len == 7);
  CHECK(small.shape.q_len * small.shape.batch * small.shape.num_heads * small.shape.head_dim == 1);
  size_t features = 0;
  for (const Feature& feature : Features()) features += feature.has(small);
  CHECK(features == 1);
}

}  // namespace
}  // namespace heed::test
