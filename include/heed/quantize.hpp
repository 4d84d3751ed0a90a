// Quantization: numbers as codes of 8 or 4 bits times a scale, and what that costs. Caches and
// packed matrices do the same with what they are given; these functions show it, and make and read
// quantized numbers elsewhere.
//
// Elements that share a scale are a group. With m its element of the largest magnitude, of two that
// differ in sign the positive one:
//   kInt8  scale = |m| / 127, f32;          code = x / scale, from -127 to 127
//   kInt4  scale = m / -8, rounded to f16;  code = x / scale, from -8 to 7
// to nearest, ties to even; what lies beyond the range becomes its end. A scale is 0 where
// |m| / 127 is below 2^-126, or the f16 is 0; its codes are 0 then. The number that is stored is
// float(code) * scale, rounded once, and +0 where the code is 0; of int8 it may overflow where |m|
// is next to the largest float. The same bits come out on every CPU.
//
// Where an element of a group is NaN or infinite, or its scale too large for f16, the scale is NaN
// and the codes are 0, so that all of the group reads as NaN; so do the errors.
#pragma once

#include <cstddef>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/matmul.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// How far numbers that are stored lie from those that were given. Summed in f64.
struct QuantizationError {
  float rms = 0.0f;       // root of the mean square of (stored - given)
  float largest = 0.0f;   // the largest |stored - given|
  float relative = 0.0f;  // rms by the root of the mean square of what was given; 0 where rms is 0
};

// The same row by row, each f32, or absent when it is not wanted.
struct RowErrors {
  MutableTensorView rms = {};
  MutableTensorView largest = {};
  MutableTensorView relative = {};
};

// Quantizes along the last dimension. Returns the error of all of x.
//   x       f32, f16 or bf16 [..., n], rank 1 to kMaxRank, any strides
//   dtype   kInt8 or kInt4
//   group   elements of a row that share a scale, the last group may be shorter; 0: the whole row
//   codes   int8 [..., n], any strides: one code a byte. Of kInt4 these, or int4 [..., (n + 1) /
//           2]: two codes a byte (heed/tensor.hpp); the last upper nibble of an odd n is 0
//   scales  [..., ceil(n / group)], of kInt8 f32; of kInt4 f16, or f32 that holds the f16 numbers
//   errors  of each row: f32 [...], x's shape without the last dimension
// So of keys [seq, num_kv_heads, head_dim] the errors are those of each token and head; a head's
// are returned for x.slice(1, head, head + 1). int8 codes and scales of a matrix are a
// QuantizedView. attention() takes keys and values of kInt8 with a group of 0, without the last
// dimension of their scales; of kInt4 with int4 codes, a group of 32 and f16 scales.
// Errors: kInvalidArgument (shapes, null data, overlap), kUnsupported (dtypes), kOutOfMemory.
HEED_API Result<QuantizationError> quantize(const TensorView& x, DType dtype, size_t group,
                                            const MutableTensorView& codes,
                                            const MutableTensorView& scales,
                                            const RowErrors& errors, Context& context);

// y = codes * scales, as above: codes int8 or int4, scales f32 or f16, y f32 [..., n], any strides,
// no overlap.
// Errors: as of quantize.
HEED_API Status dequantize(const TensorView& codes, const TensorView& scales, size_t group,
                           const MutableTensorView& y, Context& context);

// What it costs to pack a matrix `b` (as PackedMatrix::pack takes it) with `options`: the error of
// all weights, and of each output channel, f32 [out]. Nothing is packed.
// Errors: as of PackedMatrix::pack, except that weights may be NaN, infinite or too large: the
// errors of their channels are NaN or infinite then.
HEED_API Result<QuantizationError> storage_error(const TensorView& b, WeightLayout layout,
                                                 const PackOptions& options,
                                                 const RowErrors& channels, Context& context);

}  // namespace heed::inline v1
