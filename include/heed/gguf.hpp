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
// rounds once, to f32. To store it smaller, dequantize_gguf() and PackedMatrix::pack() with another
// type, which rounds again; storage_error() says by how much.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/matmul.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// With the numbers that GGUF gives them.
enum class GgufType : int32_t { kQ4_0 = 2, kQ8_0 = 8, kQ4_K = 12, kQ6_K = 14 };

// A matrix [out, in] (GGUF lists the sizes the other way round, in first), in the caller's memory:
// rows of in / 32 or in / 256 blocks, one after the other, of any alignment.
struct GgufMatrix {
  const void* blocks = nullptr;
  size_t bytes = 0;  // must be those of the type and sizes
  GgufType type = GgufType::kQ8_0;
  size_t out = 0, in = 0;
};

// y [out, in] = the elements, in f32; y has any strides and does not overlap the blocks.
// Errors: kInvalidArgument (null blocks, sizes that blocks do not divide, other bytes than they
// take, scales that are NaN or infinite, the shape of y, overlap), kUnsupported (another type,
// dtype of y).
HEED_API Status dequantize_gguf(const GgufMatrix& matrix, const MutableTensorView& y,
                                Context& context);

// The columns of matrices of one type side by side, each with the same `in`, packed as above. Codes
// and f32 scales of all lie in memory for the length of the call, beside the packed matrix.
// Errors: as above; kInvalidArgument (no matrix, or several of different types or `in`, a code of
// -128 in Q8_0), kOutOfMemory.
HEED_API Result<PackedMatrix> pack_gguf(const GgufMatrix* matrices, size_t count, Context& context);
HEED_API Result<PackedMatrix> pack_gguf(const GgufMatrix& matrix, Context& context);

}  // namespace heed::inline v1
