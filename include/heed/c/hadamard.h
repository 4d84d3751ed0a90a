// Rotation by a Hadamard matrix (Hadamard transform): what outliers a head has in few of
// its channels is spread over all of them, so that less is lost when keys are stored in 8 or 4
// bits.
#pragma once

#include "heed/c/context.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rotates each row along the last dimension.
//   x, y  f32 [..., n], rank 1 to HEED_MAX_RANK, unit stride along n; y may be x, with the same
//         strides, else they must not overlap
// A row is cut into n / P parts of P elements side by side, P the largest power of two that divides
// n: 64, 128 and 256 are one part, 96 is three of 32. Odd n is left as it is. In a part, for
// h = P / 2, P / 4, ..., 1, (x[i], x[i + h]) becomes (x[i] + x[i + h], x[i] - x[i + h]) for all
// pairs whose i has no h in it; then all is multiplied by the f32 next to 1 / sqrt(P). This is the
// orthonormal matrix of Sylvester. The same bits come out on every CPU, with and without fused
// multiply-add.
//
// The matrix is its own inverse: rotated twice, x is x again, but for rounding. And q . k is that
// of both rotated, but for rounding. So to store keys with less loss, rotate them (after RoPE and
// norms) before heed_kv_cache_append, and the queries before attention; the output is not affected.
// The values may be rotated likewise, if the output of attention is then rotated back.
// Errors: HEED_INVALID_ARGUMENT (shapes, strides, null data, overlap), HEED_UNSUPPORTED (dtype),
// HEED_OUT_OF_MEMORY (workspace).
HEED_API heed_status heed_hadamard(const heed_tensor* x, const heed_tensor* y,
                                   heed_context* context, heed_error* error);

#ifdef __cplusplus
}
#endif
