// Segments of the keys computed apart, for calls with few rows and for AttentionState.
#pragma once

#include <cstddef>

#include "heed/attention_state.hpp"
#include "src/attention/plan.h"
#include "src/attention/rows.h"
#include "src/attention/state.h"
#include "src/base/context.h"
#include "src/base/parallel.h"

namespace heed {

// Where the partial of a row and segment lies.
struct StateView {
  AttentionState views;

  RowPartial At(size_t segment, size_t b, size_t h, size_t i) const {
    return {&MutableAt<float>(views.max, segment, b, h, i),
            &MutableAt<float>(views.sum, segment, b, h, i),
            &MutableAt<float>(views.acc, segment, b, i, h)};
  }
  RowPartial At(size_t segment, const Rows& rows, size_t r) const {
    return At(segment, rows.plan.packed() ? 0 : rows.batch, rows.head(r),
              rows.sequence.q_begin + rows.query(r));
  }
};

// A state for all segments of `plan` in the context's memory.
Status ReserveState(const AttentionPlan& plan, Context::Impl& context, StateView* state);

// Fills `state`: a task is one segment of one row block.
Status RunSegments(const AttentionPlan& plan, const StateView& state, Context::Impl& context);

}  // namespace heed
