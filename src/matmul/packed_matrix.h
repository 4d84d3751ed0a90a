// What a PackedMatrix holds.
#pragma once

#include <cstddef>

#include "heed/matmul.hpp"
#include "src/base/context.h"
#include "src/kernels/panels.h"

namespace heed {

struct PackedMatrix::Impl {
  size_t in = 0, out = 0;
  Floats data;  // panels [out / 16][in][16], see src/kernels/layout.h

  // Null for a matrix that was moved from.
  static const Impl* Of(const PackedMatrix& matrix) { return matrix.impl_.get(); }

  Panels panels() const { return {data.get()}; }
  Status Pack(const TensorView* b, size_t count, WeightLayout layout, Context::Impl& context);
};

}  // namespace heed
