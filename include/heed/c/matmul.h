// Matrix product, in f32 or on request in integers: the projections of attention, and whatever else
// a model multiplies.
#pragma once

#include "heed/c/context.h"
#include "heed/c/info.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// Which way a weight matrix is stored. y = x W (+ bias) either way.
typedef int32_t heed_weight_layout;
enum {
  HEED_WEIGHT_LAYOUT_IN_OUT = 0,  // [in, out]: rows are inputs (plain x W, GPT-2's Conv1D)
  // [out, in]: rows are outputs (PyTorch nn.Linear, Hugging Face checkpoints)
  HEED_WEIGHT_LAYOUT_OUT_IN = 1,
};

// How the elements of a packed matrix are stored. Whatever the type, a product computed in f32 is
// bit for bit that of an f32 matrix of the numbers that the elements stand for.
typedef struct heed_pack_options {
  size_t struct_size;

  // f32 (the default), f16 and bf16: the elements themselves, rounded to nearest, ties to even,
  // where the matrix given has more digits; what is too large for f16 becomes infinity.
  // int8: code * scale, with codes from -127 to 127 and f32 scales; scale = largest magnitude /
  // 127, code = element / scale rounded to nearest, ties to even.
  // int4: code * scale, with codes from -8 to 7 and f16 scales; scale = the element of the largest
  // magnitude / -8 rounded to f16, code = element / scale rounded likewise. A code of 0 is +0.
  // A scale below 2^-126 (int8), or of 2^-25 or less (int4), becomes 0, and its codes too.
  heed_dtype dtype;

  // Of int8 and int4: how many elements of a column, along the depth (`in`), share a scale. 16,
  // 32, 64 or 128. Where these do not divide `in` the last group of a column is shorter: models are
  // 576 (SmolLM) and 1600 (GPT-2 XL) wide, which 128 does not divide. (GGUF's formats have whole
  // blocks alone.) 0, for int8 alone: a column has one scale. Of other types: 0.
  size_t group;
} heed_pack_options;

HEED_API void heed_pack_options_init(heed_pack_options* options, size_t struct_size);

// A matrix that is quantized already: an element is code * scale, and +0 where that is zero.
typedef struct heed_quantized_view {
  // int8, rank 2, any strides; -127 to 127 for int8, -8 to 7 for int4.
  heed_tensor codes;
  // f32 or f16, rank 2, any strides: codes' shape with ceil(in / group) in the place of `in` (1
  // where group is 0). Finite, of any sign; those of int4 are f16 numbers, also where the tensor is
  // f32.
  heed_tensor scales;
} heed_quantized_view;

typedef struct heed_map_options {
  size_t struct_size;
  // Whether all the data is read, to compare its checksum and to look for scales and codes that
  // can't be; true by default. Without, damage in there shows in products, which still read nothing
  // else.
  bool check_data;
  // Where the heed_packed_matrix itself lies, heed_packed_matrix_memory_bytes() of a matrix of
  // [0, 0]. (On big-endian machines what it has, too: the bytes of all of it.)
  heed_memory memory;
} heed_map_options;

HEED_API void heed_map_options_init(heed_map_options* options, size_t struct_size);

// A matrix B of [in, out], copied once into the order the kernels read: panels of 16 columns, with
// `out` rounded up to a multiple of 32, and scales. It pays from the second product on. Immutable,
// so many contexts may read it at the same time.
typedef struct heed_packed_matrix heed_packed_matrix;

// Packs the columns of `count` matrices side by side, as one: [in, out0 + out1 + ...], each with
// the same `in`; mostly count is 1. This is how q, k and v projections become one product.
//   b  f32, f16 or bf16, rank 2, any strides
// Large ones are packed by the context's threads. The same bytes come out whatever threads and
// instruction set there are. `memory`, null: on the heap. Else the caller's memory of at least
// heed_packed_matrix_memory_bytes() of [in, out0 + out1 + ...], with nothing from the heap.
// Errors: HEED_INVALID_ARGUMENT (no matrix, rank, null data, overflow, group; NaN or infinite
// elements, or too large ones for f16 scales, where they are to be quantized; memory that is
// not aligned), HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY (no memory, or too little).
HEED_API heed_status heed_packed_matrix_pack(const heed_tensor* b, size_t count,
                                             heed_weight_layout layout,
                                             const heed_pack_options* options,
                                             const heed_memory* memory, heed_context* context,
                                             heed_packed_matrix** matrix, heed_error* error);

// The same of matrices that are quantized already: codes and scales stay what they are.
// Errors: HEED_INVALID_ARGUMENT (as above; shapes that disagree, codes out of range, scales that
// are not finite, or for int4 not f16 numbers), HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_packed_matrix_pack_quantized(
    const heed_quantized_view* b, size_t count, heed_weight_layout layout,
    const heed_pack_options* options, const heed_memory* memory, heed_context* context,
    heed_packed_matrix** matrix, heed_error* error);

// For a matrix of [in, out]. Errors: HEED_INVALID_ARGUMENT (group, overflow), HEED_UNSUPPORTED
// (dtype).
HEED_API heed_status heed_packed_matrix_memory_bytes(size_t in, size_t out,
                                                     const heed_pack_options* options,
                                                     size_t* bytes, heed_error* error);

// Saved: a header of 64 bytes, then panels and scales, little endian; docs/layouts.md has the
// format. heed_packed_matrix_save writes heed_packed_matrix_saved_bytes() bytes.
// Errors: HEED_INVALID_ARGUMENT (null data, fewer bytes).
HEED_API size_t heed_packed_matrix_saved_bytes(const heed_packed_matrix* matrix);
HEED_API heed_status heed_packed_matrix_save(const heed_packed_matrix* matrix, void* data,
                                             size_t bytes, heed_error* error);

// A matrix that was saved, used from where it lies: the caller keeps the memory, unchanged, for
// as long as the matrix lives. `data` is aligned to 64 bytes, as the start of a mapped file is;
// what lies behind the matrix is not looked at. (Big-endian machines make a copy.)
// Errors: HEED_INVALID_ARGUMENT (null or unaligned data; not a saved matrix, cut off or damaged),
// HEED_UNSUPPORTED (another version of the format), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_packed_matrix_map(const void* data, size_t bytes,
                                            const heed_map_options* options,
                                            heed_packed_matrix** matrix, heed_error* error);

HEED_API void heed_packed_matrix_destroy(heed_packed_matrix* matrix);

HEED_API size_t heed_packed_matrix_in(const heed_packed_matrix* matrix);
HEED_API size_t heed_packed_matrix_out(const heed_packed_matrix* matrix);
HEED_API heed_dtype heed_packed_matrix_dtype(const heed_packed_matrix* matrix);
HEED_API size_t heed_packed_matrix_group(const heed_packed_matrix* matrix);  // as in pack_options
HEED_API size_t heed_packed_matrix_bytes(const heed_packed_matrix* matrix);  // panels and scales

// With HEED_COMPUTE_INT16, for a b of int8 or int4, the bits are the same in both families of
// instruction sets; faster for many rows, with AVX2 and AVX-512 VNNI. Each row of a is quantized to
// int16 in every chunk of HEED_SUM_CHUNK, by its largest magnitude there:
//   x_scale = max |a[i, k]| / 32767;  x[k] = a[i, k] * (32767 / max |a[i, k]|), to nearest even
//   c[i, j] = 0;  for each chunk: t = 0;  for each group in it: t = t + float(sum) * b_scale;
//                                 c[i, j] = c[i, j] + t * x_scale
// with sum the exact integer sum of x[k] * code of b[k, j] over the chunk's part of the group,
// then rounded to f32, and every operation rounded by itself. The bias is added last. Where
// x_scale is below 2^-126 it and the codes are 0; NaN or infinity in a row of a makes its row of
// c NaN. Elsewhere a[i, k] is off by at most 0.51 * x_scale. Sums are rounded as in f32, as long
// as scales of b are at most 2^97.
typedef struct heed_matmul_options {
  size_t struct_size;
  const heed_tensor* bias;  // f32, f16 or bf16 [n], unit stride; added to every row; null: none
  heed_compute compute;     // int16: b is a packed matrix of int8 or int4
} heed_matmul_options;

HEED_API void heed_matmul_options_init(heed_matmul_options* options, size_t struct_size);

// c = a b (+ bias).
//   a  [m, k], any strides (a transposed view costs nothing)
//   b  [k, n], any strides, or packed
//   c  [m, n], unit stride along n; must not overlap a, b or bias
// Each is f32, f16 or bf16, whatever the others are. 16-bit numbers are widened exactly, in pieces
// of workspace: of a and c 16 MB or 384 rows, of b 16 MB or 64 columns a thread, whichever is more.
// For up to 5 rows of a, a b that has a unit stride takes none. c is rounded once, to nearest, ties
// to even: the result has the bits of the same numbers given as f32.
// In f32 c[i, j] is the sum over k in chunks of HEED_SUM_CHUNK: within a chunk acc = fma(a[i, k],
// b[k, j], acc) from 0, k ascending; chunks are added in ascending order, the bias last. m, n, the
// layout of b and the number of threads do not enter. m or n of 0 does nothing; k of 0 gives the
// bias, or zeros.
// Errors: HEED_INVALID_ARGUMENT (shapes that disagree, null data, overflow, overlap; `compute` that
// b doesn't have), HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY (workspace).
HEED_API heed_status heed_matmul(const heed_tensor* a, const heed_tensor* b, const heed_tensor* c,
                                 const heed_matmul_options* options, heed_context* context,
                                 heed_error* error);
HEED_API heed_status heed_matmul_packed(const heed_tensor* a, const heed_packed_matrix* b,
                                        const heed_tensor* c, const heed_matmul_options* options,
                                        heed_context* context, heed_error* error);

#ifdef __cplusplus
}
#endif
