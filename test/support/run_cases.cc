#define DOCTEST_CONFIG_IMPLEMENT
#include "test/support/run_cases.h"

#include <doctest/doctest.h>

#include <cstdio>

namespace heed::test {
namespace {

struct {
  unsigned passed = 0, failed = 0, skipped = 0, untested = 0;
  bool complete = false;  // false where doctest only listed cases, or was given an unknown option
} tally;
const char* skip_reason = nullptr;  // of the running case

class Counter : public doctest::IReporter {
 public:
  explicit Counter(const doctest::ContextOptions&) {}

  void test_case_start(const doctest::TestCaseData& data) override {
    name_ = data.m_name;
    skip_reason = nullptr;
  }
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    if (!stats.testCaseSuccess) {
      ++tally.failed;
    } else if (skip_reason != nullptr) {
      ++tally.skipped;
      std::printf("SKIPPED: %s: %s\n", name_, skip_reason);
    } else if (stats.numAssertsCurrentTest == 0) {
      ++tally.untested;
      std::printf("FAILED: %s: it asserts nothing\n", name_);
    } else {
      ++tally.passed;
    }
  }
  void test_run_end(const doctest::TestRunStats&) override { tally.complete = true; }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  const char* name_ = "";
};

REGISTER_LISTENER("counter", 1, Counter);

}  // namespace

int RunCases(int argc, char** argv) {
  const int code = doctest::Context(argc, argv).run();
  if (!tally.complete) return code;
  std::printf("%u passed, %u failed, %u skipped\n", tally.passed, tally.failed + tally.untested,
              tally.skipped);
  return tally.untested > 0 ? 1 : code;
}

void SkipCase(const char* why) { skip_reason = why; }

}  // namespace heed::test
