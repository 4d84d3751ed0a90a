// Products with operands of 16 bits: piece after piece of them is widened into memory of the call's
// and multiplied as f32, and what c gets is narrowed. Neither m nor n enters an element of c, so
// pieces change no bit.
#pragma once

#include "src/base/context.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

inline bool IsConverted(const Conversion& of) {
  return of.a.dtype != DType::kF32 || of.b.dtype != DType::kF32 || of.c.dtype != DType::kF32 ||
         of.bias.dtype != DType::kF32;
}

// Of a product with m and n at least 1: fills `order` and the pieces of plan->conversion; adds what
// they need to plan->bytes.
void PlanConverted(const Context::Impl& context, MatmulPlan* plan);

Status RunConverted(const MatmulPlan& plan, Arena arena, const Context::Impl& context);

}  // namespace heed::inline v1
