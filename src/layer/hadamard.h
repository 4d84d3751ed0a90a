// The Hadamard rotation in two steps, for the layer.
#pragma once

#include <cstddef>

#include "heed/hadamard.hpp"
#include "src/base/arena.h"
#include "src/base/context.h"

namespace heed::inline v1 {

struct HadamardPlan {
  TensorView x;
  MutableTensorView y;
  size_t part = 1;  // elements that are rotated together
  float scale = 1.0f;
  size_t task_rows = 0, tasks = 0;  // no tasks: nothing to rotate
  size_t workers = 1;               // threads at most
  size_t bytes = 0;                 // of memory that the run takes
};

// x and y are checked.
void PlanHadamard(const TensorView& x, const MutableTensorView& y, const Context::Impl& context,
                  HadamardPlan* plan);

// What hadamard() does after PlanHadamard, in an arena of at least plan.bytes.
Status RunHadamard(const HadamardPlan& plan, Arena arena, const Context::Impl& context);

}  // namespace heed::inline v1
