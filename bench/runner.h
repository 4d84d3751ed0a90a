// Runs cases with Google Benchmark: a problem's libraries in turn, and the limit that binds it
// among them, so that all meet the same disturbances.
#pragma once

#include <benchmark/benchmark.h>

#include <vector>

#include "bench/case.h"
#include "bench/machine.h"

namespace heed::bench {

// What Google Benchmark found; each run carries its case's label and counters.
using BenchmarkRuns = std::vector<benchmark::BenchmarkReporter::Run>;

// Those of the suite that --quick and Google Benchmark's filter leave. With both it is the quick
// ones that match, and where none of them matches, all that match. With --benchmark_list_tests it
// names them instead and leaves none. Not ok when none matches.
Result<std::vector<Case>> chosen_cases(Suite suite, bool* listed);

struct Outcome {
  BenchmarkRuns runs;
  bool failed = false;  // a case was refused, threw, or computed something else than heed
};

// Progress goes to standard error.
Outcome run_cases(const Settings& settings, std::vector<Case> cases, Meter* meter);

}  // namespace heed::bench
