// heed-bench: heed's operations as shares of what this machine can do at most, beside the other
// libraries that were found. Exit code: 0, 1 when a case failed, 2 for a usage error.
#include <cstdio>
#include <cstring>
#include <exception>

#include "bench/case.h"
#include "bench/compare.h"
#include "bench/machine.h"
#include "bench/output.h"
#include "bench/runner.h"
#include "bench/simulate.h"
#include "tools/cpu_info.h"

namespace heed::bench {
namespace {

constexpr int kFailed = 1, kRefused = 2;

int refuse(const Status& status) {
  std::fprintf(stderr, "heed-bench: %s\n", status.message());
  return kRefused;
}

int run_bench(int argc, char** argv) {
  int exit_code = 0;
  const size_t num_cpus = tools::cpu_count();
  const auto settings = parse_settings(argc, argv, num_cpus, &exit_code);
  if (!settings) return exit_code;
  if (settings->simulate_cores > 0) return simulate_cores(settings->simulate_cores);
  Suite suite{*settings};
  const auto caches = read_caches(num_cpus, &suite.beyond_cache_bytes);
  const size_t beyond_cache_bytes = suite.beyond_cache_bytes;
  for (const auto add : {add_matmul, add_softmax, add_attention, add_layer, add_features}) {
    add(&suite);
  }
  bool listed = false;
  Result<std::vector<Case>> cases = chosen_cases(std::move(suite), &listed);
  if (!cases.ok()) return refuse(cases.status());
  if (listed) return 0;
  const Context context(ContextOptions{.target = settings->target_or_null()});
  add_machine(context);
  Meter meter(context.target(), caches, beyond_cache_bytes);
  const Outcome outcome = run_cases(*settings, std::move(*cases), &meter);
  add_limits(meter.limits());
  if (const Status s = write_results(settings->output, outcome.runs); !s.ok()) return refuse(s);
  return outcome.failed ? kFailed : 0;
}

int run_main(int argc, char** argv) try {
  if (argc > 1 && std::strcmp(argv[1], "compare") == 0) return compare_main(argc - 1, argv + 1);
  return run_bench(argc, argv);
} catch (const std::exception& error) {
  std::fprintf(stderr, "heed-bench: %s\n", error.what());
  return kRefused;
}

}  // namespace
}  // namespace heed::bench

int main(int argc, char** argv) { return heed::bench::run_main(argc, argv); }
