// How well heed's tasks would fill more cores than this machine has.
#pragma once

#include <cstddef>

namespace heed::bench {

// More than any machine has; the plan for it still fits in memory.
inline constexpr size_t kMaxSimulatedCores = 1024;

// Plans known problems for so many threads, measures their tasks one by one on one core, deals them
// out as the scheduler does and prints how evenly the cores would be loaded. Returns an exit code.
int simulate_cores(size_t cores);

}  // namespace heed::bench
