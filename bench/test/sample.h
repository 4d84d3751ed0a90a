// Results as a run could have found them, and files for the tests of what presents them.
#pragma once

#include "bench/results.h"

namespace heed::bench {

// Every operation with three libraries at 1 and 4 threads; one rival failed at one shape.
Results sample_results();

}  // namespace heed::bench
