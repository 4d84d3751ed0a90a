// Rotary position embedding in two steps, for the layer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/rope.hpp"
#include "src/base/arena.h"
#include "src/base/context.h"
#include "src/base/heads_view.h"

namespace heed::inline v1 {

Status CheckRope(const RopeOptions& options, size_t head_dim, size_t* rope_dim);
Status CheckPositions(const TensorView& positions, size_t batch, size_t len);
int32_t PositionAt(const TensorView& positions, size_t batch, size_t i);

// The frequencies of t < rope_dim / 2, scaled. Returns what multiplies the cosines and sines.
double RopeFrequencies(const RopeOptions& options, size_t rope_dim, double* frequencies);

Status CheckRopeScaling(const RopeOptions& options);

struct RopePlan {
  HeadsView x, y;
  TensorView positions = {};  // absent: token i of a sequence is at first_position + i
  size_t first_position = 0;
  RopeOptions options = {};
  size_t rope_dim = 0;
  bool empty = true;
  size_t workers = 1;  // threads at most
  size_t bytes = 0;    // of memory that the run takes
};

// Checks everything and fills `plan`.
Status PlanRope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
                const RopeOptions& options, const Context::Impl& context, RopePlan* plan);
Status PlanRope(const TensorView& x, size_t first_position, const MutableTensorView& y,
                const RopeOptions& options, const Context::Impl& context, RopePlan* plan);

// What rope() does after PlanRope, in an arena of at least plan.bytes.
Status RunRope(const RopePlan& plan, Arena arena, const Context::Impl& context);

}  // namespace heed::inline v1
