// What heed-bench prints: the machine and its limits, then a table for each operation.
#pragma once

#include <string>

#include "bench/results.h"

namespace heed::bench {

std::string text_report(const Results& results);

}  // namespace heed::bench
