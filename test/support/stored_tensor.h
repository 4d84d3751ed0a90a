// Tensors of any stored type with the elements of an f32 one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/half.h"
#include "src/base/quantize.h"
#include "src/kernels/panels.h"
#include "test/support/stored_numbers.h"
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

// Numbers that the type has, of codes such that a row quantized again gives the same codes and
// scales: those of int8 are scales of bf16, whose 127-fold is exact.
inline void RoundRows(Tensor<float>& values, DType dtype) {
  if (!HasScales(dtype)) return RoundAll(values, dtype);
  std::vector<float> dense = values.Dense();
  const size_t dim = values.shape().back();
  for (size_t first = 0; first < dense.size(); first += dim) {
    float* row = &dense[first];
    if (dtype == DType::kInt4) {
      RoundToken(dtype, row, dim);
      continue;
    }
    const float scale = Rounded(Int8Scale(Extreme(row, 1, dim)), DType::kBF16);
    for (size_t d = 0; d < dim; ++d) row[d] = static_cast<float>(Int8Code(row[d], scale)) * scale;
  }
  values.Assign(dense);
}

// Codes lie side by side, whatever the layout, and so do scales of int4.
inline Layout LayoutOfCodes(Layout layout) {
  if (layout == Layout::kLastFirst) return Layout::kSwapped;
  return layout == Layout::kScattered ? Layout::kBackwards : layout;
}

class StoredTensor {
 public:
  // Untouched.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout = Layout::kContiguous)
      : dtype_(dtype) {
    std::vector<size_t> of_scales = shape, of_codes = shape;
    switch (dtype) {
      case DType::kF16:
        f16_.emplace(shape, layout);
        break;
      case DType::kBF16:
        bf16_.emplace(shape, layout);
        break;
      case DType::kInt8:
        of_scales.pop_back();
        codes_.emplace(shape, LayoutOfCodes(layout));
        f32_.emplace(of_scales, layout);
        break;
      case DType::kInt4:
        of_codes.back() = CeilDiv(shape.back(), 2);
        of_scales.back() = CeilDiv(shape.back(), kInt4Group);
        codes_.emplace(of_codes, LayoutOfCodes(layout));
        f16_.emplace(of_scales, LayoutOfCodes(layout));
        break;
      default:
        f32_.emplace(shape, layout);
    }
  }
  // The elements of `dense`, narrowed or quantized.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout,
               const std::vector<float>& dense)
      : StoredTensor(dtype, shape, layout) {
    if (codes_) Quantize(shape.back(), dense);
    for (size_t i = 0; !codes_ && i < dense.size(); ++i) {
      if (f16_) (*f16_)[i] = ToF16(dense[i]);
      if (bf16_) (*bf16_)[i] = ToBf16(dense[i]);
      if (f32_) (*f32_)[i] = dense[i];
    }
  }

  DType dtype() const { return dtype_; }
  TensorView view() const {
    if (!codes_) return f16_ ? f16_->view() : bf16_ ? bf16_->view() : f32_->view();
    TensorView view = codes_->view();
    view.dtype = dtype_;
    return view;
  }
  // Absent where there are none.
  TensorView scales_view() const {
    if (!codes_) return {};
    return dtype_ == DType::kInt8 ? f32_->view() : f16_->view();
  }
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
  void Quantize(size_t dim, const std::vector<float>& dense) {
    const bool int8 = dtype_ == DType::kInt8;
    const size_t group = int8 ? dim : kInt4Group;
    size_t scales = 0, byte = 0;
    for (size_t first = 0; first < dense.size(); first += dim) {
      for (size_t d = 0; d < dim; d += group) {
        const float* x = &dense[first + d];
        const size_t n = std::min(group, dim - d);
        const float extreme = Extreme(x, 1, n);
        if (int8) {
          const float scale = (*f32_)[scales++] = Int8Scale(extreme);
          for (size_t i = 0; i < n; ++i) {
            (*codes_)[byte++] = static_cast<uint8_t>(Int8Code(x[i], scale));
          }
          continue;
        }
        const f16 scale = (*f16_)[scales++] = Int4Scale(extreme);
        const auto nibble = [&](size_t i) {
          return i < n ? static_cast<unsigned>(Int4Code(x[i], ToFloat(scale))) & 15u : 0u;
        };
        for (size_t i = 0; i < n; i += 2) {
          (*codes_)[byte++] = static_cast<uint8_t>(nibble(i) | nibble(i + 1) << 4);
        }
      }
    }
  }

  DType dtype_;
  std::optional<Tensor<float>> f32_;
  std::optional<Tensor<f16>> f16_;
  std::optional<Tensor<bf16>> bf16_;
  std::optional<Tensor<uint8_t>> codes_;  // whose scales are in f32_ or f16_
};

}  // namespace heed::test
