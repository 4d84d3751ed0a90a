// Matrix product, in f32 or on request in integers: the projections of attention, and whatever else
// a model multiplies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "heed/context.hpp"
#include "heed/numerics.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// Which way a weight matrix is stored. y = x W (+ bias) either way.
enum class WeightLayout {
  kInOut,  // [in, out]: rows are inputs (plain x W, GPT-2's Conv1D)
  kOutIn,  // [out, in]: rows are outputs (PyTorch nn.Linear, Hugging Face checkpoints)
};

// How the elements of a packed matrix are stored. Whatever the type, a product computed in f32 is
// bit for bit that of an f32 matrix of the numbers that the elements stand for.
struct PackOptions {
  // kF32, kF16 and kBF16: the elements themselves, rounded to nearest, ties to even, where the
  // matrix given has more digits; what is too large for f16 becomes infinity.
  // kInt8: code * scale, with codes from -127 to 127 and f32 scales; scale = largest magnitude /
  // 127, code = element / scale rounded to nearest, ties to even.
  // kInt4: code * scale, with codes from -8 to 7 and f16 scales; scale = the element of the largest
  // magnitude / -8 rounded to f16, code = element / scale rounded likewise. A code of 0 is +0.
  // A scale below 2^-126 (kInt8), or of 2^-25 or less (kInt4), becomes 0, and its codes too.
  DType dtype = DType::kF32;

  // Of kInt8 and kInt4: how many elements of a column, along the depth (`in`), share a scale. 16,
  // 32, 64 or 128; the last group of a column is shorter where these do not divide `in`. 0, for
  // kInt8 alone: a column has one scale. Of other types: 0.
  size_t group = 0;
};

// A matrix that is quantized already: an element is code * scale, and +0 where that is zero.
struct QuantizedView {
  // int8, rank 2, any strides; -127 to 127 for kInt8, -8 to 7 for kInt4.
  TensorView codes = {};
  // f32 or f16, rank 2, any strides: codes' shape with ceil(in / group) in the place of `in` (1
  // where group is 0). Finite, of any sign; those of kInt4 are f16 numbers, also where the view is
  // f32.
  TensorView scales = {};
};

struct MapOptions {
  // Whether all the data is read, to compare its checksum and to look for scales and codes that
  // can't be. Without, damage in there shows in products, which still read nothing else.
  bool check_data = true;
};

// A matrix B of [in, out], copied once into the order the kernels read: panels of 16 columns, with
// `out` rounded up to a multiple of 32, and scales. It pays from the second product on. Immutable
// after `pack`, so many Contexts may read it at the same time. One that was moved from is 0 x 0,
// and a product with it gives kInvalidArgument.
class PackedMatrix {
 public:
  // `b`: f32, f16 or bf16, rank 2, any strides. Large ones are packed by the context's threads. The
  // same bytes come out whatever threads and instruction set there are.
  // Errors: kInvalidArgument (rank, null data, overflow, group; NaN or infinite elements, or too
  // large ones for f16 scales, where they are to be quantized), kUnsupported (dtype), kOutOfMemory.
  static Result<PackedMatrix> pack(const TensorView& b, WeightLayout layout,
                                   const PackOptions& options, Context& context);
  static Result<PackedMatrix> pack(const TensorView& b, WeightLayout layout, Context& context);

  // The columns of several matrices side by side, as one: [in, out0 + out1 + ...]. `count` views,
  // each with the same `in`. This is how q, k and v projections become one product.
  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   const PackOptions& options, Context& context);
  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   Context& context);

  // The same of matrices that are quantized already: codes and scales stay what they are.
  // Errors: kInvalidArgument (as above; shapes that disagree, codes out of range, scales that are
  // not finite, or for kInt4 not f16 numbers), kUnsupported (dtype), kOutOfMemory.
  static Result<PackedMatrix> pack_quantized(const QuantizedView* b, size_t count,
                                             WeightLayout layout, const PackOptions& options,
                                             Context& context);

  // Saved: a header of 64 bytes, then panels and scales, little endian; docs/layouts.md has the
  // format. `save` writes saved_bytes() bytes.
  // Errors: kInvalidArgument (null data, fewer bytes, a matrix that was moved from).
  size_t saved_bytes() const;
  Status save(void* data, size_t bytes) const;

  // A matrix that was saved, used from where it lies: the caller keeps the memory, unchanged, for
  // as long as the matrix lives. `data` is aligned to 64 bytes, as the start of a mapped file is;
  // what lies behind the matrix is not looked at. (Big-endian machines make a copy.)
  // Errors: kInvalidArgument (null or unaligned data; not a saved matrix, cut off or damaged),
  // kUnsupported (another version of the format), kOutOfMemory.
  static Result<PackedMatrix> map(const void* data, size_t bytes, const MapOptions& options = {});

  PackedMatrix();  // 0 x 0
  size_t in() const;
  size_t out() const;
  DType dtype() const;
  size_t group() const;  // as in PackOptions
  size_t bytes() const;  // of panels and scales

  struct Impl;

 private:
  struct Destroy {
    void operator()(Impl* impl) const;
  };
  std::unique_ptr<Impl, Destroy> impl_;
};

// With Compute::kInt16, for a b of int8 or int4, the bits are the same in both families of
// instruction sets; faster for many rows, with AVX2 and AVX-512 VNNI. Each row of a is quantized to
// int16 in every chunk of kSumChunk, by its largest magnitude there:
//   x_scale = max |a[i, k]| / 32767;  x[k] = a[i, k] * (32767 / max |a[i, k]|), to nearest even
//   c[i, j] = 0;  for each chunk: t = 0;  for each group in it: t = t + float(sum) * b_scale;
//                                 c[i, j] = c[i, j] + t * x_scale
// with sum the exact integer sum of x[k] * code of b[k, j] over the chunk's part of the group,
// then rounded to f32, and every operation rounded by itself. The bias is added last. Where
// x_scale is below 2^-126 it and the codes are 0; NaN or infinity in a row of a makes its row of
// c NaN. Elsewhere a[i, k] is off by at most 0.51 * x_scale. Sums are rounded as in f32, as long
// as scales of b are at most 2^97.
struct MatmulOptions {
  TensorView bias = {};             // f32, f16 or bf16 [n], added to every row of c; absent: none
  Compute compute = Compute::kF32;  // kInt16: b is a packed matrix of kInt8 or kInt4
};

// c = a b (+ bias).
//   a  [m, k], any strides (a transposed view costs nothing)
//   b  [k, n], any strides, or packed
//   c  [m, n], unit stride along n; must not overlap a, b or bias
// Each is f32, f16 or bf16, whatever the others are. 16-bit numbers are widened exactly, in pieces
// of workspace (of a and c 16 MB or 384 rows, of b 16 MB or 64 columns a thread, whichever is
// more), and c is rounded once, to nearest, ties to even: the result has the bits of the same
// numbers given as f32.
// In f32 c[i, j] is the sum over k in chunks of kSumChunk: within a chunk acc = fma(a[i, k],
// b[k, j], acc) from 0, k ascending; chunks are added in ascending order, the bias last. m, n, the
// layout of b and the number of threads do not enter. m or n of 0 does nothing; k of 0 gives the
// bias, or zeros.
// Errors: kInvalidArgument (shapes that disagree, null data, overflow, overlap; `compute` that b
// doesn't have), kUnsupported (dtype), kOutOfMemory (workspace).
Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context);
Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context);

}  // namespace heed::inline v1
