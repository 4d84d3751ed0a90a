// Rows of the float types, f32, f16 and bf16, and of no other, to f32 and back. Which type it is is
// decided once, before a loop.
#pragma once

#include <cstddef>

#include "heed/tensor.hpp"
#include "src/kernels/widen.h"

namespace heed::inline v1 {

// Reads rows whose elements lie `stride` apart, widened exactly.
class RowReader {
 public:
  RowReader() = default;
  RowReader(const WidenKernels& kernels, DType dtype, ptrdiff_t stride);

  void operator()(const void* from, size_t n, float* to) const {
    stride_ == 1 ? side_by_side_(from, n, to) : apart_(from, stride_, n, to);
  }

 private:
  ptrdiff_t stride_ = 1;
  void (*side_by_side_)(const void* from, size_t n, float* to) = nullptr;
  void (*apart_)(const void* from, ptrdiff_t stride, size_t n, float* to) = nullptr;
};

// Writes a row of elements side by side, narrowed to nearest, ties to even.
using RowWriter = void (*)(const float* from, size_t n, void* to);
RowWriter RowWriterOf(const WidenKernels& kernels, DType dtype);

}  // namespace heed::inline v1
