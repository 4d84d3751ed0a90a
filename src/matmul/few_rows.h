// Products of a few rows, which live by how fast b streams: it is read once, as it lies, and never
// copied.
#pragma once

#include "src/base/context.h"
#include "src/matmul/blocks.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

// Whether RunFewRows takes a product with m, n and k at least 1.
bool HasFewRows(const MatmulPlan& plan);

// Fills order, columns, workers, shared_floats and worker_floats.
void PlanFewRows(const Context::Impl& context, MatmulPlan* plan);

Status RunFewRows(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context);

}  // namespace heed::inline v1
