// Results as JSON: Google Benchmark's format, which its tools/compare.py reads, with what heed adds
// in "context" and as members of each benchmark.
#pragma once

#include <string>

#include "bench/results.h"
#include "heed/status.hpp"

namespace heed::bench {

// One object in "benchmarks" per repetition; an entry with neither times nor an error has none.
std::string results_to_json(const Results& results);

// What results_to_json wrote. Whatever the file holds, the Status names it and the member that is
// wrong; control characters of texts come back as '?', so that printing them is safe.
Result<Results> read_results(const std::string& path);

}  // namespace heed::bench
