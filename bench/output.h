// Writes what was found: Google Benchmark's own writers, with heed's facts in their context, the
// table, and the page.
#pragma once

#include <string>

#include "bench/machine.h"
#include "bench/runner.h"
#include "bench/settings.h"

namespace heed::bench {

// Versions, CPU and instruction set for Google Benchmark's context. Call this and add_limits once,
// before write_results.
void add_machine(const Context& context);
void add_limits(const std::vector<Limits>& limits);

std::string to_json(const BenchmarkRuns& runs);  // Google Benchmark's
Status write_results(const Output& output, const BenchmarkRuns& runs);

}  // namespace heed::bench
