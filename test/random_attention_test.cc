// Attention with random shapes, options, layouts, targets and threads, against the specification bit
// for bit and against float64. HEED_TEST_DRAWS says how many; HEED_TEST_SEED runs one alone, the
// number that a failure prints.
#include "test/support/random_attention.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "test/support/mode.h"

namespace heed::test {
namespace {

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || text[0] == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST_CASE("random calls of attention equal the specification bit for bit") {
  const uint64_t only = Number("HEED_TEST_SEED", 0);
  const uint64_t draws = only != 0 ? 1 : Number("HEED_TEST_DRAWS", Quick() ? 300 : 10000);
  for (uint64_t n = 0; n < draws; ++n) {
    const Draw draw = DrawFrom(only != 0 ? only : n + 1);
    const std::string fault = FaultOf(draw);
    CHECK(fault == "");
    if (fault.empty()) continue;
    const Draw small = Shrink(draw);
    FAIL_CHECK(Text(draw) << "\n"
                          << fault << "\nstill fails as: " << Text(small) << "\n"
                          << FaultOf(small));
    break;
  }
}

TEST_CASE("draws cover the options") {
  size_t packed = 0, paged = 0, windows = 0, trees = 0, masks = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const Draw d = DrawFrom(seed);
    packed += d.source == Source::kPacked;
    paged += d.source == Source::kPaged;
    windows += d.window > 0 && d.sink_tokens > 0;
    trees += d.tree;
    masks += d.mask_dtype != DType::kI32;
  }
  CHECK(packed > 50);
  CHECK(paged > 50);
  CHECK(windows > 50);
  CHECK(trees > 20);
  CHECK(masks > 50);
}

}  // namespace
}  // namespace heed::test
