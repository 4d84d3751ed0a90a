// The corpus of tools/conformance on this machine, and that its comparison can fail.
#include <doctest/doctest.h>

#include <bit>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <limits>
#include <string>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "src/base/context.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/run_cases.h"
#include "tools/conformance/corpus.h"
#include "tools/conformance/record.h"
#include "tools/conformance/run.h"

namespace heed::test {
namespace {

// Empty when these are the bits on record.
std::string Fault(const bits::GroupResult& result) {
  if (!result.status.ok()) return result.name + ": " + result.status.message();
  return result.passed() ? "" : result.name + ": not the bits on record";
}

TEST_CASE(
    "the corpus has the bits on record on every target, the larger problems on three threads") {
  if (Quick()) return SkipCase("HEED_TEST_QUICK; heed-bits, a test of its own, does the same");
  for (const char* target : Targets()) {
    CAPTURE(target);
    const auto results = bits::ComputeCorpus(target);
    REQUIRE(results.ok());
    for (const bits::GroupResult& result : *results) CHECK(Fault(result) == "");
  }
}

// Waking threads for thousands of small problems takes longer than the problems: a pool that runs its
// workers one after another cuts the work no less.
TEST_CASE("the corpus has the bits on record with every problem cut for four workers") {
  for (Runner& runner : Runners()) {
    if (runner.context->num_threads() != 4) continue;
    CAPTURE(runner.name);
    for (size_t group = 0; group < bits::NumGroups(); ++group) {
      CHECK(Fault(bits::ComputeGroup(group, *runner.context)) == "");
    }
  }
}

// Those in which nothing is multiplied and added.
bool SameInBothFamilies(const std::string& group) {
  return group == "convert" || group == "quantize, int8" || group == "quantize, int4" ||
         group == "hadamard" || group == "matmul, int16";
}

TEST_CASE("the record has the groups of the corpus, and no two digests are alike") {
  REQUIRE(std::size(bits::kRecord) == bits::NumGroups());
  for (size_t group = 0; group < bits::NumGroups(); ++group) {
    const bits::Recorded& recorded = bits::kRecord[group];
    CAPTURE(recorded.group);
    CHECK(std::string(recorded.group) == bits::GroupName(group));
    CHECK((recorded.fma == recorded.multiply_add) == SameInBothFamilies(recorded.group));
    for (size_t other = 0; other < group; ++other) {
      CHECK(recorded.fma != bits::kRecord[other].fma);
    }
  }
}

TEST_CASE("recording anew gives the record") {
  if (Quick()) return SkipCase("HEED_TEST_QUICK");
  const Result<std::string> text = bits::RecordText();
  REQUIRE(text.ok());
  for (const bits::Recorded& recorded : bits::kRecord) {
    char line[160];
    std::snprintf(line, sizeof(line), "    {\"%s\", 0x%016" PRIX64 ", 0x%016" PRIX64 "},\n",
                  recorded.group, recorded.fma, recorded.multiply_add);
    CAPTURE(line);
    CHECK(text->find(line) != std::string::npos);
  }
}

TEST_CASE("one bit of one result is enough to miss the record") {
  Context context({.num_threads = 1});
  for (size_t group = 0; group < bits::NumGroups(); group += Quick() ? 7 : 1) {
    const bits::GroupResult flipped = bits::ComputeGroup(group, context, true);
    CAPTURE(flipped.name);
    CHECK(flipped.status.ok());
    CHECK_FALSE(flipped.passed());
    CHECK(flipped.digest != flipped.recorded);
  }
}

TEST_CASE("a refused problem fails its group") {
  bits::GroupResult result;
  CHECK(result.passed());
  result.status = Status::Error(StatusCode::kInvalidArgument, "no");
  CHECK_FALSE(result.passed());
  CHECK_FALSE(bits::ComputeCorpus("ABACUS").ok());
}

TEST_CASE("the digest is FNV-1a of little-endian bytes, in which all NaN are one") {
  bits::Digest digest;
  digest.Add(0x6F6F66, 3);  // "foo"
  digest.Add(0x726162, 3);  // "bar"
  CHECK(digest.value() == 0x85944171F73967E8u);

  Context context({.num_threads = 1});
  const auto digest_of = [&](auto value) {
    Tensor<decltype(value)> tensor({1});
    tensor[0] = value;
    bits::Run run(context, 0, false);
    run.Add(tensor);
    return run.digest();
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(digest_of(nan) == digest_of(std::bit_cast<float>(0xFFC00123u)));
  CHECK(digest_of(nan) != digest_of(std::numeric_limits<float>::infinity()));
  CHECK(digest_of(0.0f) != digest_of(-0.0f));
  CHECK(digest_of(f16{0x7E00}) == digest_of(f16{0xFC01}));
  CHECK(digest_of(f16{0x7E00}) != digest_of(f16{0x7C00}));
  CHECK(digest_of(bf16{0x7FC0}) == digest_of(bf16{0xFF81}));
  CHECK(digest_of(bf16{0x7C01}) != digest_of(bf16{0x7FC0}));
  for (int8_t other : {int8_t{-127}, int8_t{0}}) CHECK(digest_of(int8_t{127}) != digest_of(other));
}

#if defined(__SSE__)
constexpr unsigned kFlushResults = 0x8000, kFlushInputs = 0x40;

// Runs tasks as a processor would whose vectors flush subnormals.
Status RunFlushed(void*, size_t num_tasks, size_t, void (*task)(void*, size_t, size_t), void* arg) {
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | kFlushResults | kFlushInputs);
  for (size_t i = 0; i < num_tasks; ++i) task(arg, i, 0);
  _mm_setcsr(mode);
  return Status();
}
#endif

// So it is on ARMv7: all other groups hold there.
TEST_CASE("one group alone depends on subnormal numbers") {
#if defined(__SSE__)
  for (const char* target : Targets()) {
    CAPTURE(target);
    Context context({.num_threads = 1, .target = target});
    Context::Impl::Of(context)->task_runner.run = &RunFlushed;
    for (size_t group = 0; group < bits::NumGroups(); ++group) {
      const std::string fault = Fault(bits::ComputeGroup(group, context));
      CAPTURE(bits::GroupName(group));
      CHECK(fault.empty() == (std::string(bits::GroupName(group)) != "subnormals"));
    }
  }
#else
  SkipCase("this processor does not flush on request");
#endif
}

TEST_CASE("the corpus holds in a host that flushes subnormals, as -ffast-math makes it") {
#if defined(__SSE__)
  Context context({.num_threads = 2});
  for (size_t group = 0; group < bits::NumGroups(); ++group) {
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | kFlushResults | kFlushInputs);
    const std::string fault = Fault(bits::ComputeGroup(group, context));
    _mm_setcsr(mode);
    CAPTURE(bits::GroupName(group));
    CHECK(fault == "");
  }
#else
  SkipCase("this processor does not flush on request");
#endif
}

}  // namespace
}  // namespace heed::test
