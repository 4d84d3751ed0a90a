// Reports and comparisons: what stands in them, that nothing from outside becomes markup, and that
// bad input gives exit code 2.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "bench/compare.h"
#include "bench/html_report.h"
#include "bench/plot.h"
#include "bench/plot_scale.h"
#include "bench/results_json.h"
#include "bench/results_text.h"
#include "bench/test/sample.h"
#include "test/support/model_files.h"

namespace heed::bench {
namespace {

using test::Contains;

int Compare(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "compare");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return compare_main(static_cast<int>(argv.size()), argv.data());
}

TEST_CASE("a report has its sections, is one file, and escapes what others wrote") {
  const std::string html = html_report(sample_results());
  for (const char* heading :
       {"What this processor can do at most", "Operations under the roofs", "Share of the limit",
        "More threads", "Longer prompts", "Longer caches", "Every number"}) {
    CHECK_MESSAGE(Contains(html, heading), heading);
  }
  CHECK(Contains(html, "Sample &lt;CPU&gt; &amp; Sons 9000"));
  CHECK(Contains(html, "failed: it computed &lt;something&gt; else"));
  CHECK_FALSE(Contains(html, "<something>"));
  CHECK_FALSE(Contains(html, "<script"));
  CHECK_FALSE(Contains(html, "href="));
  CHECK_FALSE(Contains(html, "src="));
  CHECK_FALSE(Contains(html, "url("));
  CHECK_FALSE(Contains(html, "\"nan"));
  CHECK_FALSE(Contains(html, "\"inf"));
  CHECK(Contains(html, "decode, 1 thread: heed reaches 86% to 96% of memory bandwidth"));
}

TEST_CASE("sections without entries are left out") {
  Results results = sample_results();
  std::erase_if(results.entries,
                [](const Entry& e) { return e.operation != "matmul" || e.threads != 1; });
  const std::string html = html_report(results);
  CHECK(Contains(html, "Operations under the roofs"));
  CHECK_FALSE(Contains(html, "More threads"));
  CHECK_FALSE(Contains(html, "Longer prompts"));
  CHECK_FALSE(Contains(html, "Longer caches"));
  results.limits.clear();
  CHECK_FALSE(Contains(html_report(results), "Operations under the roofs"));
  const std::string empty = html_report(Results{});
  CHECK_FALSE(Contains(empty, "<section>"));
  CHECK(Contains(empty, "</html>"));
}

TEST_CASE("a comparison shows speed, shares and what is missing") {
  Results first = sample_results(), second = sample_results();
  second.cpu = "Another";
  for (Entry& entry : second.entries) {
    for (double& seconds : entry.seconds) seconds /= 2;
  }
  const std::string missing = name_of(second.entries[0]);
  second.entries.erase(second.entries.begin());
  const Comparison comparison = compare({first, second}, {"a.json", "b.json"});
  CHECK(comparison.names == std::vector<std::string>{first.cpu, "Another"});
  REQUIRE(comparison.rows.size() == first.entries.size());
  CHECK(comparison.rows[0].name == missing);
  CHECK(comparison.rows[0].entries[1] == nullptr);
  const std::string text = comparison_text(comparison);
  CHECK(Contains(text, "B  heed 0.4.0, Another, AVX2, GCC 12.2.0; 4 threads: peak 392 GFLOP/s"));
  CHECK(Contains(text, "2.00x"));
  CHECK(Contains(text, "missing"));
  CHECK(Contains(text, "failed"));
  const std::string html = comparison_html(comparison);
  CHECK(Contains(html, "speed beside Sample &lt;CPU&gt;"));
  CHECK(Contains(html, ">missing<"));
  CHECK_FALSE(Contains(html, "<CPU>"));
}

TEST_CASE("files are named by what tells them apart") {
  const Results results = sample_results();
  Results newer = results, other = results;
  newer.heed = "0.5.0";
  other.target = "SSE4";
  CHECK(compare({results, newer}, {"a", "b"}).names[1] == "heed 0.5.0");
  CHECK(compare({results, other}, {"a", "b"}).names[1] == "SSE4");
  CHECK(compare({results, results}, {"x/a.json", "b.json"}).names[0] == "'a'");
  CHECK(compare({results, results}, {"x/a.json", "a.json"}).names[1] == "'a' 2");
}

TEST_CASE("compare writes a page, and refuses what it cannot use") {
  const test::Folder folder;
  test::Write(folder / "a.json", results_to_json(sample_results()));
  const std::string a = folder / "a.json", page = folder / "page.html";
  CHECK(Compare({a, a, "--html", page, "--filter", "^prefill/.*threads:1/heed$"}) == 0);
  CHECK(Contains(test::Read(page), "prefill, 1 thread: speed beside"));
  CHECK_FALSE(Contains(test::Read(page), "decode"));
  CHECK(Compare({"--help"}) == 0);
  CHECK(Compare({}) == 2);
  CHECK(Compare({a}) == 2);
  CHECK(Compare({a, folder / "absent.json"}) == 2);
  CHECK(Compare({a, a, "--unknown"}) == 2);
  CHECK(Compare({a, a, "--filter", "("}) == 2);
  CHECK(Compare({a, a, "--filter", "nothing has this name"}) == 2);
  CHECK(Compare({a, a, "--html", folder / "absent/page.html"}) == 2);
  CHECK(Compare({a, a, "--html", folder.path.string()}) == 2);
  CHECK(Compare(std::vector<std::string>(17, a)) == 2);
}

TEST_CASE("numbers read well") {
  CHECK(duration_text(0.00513) == "5.13 ms");
  CHECK(duration_text(999.9e-6) == "1.00 ms");
  CHECK(duration_text(81.25e-9) == "81.2 ns");
  CHECK(flops_text(98.2e9) == "98.2 GFLOP/s");
  CHECK(flops_text(12e12) == "12.0 TFLOP/s");
  CHECK(bytes_text(1536) == "1.50 KiB");
  CHECK(bytes_text(32 << 10) == "32 KiB");
  CHECK(percent_text(0.8349) == "83%");
  CHECK(percent_text(0.0123) == "1.2%");
  CHECK(readable("heads:12/len:8") == "heads 12, len 8");
  CHECK(tick_text(0.5) == "0.5");
}

TEST_CASE("ticks lie inside the scale, and labels are spread within their range") {
  using Kind = Scale::Kind;
  CHECK(Scale(Kind::kLinear, 0, 1, 0, 100).ticks() == std::vector<double>{0, 0.5, 1});
  CHECK(Scale(Kind::kLog, 3, 300, 0, 100).ticks() == std::vector<double>{5, 10, 20, 50, 100, 200});
  CHECK(Scale(Kind::kLog2, 1000, 5000, 0, 100).ticks() == std::vector<double>{1024, 2048, 4096});
  CHECK(Scale(Kind::kLog, 1, 100, 0, 100).at(10) == doctest::Approx(50));
  for (const Scale& scale : {Scale(Kind::kLog, 1e-12, 1e30, 0, 1), Scale(Kind::kLog, 5, 5, 0, 1),
                             Scale(Kind::kLinear, 0, 0, 0, 1), Scale(Kind::kLog, 0, 0, 0, 1)}) {
    CHECK(scale.ticks().size() <= 12);
    for (const double tick : scale.ticks()) CHECK(tick >= scale.low() * 0.999999);
  }
  CHECK(spread({50, 50, 10}, 12, 0, 100) == std::vector<double>{50, 62, 10});
  CHECK(spread({99, 100}, 12, 0, 100) == std::vector<double>{88, 100});
}

}  // namespace
}  // namespace heed::bench
