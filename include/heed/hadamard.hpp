// A turn by a Hadamard matrix (Hadamard transform, or rotation): what outliers a head has in few of
// its channels is spread over all of them, so that less is lost when keys are stored in 8 or 4
// bits.
#pragma once

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// Turns each row along the last dimension.
//   x, y  f32 [..., n], rank 1 to kMaxRank, unit stride along n; y may be x, with the same strides,
//         else they must not overlap
// A row is cut into n / P parts of P elements side by side, P the largest power of two that divides
// n: 64, 128 and 256 are one part, 96 is three of 32. Odd n is left as it is. In a part, for
// h = P / 2, P / 4, ..., 1, (x[i], x[i + h]) becomes (x[i] + x[i + h], x[i] - x[i + h]) for all
// pairs whose i has no h in it; then all is multiplied by the f32 next to 1 / sqrt(P). This is the
// orthonormal matrix of Sylvester. The same bits come out on every CPU, with and without fused
// multiply-add.
//
// The matrix is its own inverse: the turn of a turn is x again, but for rounding. And q . k is that
// of both turned, but for rounding. So to store keys with less loss, turn them (after RoPE and
// norms) before KvCache::append, and the queries before attention; the output is not affected. The
// values may be turned likewise, if the output of attention is then turned back.
// Errors: kInvalidArgument (shapes, strides, null data, overlap), kUnsupported (dtype),
// kOutOfMemory (workspace).
HEED_API Status hadamard(const TensorView& x, const MutableTensorView& y, Context& context);

}  // namespace heed::inline v1
