// Quantization: numbers as codes of 8 or 4 bits times a scale, and what that costs. Caches and
// packed matrices do the same with what they are given; these functions show it, and make and read
// quantized numbers elsewhere.
//
// Elements that share a scale are a group. With m its element of the largest magnitude, of two that
// differ in sign the positive one:
//   int8  scale = |m| / 127, f32;          code = x / scale, from -127 to 127
//   int4  scale = m / -8, rounded to f16;  code = x / scale, from -8 to 7
// to nearest, ties to even; what lies beyond the range becomes its end. A scale is 0 where
// |m| / 127 is below 2^-126, or the f16 is 0; its codes are 0 then. The number that is stored is
// float(code) * scale, rounded once, and +0 where the code is 0; of int8 it may overflow where |m|
// is next to the largest float. The same bits come out on every CPU.
//
// Where an element of a group is NaN or infinite, or its scale too large for f16, the scale is NaN
// and the codes are 0, so that all of the group reads as NaN; so do the errors.
#pragma once

#include "heed/c/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

// How far numbers that are stored lie from those that were given. Summed in f64.
typedef struct heed_quantization_error {
  size_t struct_size;
  float rms;       // root of the mean square of (stored - given)
  float largest;   // the largest |stored - given|
  float relative;  // rms by the root of the mean square of what was given; 0 where rms is 0
} heed_quantization_error;

HEED_API void heed_quantization_error_init(heed_quantization_error* error, size_t struct_size);

// The same row by row, each f32, or null when it is not wanted.
typedef struct heed_row_errors {
  size_t struct_size;
  const heed_tensor* rms;
  const heed_tensor* largest;
  const heed_tensor* relative;
} heed_row_errors;

HEED_API void heed_row_errors_init(heed_row_errors* errors, size_t struct_size);

// Quantizes along the last dimension.
//   x       f32, f16 or bf16 [..., n], rank 1 to HEED_MAX_RANK, any strides
//   dtype   int8 or int4
//   group   elements of a row that share a scale, the last group may be shorter; 0: the whole row
//   codes   int8 [..., n], any strides: one code a byte. Of int4 these, or int4 [..., (n + 1) / 2]:
//           two codes a byte (heed/c/tensor.h); the last upper nibble of an odd n is 0
//   scales  [..., ceil(n / group)], of int8 f32; of int4 f16, or f32 that holds the f16 numbers
//   errors  of each row: f32 [...], x's shape without the last dimension; null: none
//   total   the error of all of x, as much as its struct_size says; null: not wanted
// So of keys [seq, num_kv_heads, head_dim] the errors are those of each token and head; a head's
// are `total` of x sliced to [head, head + 1). int8 codes and scales of a matrix
// are a heed_quantized_view. heed_attention() takes keys and values of int8 with a group of 0,
// without the last dimension of their scales; of int4 with int4 codes, a group of 32 and f16
// scales.
// Errors: HEED_INVALID_ARGUMENT (shapes, null data, overlap), HEED_UNSUPPORTED (dtypes),
// HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_quantize(const heed_tensor* x, heed_dtype dtype, size_t group,
                                   const heed_tensor* codes, const heed_tensor* scales,
                                   const heed_row_errors* errors, heed_quantization_error* total,
                                   heed_context* context, heed_error* error);

// y = codes * scales, as above: codes int8 or int4, scales f32 or f16, y f32 [..., n], any strides,
// no overlap.
// Errors: as of heed_quantize.
HEED_API heed_status heed_dequantize(const heed_tensor* codes, const heed_tensor* scales,
                                     size_t group, const heed_tensor* y, heed_context* context,
                                     heed_error* error);

// What it costs to pack a matrix `b` (as heed_packed_matrix_pack takes it) with `options`: the
// error of all weights in `total`, and of each output channel in `channels`, f32 [out]; either may
// be null. Nothing is packed.
// Errors: as of heed_packed_matrix_pack, except that weights may be NaN, infinite or too large: the
// errors of their channels are NaN or infinite then.
HEED_API heed_status heed_storage_error(const heed_tensor* b, heed_weight_layout layout,
                                        const heed_pack_options* options,
                                        const heed_row_errors* channels,
                                        heed_quantization_error* total, heed_context* context,
                                        heed_error* error);

#ifdef __cplusplus
}
#endif
