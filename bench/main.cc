// heed-bench: heed's operations as shares of what this machine can do at most, beside the other
// libraries that were found. Exit code: 0, 1 when a case failed, 2 for a usage error.
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>

#include "bench/case.h"
#include "bench/compare.h"
#include "bench/html_report.h"
#include "bench/machine.h"
#include "bench/report.h"
#include "bench/results_json.h"
#include "bench/runner.h"
#include "bench/simulate.h"
#include "tools/cpu_info.h"
#include "tools/file.h"

namespace heed::bench {
namespace {

std::string Compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#else
  return std::string("GCC ") + __VERSION__;
#endif
}

std::string Now() {
  char text[32] = {};
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

Results Describe(const Settings& settings) {
  const Context context(ContextOptions{.target = settings.target_or_null()});
  Results results;
  results.heed = version();
  results.compiler = Compiler();
  results.cpu = tools::cpu_model();
  results.target = context.target();
  results.family = name_of(family(context.target()));
  results.date = Now();
  results.num_cpus = tools::cpu_count();
#if defined(HEED_BENCH_ONEDNN)
  results.rivals.emplace_back("oneDNN", onednn_version());
#endif
#if defined(HEED_BENCH_OPENBLAS)
  results.rivals.emplace_back("OpenBLAS", openblas_version());
#endif
  return results;
}

int WriteFiles(const Settings& settings, const Results& results) {
  int code = 0;
  const auto write = [&](const std::string& path, const std::string& text) {
    const Status status = tools::write_file(path, {text});
    if (status.ok()) return;
    std::fprintf(stderr, "heed-bench: %s\n", status.message());
    code = 2;
  };
  if (!settings.json.empty()) write(settings.json, results_to_json(results));
  if (!settings.html.empty()) write(settings.html, html_report(results));
  return code;
}

int RunBench(int argc, char** argv) {
  int exit_code = 0;
  const auto settings = parse_settings(argc, argv, tools::cpu_count(), &exit_code);
  if (!settings) return exit_code;
  if (settings->simulate_cores > 0) return simulate_cores(settings->simulate_cores);
  Results results = Describe(*settings);
  Suite suite{*settings};
  results.caches = read_caches(results.num_cpus, &suite.beyond_cache_bytes);
  const size_t beyond_cache_bytes = suite.beyond_cache_bytes;
  for (const auto add : {add_matmul, add_softmax, add_attention, add_layer, add_features}) {
    add(&suite);
  }
  std::vector<Case> cases = chosen_cases(std::move(suite));
  if (cases.empty()) {
    std::fprintf(stderr, "heed-bench: no case matches the filter\n");
    return 2;
  }
  if (settings->list) {
    for (const Case& c : cases) std::printf("%s\n", c.name().c_str());
    return 0;
  }
  Meter meter(results.target.c_str(), results.caches, beyond_cache_bytes);
  results.entries = run_cases(*settings, std::move(cases), &meter);
  results.limits = meter.limits();
  std::fputs(text_report(results).c_str(), stdout);
  if (const int code = WriteFiles(*settings, results); code != 0) return code;
  for (const Entry& entry : results.entries) {
    if (!entry.error.empty()) return 1;
  }
  return 0;
}

int Main(int argc, char** argv) try {
  if (argc > 1 && std::strcmp(argv[1], "compare") == 0) return compare_main(argc - 1, argv + 1);
  return RunBench(argc, argv);
} catch (const std::exception& error) {
  std::fprintf(stderr, "heed-bench: %s\n", error.what());
  return 2;
}

}  // namespace
}  // namespace heed::bench

int main(int argc, char** argv) { return heed::bench::Main(argc, argv); }
