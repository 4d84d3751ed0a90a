// Matrix product in f32: the projections of attention, and whatever else a model multiplies.
#pragma once

#include <cstddef>
#include <memory>

#include "heed/context.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

// Which way a weight matrix is stored. y = x W (+ bias) either way.
enum class WeightLayout {
  kInOut,  // [in, out]: rows are inputs (plain x W, GPT-2's Conv1D)
  kOutIn,  // [out, in]: rows are outputs (PyTorch nn.Linear, Hugging Face checkpoints)
};

// A matrix B of [in, out], copied once into the order the kernels read: panels of 16 columns. Costs
// in * (out rounded up to 32) * 4 bytes and one pass over `b`; it pays from the second product on.
// Immutable after `pack`, so many Contexts may read it at the same time. One that was moved from is
// 0 x 0, and a product with it gives kInvalidArgument.
class PackedMatrix {
 public:
  // `b`: f32, f16 or bf16, rank 2, any strides. 16-bit elements are widened exactly. Large ones are
  // packed by the context's threads.
  // Errors: kInvalidArgument (rank, null data, overflow), kUnsupported (dtype), kOutOfMemory.
  static Result<PackedMatrix> pack(const TensorView& b, WeightLayout layout, Context& context);

  // The columns of several matrices side by side, as one: [in, out0 + out1 + ...]. `count` views,
  // each with the same `in`. This is how q, k and v projections become one product.
  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   Context& context);

  PackedMatrix();  // 0 x 0
  size_t in() const;
  size_t out() const;
  size_t bytes() const;

  struct Impl;

 private:
  struct Destroy {
    void operator()(Impl* impl) const;
  };
  std::unique_ptr<Impl, Destroy> impl_;
};

struct MatmulOptions {
  TensorView bias = {};  // f32 [n], added to every row of c; absent: none
};

// c = a b (+ bias).
//   a  f32 [m, k], any strides (a transposed view costs nothing)
//   b  f32 [k, n], any strides, or packed
//   c  f32 [m, n], unit stride along n; must not overlap a, b or bias
// Each c[i, j] is the sum over k in chunks of kSumChunk: within a chunk acc = fma(a[i, k], b[k, j],
// acc) from 0, k ascending; chunks are added in ascending order, the bias last. m, n, the layout of
// b and the number of threads do not enter. m or n of 0 does nothing; k of 0 gives the bias, or
// zeros.
// Errors: kInvalidArgument (shapes that disagree, null data, overflow, overlap), kUnsupported
// (dtype), kOutOfMemory (workspace).
Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context);
Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context);

}  // namespace heed
