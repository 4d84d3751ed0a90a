// What a run found as one HTML file: the machine and its limits, pictures, and every number.
#pragma once

#include <string>

#include "bench/results.h"

namespace heed::bench {

// Sections for which there is nothing are left out.
std::string html_report(const Results& results);

}  // namespace heed::bench
