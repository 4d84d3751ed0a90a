// Conversions between storage formats.
#pragma once

#include "heed/c/context.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// to[i, ...] = from[i, ...], between f32, f16 and bf16. Same shape, any strides, no overlap.
// Widening is exact (subnormals, infinities and NaN included). Narrowing rounds to nearest, ties to
// even; what is too large becomes infinity, a NaN stays a quiet NaN.
// Errors: HEED_INVALID_ARGUMENT (shapes differ, null data, overlap), HEED_UNSUPPORTED (other
// types).
HEED_API heed_status heed_convert(const heed_tensor* from, const heed_tensor* to,
                                  heed_context* context, heed_error* error);

#ifdef __cplusplus
}
#endif
