// Results of several files side by side: CPUs, versions, targets.
#pragma once

#include <string>
#include <vector>

#include "bench/results.h"

namespace heed::bench {

// heed-bench compare A.json B.json ... [--html FILE] [--benchmark_filter REGEX]. argv[0] is
// "compare". Prints a table; the exit code is 0, or 2 after one sentence on standard error.
int compare_main(int argc, char** argv);

// The best times of `rows`' names in each file, and how many times as fast as the first it is. A
// ratio that is smaller than what the repetitions of either spread over is marked as noise.
std::string comparison_text(const std::vector<Results>& files);

}  // namespace heed::bench
