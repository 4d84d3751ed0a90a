// Softmax over the last dimension.
#pragma once

#include "heed/c/context.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_softmax_options {
  size_t struct_size;
  float scale;  // multiplies x first; finite; 1 by default
} heed_softmax_options;

HEED_API void heed_softmax_options_init(heed_softmax_options* options, size_t struct_size);

// y[.., j] = exp(t[j] - max t) / sum over j of exp(t[j] - max t), with t = scale * x.
//   x, y  f32, f16 or bf16, each its own, of the same shape, rank 1 to 5, unit stride along the
//         last dimension. y may be x itself (same type, data and strides); otherwise they must not
//         overlap. 16-bit numbers are widened exactly, and y is rounded once, to nearest, ties to
//         even.
// -inf has weight 0; a row of nothing but -inf gives zeros, not NaN. A NaN or +inf in a row makes
// the whole row NaN. Rows of length 0 are left alone.
//
// exp is heed's own (see docs/numerics.md): within 1.93 ulp of the exact value (2.2 ulp in the
// multiply-add family) for its argument in base 2, and exactly 0 from -87
// (2^-125.5) down, so that no result is subnormal before the division.
//
// Errors: HEED_INVALID_ARGUMENT, HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY (workspace: of 16-bit
// x or y, some rows of f32 for each thread).
HEED_API heed_status heed_softmax(const heed_tensor* x, const heed_tensor* y,
                                  const heed_softmax_options* options, heed_context* context,
                                  heed_error* error);

#ifdef __cplusplus
}
#endif
