// The room of attention: options.h checks what may be asked for together, source.h what is
// attended to, plan.h cuts the call into tasks, mask.h says what a row sees, operands.h has the
// panels of a block of keys, prefetch.h what is prefetched, rows.h, workspace.h and segments.h
// run a task, state.h and partial.cc join what was computed apart.
//
// Here is attention in two steps, for operations that it is a part of.
#pragma once

#include "heed/attention.hpp"
#include "src/attention/plan.h"
#include "src/base/arena.h"
#include "src/base/context.h"

namespace heed::inline v1 {

// What attention() does after PlanAttention, in an arena of at least plan.bytes.
Status RunAttention(const AttentionPlan& plan, Arena arena, const Context::Impl& context);

}  // namespace heed::inline v1
