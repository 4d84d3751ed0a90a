// Products cut into blocks that stay in the caches.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/context.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

// What a task computes: c[row .. row_end, column .. column_end).
struct MatmulTask {
  size_t row, row_end, column, column_end;

  MatmulTask(const MatmulPlan& plan, size_t row_block, size_t column_block)
      : row(row_block * plan.rows),
        row_end(std::min(row + plan.rows, plan.p.m)),
        column(column_block * plan.columns),
        column_end(std::min(column + plan.columns, plan.p.n)) {}
};

// What a worker has packed, by its first row and column.
struct KeptBlock {
  size_t row = SIZE_MAX, column = SIZE_MAX;
};

// The memory of a product, laid out in an arena.
struct MatmulMemory {
  float* shared;   // plan.shared_floats; null: none
  float* workers;  // [plan.workers][plan.worker_floats]
  // Of kBlocks:
  KeptBlock* kept;                  // [plan.workers]
  std::atomic<size_t>* rows_taken;  // blocks of rows, for each block of columns

  MatmulMemory(const MatmulPlan& plan, Arena* arena)
      : shared(arena->TakeIf<float>(plan.shared_floats > 0, plan.shared_floats)),
        workers(arena->TakeIf<float>(plan.worker_floats > 0, plan.workers, plan.worker_floats)),
        kept(arena->TakeIf<KeptBlock>(plan.order == ProductOrder::kBlocks, plan.workers)),
        rows_taken(arena->TakeIf<std::atomic<size_t>>(
            plan.order == ProductOrder::kBlocks,
            CeilDiv(plan.p.n, std::max<size_t>(plan.columns, 1)))) {}
};

// Of a product with m, n and k at least 1: fills all from `order` on, but `bytes`, for kBlocks.
void PlanBlocks(const Context::Impl& context, MatmulPlan* plan);

Status RunBlocks(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context);

}  // namespace heed::inline v1
