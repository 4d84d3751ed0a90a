// Conversions between storage formats.
#pragma once

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// to[i, ...] = from[i, ...], between f32, f16 and bf16. Same shape, any strides, no overlap.
// Widening is exact (subnormals, infinities and NaN included). Narrowing rounds to nearest, ties to
// even; what is too large becomes infinity, a NaN stays a quiet NaN.
// Errors: kInvalidArgument (shapes differ, null data, overlap), kUnsupported (other types).
HEED_API Status convert(const TensorView& from, const MutableTensorView& to, Context& context);

}  // namespace heed::inline v1
