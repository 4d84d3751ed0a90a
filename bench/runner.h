// Times cases: libraries at one problem in turn, so that all meet the same disturbances.
#pragma once

#include <vector>

#include "bench/case.h"
#include "bench/machine.h"
#include "bench/results.h"

namespace heed::bench {

// Progress goes to standard error. A case that is refused, throws, or computes something else than
// heed becomes an Entry with its error.
std::vector<Entry> run_cases(const Settings& settings, std::vector<Case> cases, Meter* meter);

}  // namespace heed::bench
