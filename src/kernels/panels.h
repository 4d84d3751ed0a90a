// The right operand of a product in panels (layout.h), and of what type its elements are.
#pragma once

#include <cassert>

#include "heed/tensor.hpp"
#include "src/kernels/layout.h"

namespace heed {

// Elements of any other type than kF32 are still to come.
struct Panels {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  const float* scales = nullptr;  // of elements that have any

  bool absent() const { return data == nullptr; }
  const float* f32() const {
    assert(dtype == DType::kF32 && scales == nullptr);
    return static_cast<const float*>(data);
  }
};

}  // namespace heed
