// Softmax over the last dimension: heed_softmax in heed/c/softmax.h.
#pragma once

#include <optional>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

struct SoftmaxOptions {
  float scale = 1.0f;
};

HEED_API Status softmax(const TensorView& x, const MutableTensorView& y,
                        const SoftmaxOptions& options, Context& context);

}  // namespace heed::inline v1
