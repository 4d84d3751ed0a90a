#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "bench/report/page.h"

#include <doctest/doctest.h>

namespace heed::bench {

TEST_CASE("a page holds its results, and no name in them ends their script") {
  const std::string page = report_page(R"({"a": "</script><b>"})");
  const std::string begin = R"(id="results">)";
  const size_t at = page.find(begin + R"({"a": "\u003c/script>\u003cb>"}</script>)");
  CHECK(at != std::string::npos);
  CHECK(page.find(begin, at + 1) == std::string::npos);
  CHECK(page.rfind("<!DOCTYPE html>", 0) == 0);
  CHECK(page.substr(page.size() - 8) == "</html>\n");
}

}  // namespace heed::bench
