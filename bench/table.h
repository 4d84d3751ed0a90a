// Results as text: numbers as people read them, and the tables that heed-bench prints.
#pragma once

#include <string>
#include <vector>

#include "bench/results.h"

namespace heed::bench {

std::string duration_text(double seconds);              // "5.13 ms"
std::string rate_text(Bound bound, double per_second);  // "98.2 GFLOP/s", "24.9 GB/s"
std::string bytes_text(double bytes);                   // "1.5 MiB"

// The machine and its limits, then a table for each operation.
std::string table_of(const Results& results);

// Columns as wide as what is in them, the first from the left.
std::string aligned(const std::vector<std::vector<std::string>>& lines);

}  // namespace heed::bench
