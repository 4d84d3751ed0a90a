#include <cstdio>
#include <cstring>

#include "heed/info.hpp"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/run_cases.h"
#include "tools/conformance/command.h"

#if HEED_TEST_SANITIZED
// Requests for more memory than there is must return null, as they do without a sanitizer.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
#endif

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--bits") == 0) {
    return heed::bits::RunCommand({argv + 2, argv + argc});
  }
  std::printf("heed %s, %s shapes, %s floats of exp, on", heed::version(),
              heed::test::Quick() ? "few (HEED_TEST_QUICK=1)" : "all",
              heed::test::Exhaustive() ? "all" : "every 1009th (HEED_TEST_EXHAUSTIVE=0)");
  for (const char* target : heed::test::Targets()) {
    std::printf(" %s (%s)", target, heed::name_of(heed::family(target)));
  }
  std::printf("\n");
  return heed::test::RunCases(argc, argv);
}
