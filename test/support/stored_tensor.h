// Tensors of any float type with the elements of an f32 one.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "src/base/half.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

// To the type and back.
inline float Rounded(float x, DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return ToFloat(ToF16(x));
    case DType::kBF16:
      return ToFloat(ToBf16(x));
    default:
      return x;
  }
}

template <class T>
void RoundAll(T& values, DType dtype) {
  for (size_t i = 0; i < values.size() && dtype != DType::kF32; ++i) {
    values[i] = Rounded(values[i], dtype);
  }
}

class StoredTensor {
 public:
  // Untouched.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout = Layout::kContiguous)
      : dtype_(dtype) {
    if (dtype == DType::kF16) {
      f16_.emplace(shape, layout);
    } else if (dtype == DType::kBF16) {
      bf16_.emplace(shape, layout);
    } else {
      f32_.emplace(shape, layout);
    }
  }
  // The elements of `dense`, narrowed.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout,
               const std::vector<float>& dense)
      : StoredTensor(dtype, shape, layout) {
    for (size_t i = 0; i < dense.size(); ++i) {
      if (f16_) (*f16_)[i] = ToF16(dense[i]);
      if (bf16_) (*bf16_)[i] = ToBf16(dense[i]);
      if (f32_) (*f32_)[i] = dense[i];
    }
  }

  DType dtype() const { return dtype_; }
  TensorView view() const { return f16_ ? f16_->view() : bf16_ ? bf16_->view() : f32_->view(); }
  MutableTensorView mutable_view() {
    return f16_ ? f16_->mutable_view() : bf16_ ? bf16_->mutable_view() : f32_->mutable_view();
  }
  // Widened, in row-major order.
  std::vector<float> Dense() const {
    if (f32_) return f32_->Dense();
    std::vector<float> dense;
    if (f16_) {
      for (f16 x : f16_->Dense()) dense.push_back(ToFloat(x));
    } else {
      for (bf16 x : bf16_->Dense()) dense.push_back(ToFloat(x));
    }
    return dense;
  }
  bool GapsIntact() const {
    return f16_ ? f16_->GapsIntact() : bf16_ ? bf16_->GapsIntact() : f32_->GapsIntact();
  }
  bool AllUntouched() const {
    return f16_ ? f16_->AllUntouched() : bf16_ ? bf16_->AllUntouched() : f32_->AllUntouched();
  }

 private:
  DType dtype_;
  std::optional<Tensor<float>> f32_;
  std::optional<Tensor<f16>> f16_;
  std::optional<Tensor<bf16>> bf16_;
};

}  // namespace heed::test
