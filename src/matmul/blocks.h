// Products cut into blocks that stay in the caches.
#pragma once

#include <cstddef>

#include "src/base/context.h"
#include "src/matmul/matmul.h"

namespace heed {

// The memory of a product, laid out in an arena.
struct MatmulMemory {
  float* shared;   // plan.shared_floats; null: none
  float* workers;  // [plan.workers][plan.worker_floats]

  MatmulMemory(const MatmulPlan& plan, Arena* arena)
      : shared(arena->TakeIf<float>(plan.shared_floats > 0, plan.shared_floats)),
        workers(arena->TakeIf<float>(plan.worker_floats > 0, plan.workers, plan.worker_floats)) {}
};

// Of a product with m, n and k at least 1: fills order, columns, workers, shared_floats and
// worker_floats with what kNear or kFar takes.
void PlanBlocks(const Context::Impl& context, MatmulPlan* plan);

Status RunNear(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context);
Status RunFar(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context);

}  // namespace heed
