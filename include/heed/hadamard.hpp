// Rotation by a Hadamard matrix: heed_hadamard in heed/c/hadamard.h.
#pragma once

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

HEED_API Status hadamard(const TensorView& x, const MutableTensorView& y, Context& context);

}  // namespace heed::inline v1
