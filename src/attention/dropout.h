// The multipliers of dropout for one query.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/attention.hpp"
#include "heed/status.hpp"

namespace heed::inline v1 {

Status CheckDropoutProbability(float probability);

// multiplier[j - begin] for keys [begin, end) by Philox; `query` is counted from the start of the
// keys.
void DropoutMultipliers(float probability, uint64_t seed, uint32_t batch, uint32_t head,
                        uint32_t query, size_t begin, size_t end, float* multiplier);

}  // namespace heed::inline v1
