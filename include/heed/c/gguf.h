// Quantized weights as GGUF files hold them: blocks of elements along a row, each with its scales.
// heed reads four types of them as they are, and packs them without another rounding where an
// element is an integer times a scale:
//
//   type   a block           an element                         packed as
//   Q8_0   32 in 34 bytes    d * q          q 8 bits            int8, groups of 32: exact
//   Q4_0   32 in 18 bytes    d * (q - 8)    q 4 bits            int4, groups of 32: exact
//   Q6_K   256 in 210 bytes  d * s * (q - 32)  q 6, s 8 bits    int8, groups of 16: exact
//   Q4_K   256 in 144 bytes  d * s * q - dmin * m  q 4, s, m 6 bits  f32: the difference is rounded
//
// d and dmin are f16. The products are exact in f32, those of Q6_K with 23 of its 24 bits. In Q4_K
// a group of 32 has a minimum, dmin * m, so an element is no integer times a scale; the subtraction
// rounds once, to f32. To store it smaller, heed_dequantize_gguf() and heed_packed_matrix_pack()
// with another type, which rounds again; heed_storage_error() says by how much.
#pragma once

#include "heed/c/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

// With the numbers that GGUF gives them.
typedef int32_t heed_gguf_type;
enum {
  HEED_GGUF_TYPE_Q4_0 = 2,
  HEED_GGUF_TYPE_Q8_0 = 8,
  HEED_GGUF_TYPE_Q4_K = 12,
  HEED_GGUF_TYPE_Q6_K = 14,
};

// A matrix [out, in] (GGUF lists the sizes the other way round, in first), in the caller's memory:
// rows of in / 32 or in / 256 blocks, one after the other, of any alignment.
typedef struct heed_gguf_matrix {
  const void* blocks;
  size_t bytes;  // must be those of the type and sizes
  heed_gguf_type type;
  size_t out;
  size_t in;
} heed_gguf_matrix;

// y [out, in] = the elements, in f32; y has any strides and does not overlap the blocks.
// Errors: HEED_INVALID_ARGUMENT (null blocks, sizes that blocks do not divide, other bytes than
// they take, scales that are NaN or infinite, the shape of y, overlap), HEED_UNSUPPORTED (another
// type, dtype of y).
HEED_API heed_status heed_dequantize_gguf(const heed_gguf_matrix* matrix, const heed_tensor* y,
                                          heed_context* context, heed_error* error);

// The columns of matrices of one type side by side, each with the same `in`, packed as above; block
// by block, without memory beside the packed matrix. `memory`, null: on the heap. Else the caller's
// memory of at least heed_packed_matrix_memory_bytes() of [in, out0 + out1 + ...], with the type
// and group of the table, and nothing from the heap.
// Errors: as above; HEED_INVALID_ARGUMENT (no matrix, or several of different types or `in`, a code
// of -128 in Q8_0; memory that is not aligned), HEED_OUT_OF_MEMORY (no memory, or too
// little).
HEED_API heed_status heed_pack_gguf(const heed_gguf_matrix* matrices, size_t count,
                                    const heed_memory* memory, heed_context* context,
                                    heed_packed_matrix** matrix, heed_error* error);

#ifdef __cplusplus
}
#endif
