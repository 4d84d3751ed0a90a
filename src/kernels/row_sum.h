// Folding the lanes of a row sum.
#pragma once

#include <cstddef>

#include "heed/numerics.hpp"

namespace heed {

// The fixed tree of the contract: lane i takes lane i + 8, then + 4, + 2, + 1. Overwrites the
// lanes.
inline float FoldLanes(float* lanes) {
  for (size_t half = kSumLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

}  // namespace heed
