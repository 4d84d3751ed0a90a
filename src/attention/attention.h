// Attention in two steps, for operations that it is a part of.
#pragma once

#include "heed/attention.hpp"
#include "src/attention/plan.h"
#include "src/base/arena.h"
#include "src/base/context.h"

namespace heed {

// What attention() does after PlanAttention, in an arena of at least plan.bytes.
Status RunAttention(const AttentionPlan& plan, Arena arena, Context::Impl& context);

}  // namespace heed
