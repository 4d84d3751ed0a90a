// Segments of the keys computed apart, for calls with few rows and for AttentionState.
#pragma once

#include <cstddef>

#include "src/attention/plan.h"
#include "src/attention/rows.h"
#include "src/attention/state.h"
#include "src/base/context.h"

namespace heed {

// Where row r of `rows` keeps its partial.
RowPartial PartOf(const StateView& state, size_t segment, const Rows& rows, size_t r);

// Fills `state`: a task is one segment of one row block.
void RunSegments(const AttentionPlan& plan, const StateView& state, const AttentionMemory& memory,
                 const Context::Impl& context);

}  // namespace heed
