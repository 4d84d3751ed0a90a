// heed-bench: measures this machine's peak and read bandwidth, then heed's operations as shares of
// them, beside the other libraries that were found. Exit code: 0, 1 when a case failed, 2 for a
// usage error.
#include <benchmark/benchmark.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "bench/case.h"
#include "bench/machine.h"
#include "bench/report.h"
#include "bench/settings.h"
#include "bench/simulate.h"
#include "heed/context.hpp"

namespace heed::bench {
namespace {

void MeasureLimits(const Settings& settings, Machine* machine) {
  ContextOptions options;
  options.target = settings.target_or_null();
  const Context context(options);
  for (const size_t threads : settings.threads) {
    machine->limits.push_back(measure_limits(*machine, context.target(), threads));
  }
}

int Simulate(const char* value) {
  size_t cores = 0;
  const char* end = value + std::strlen(value);
  const auto [read, error] = std::from_chars(value, end, cores);
  if (error != std::errc() || read != end || cores < 1 || cores > kMaxSimulatedCores) {
    std::fprintf(stderr, "heed-bench: --simulate-cores is \"%s\" but must be from 1 to %zu\n",
                 value, kMaxSimulatedCores);
    return 2;
  }
  return simulate_cores(cores);
}

int Main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--simulate-cores") == 0) return Simulate(argv[2]);
  Machine machine = describe_machine();
  const Result<Settings> settings = parse_settings(argc, argv, machine.num_cpus);
  if (!settings.ok()) {
    std::fprintf(stderr, "heed-bench: %s\n", settings.status().message());
    return 2;
  }
  if (!settings->list_only) MeasureLimits(*settings, &machine);
  const Facts facts = describe_run(*settings, machine);
  for (const auto& [name, value] : facts) benchmark::AddCustomContext(name, value);

  const Suite suite = make_suite(*settings, machine);
  register_matmul(suite);
  register_softmax(suite);
  register_attention(suite);
  register_features(suite);
  register_layer(suite);

  TableReporter table(facts);
  const size_t ran = settings->own_report ? benchmark::RunSpecifiedBenchmarks(&table)
                                          : benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (ran == 0) {
    std::fprintf(stderr, "heed-bench: no benchmark matches the filter\n");
    return 2;
  }
  return any_case_failed() ? 1 : 0;
}

}  // namespace
}  // namespace heed::bench

int main(int argc, char** argv) { return heed::bench::Main(argc, argv); }
