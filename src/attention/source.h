// Where the operands of an attention call come from: tensors, packed sequences, a cache or pages,
// checked.
#pragma once

#include "src/attention/plan.h"

namespace heed {

// That a tensor is f32 and has `batch` sequences and `heads` heads.
Status CheckHeads(const char* name, const TensorView& view, size_t batch, size_t heads);

// Finds the batch, and the queries of each sequence.
Status PlanQueries(const TensorView& q, AttentionPlan* plan);

// Finds the keys and values, after the queries.
Status PlanKeys(const KeySource& source, AttentionPlan* plan);

}  // namespace heed
