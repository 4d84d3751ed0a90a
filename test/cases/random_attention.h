// Cases of attention drawn at random: every option in legal combinations, from one seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "test/cases/attention_case.h"
#include "test/support/contexts.h"

namespace heed::test {

AttentionCase DrawCase(uint64_t seed);

// The one that a seed's case runs on.
Runner& DrawRunner(uint64_t seed);

// Empty when heed's results are the specification's bits and those within the bound of a float64
// computation, else what differs.
std::string FaultOf(const AttentionCase& c, const Runner& runner);

// The smallest case found from `c` by halving sizes and dropping features that still has a fault.
AttentionCase Shrink(AttentionCase c,
                     const std::function<std::string(const AttentionCase&)>& fault);

}  // namespace heed::test
