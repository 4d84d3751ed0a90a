// Tasks of blocks.h whose products are sums of integers (Compute::kInt16).
#pragma once

#include "src/base/context.h"
#include "src/matmul/blocks.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

// Of a worker's memory, which RunInt16Task lays out.
size_t Int16Floats(const MatmulPlan& plan);

// `keeps_rows`: the worker's last task had the same rows, which are still quantized.
void RunInt16Task(const MatmulPlan& plan, const MatmulTask& task, bool keeps_rows, float* memory,
                  const Context::Impl& context);

}  // namespace heed::inline v1
