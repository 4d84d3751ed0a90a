// Conversions between storage formats: heed_convert in heed/c/convert.h.
#pragma once

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

HEED_API Status convert(const TensorView& from, const MutableTensorView& to, Context& context);

}  // namespace heed::inline v1
