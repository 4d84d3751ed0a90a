// Where the operands of an attention call come from: tensors, packed sequences, a cache or pages,
// checked.
#pragma once

#include "src/attention/plan.h"

namespace heed::inline v1 {

// That a tensor of rank 3 or 4 has `batch` sequences and `heads` heads.
Status CheckHeads(const char* name, const TensorView& view, size_t batch, size_t heads);

// Finds the batch and the queries. Of packed sequences their lengths are not known yet.
Status PlanQueries(const TensorView& q, AttentionPlan* plan);

// Finds the keys and values, after the queries. Of packed sequences and pages their lengths are not
// known yet.
Status PlanKeys(const Context::Impl& context, const KeySource& source, AttentionPlan* plan);

// Copies lengths, tables and chosen heads and queries from the caller, each element read once and
// checked as it is copied.
Status ReadLengths(Context::Impl& context, AttentionPlan* plan);

}  // namespace heed::inline v1
