// Tensors of any stored type with the elements of an f32 one.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/half.h"
#include "src/base/quantize.h"
#include "src/kernels/panels.h"
#include "test/support/stored_numbers.h"
#include "tools/conformance/float_tensor.h"
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

inline std::vector<size_t> ShapeOfCodes(DType dtype, std::vector<size_t> shape) {
  if (dtype == DType::kInt4) shape.back() = CeilDiv(shape.back(), 2);
  return shape;
}
inline std::vector<size_t> ShapeOfScales(DType dtype, std::vector<size_t> shape) {
  if (dtype == DType::kInt4) {
    shape.back() = CeilDiv(shape.back(), kInt4Group);
  } else {
    shape.pop_back();
  }
  return shape;
}

class StoredTensor {
 public:
  // Untouched.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout = Layout::kContiguous)
      : dtype_(dtype), floats_(Floats(dtype, shape, layout)) {
    if (HasScales(dtype)) codes_.emplace(ShapeOfCodes(dtype, shape), LayoutOfCodes(layout));
  }
  // The elements of `dense`, narrowed or quantized.
  StoredTensor(DType dtype, const std::vector<size_t>& shape, Layout layout,
               const std::vector<float>& dense)
      : StoredTensor(dtype, shape, layout) {
    if (codes_) {
      Quantize(shape.back(), dense);
    } else {
      for (size_t i = 0; i < dense.size(); ++i) SetFloat(i, dense[i]);
    }
  }

  DType dtype() const { return dtype_; }
  TensorView view() const {
    if (!codes_) return floats_.view();
    TensorView view = codes_->view();
    view.dtype = dtype_;
    return view;
  }
  // Absent where there are none.
  TensorView scales_view() const { return codes_ ? floats_.view() : TensorView(); }

  // From here on of what is no codes: nothing writes those into a tensor.
  MutableTensorView mutable_view() {
    REQUIRE(!codes_);
    return floats_.mutable_view();
  }
  // Widened, in row-major order.
  std::vector<float> Dense() const {
    REQUIRE(!codes_);
    return floats_.With([](const auto& tensor) {
      std::vector<float> dense;
      for (const auto x : tensor.Dense()) dense.push_back(ToFloat(x));
      return dense;
    });
  }
  bool GapsIntact() const {
    REQUIRE(!codes_);
    return floats_.With([](const auto& tensor) { return tensor.GapsIntact(); });
  }
  bool AllUntouched() const {
    REQUIRE(!codes_);
    return floats_.With([](const auto& tensor) { return tensor.AllUntouched(); });
  }

 private:
  static bits::FloatTensor Floats(DType dtype, const std::vector<size_t>& shape, Layout layout) {
    if (!HasScales(dtype)) return bits::FloatTensor(dtype, shape, layout);
    const std::vector<size_t> of_scales = ShapeOfScales(dtype, shape);
    if (dtype == DType::kInt8) return bits::FloatTensor(DType::kF32, of_scales, layout);
    return bits::FloatTensor(DType::kF16, of_scales, LayoutOfCodes(layout));
  }

  static void Set(float x, float* to) { *to = x; }
  static void Set(float x, f16* to) { *to = ToF16(x); }
  static void Set(float x, bf16* to) { *to = ToBf16(x); }
  void SetFloat(size_t i, float x) {
    floats_.With([&](auto& tensor) { Set(x, &tensor[i]); });
  }

  void Quantize(size_t dim, const std::vector<float>& dense) {
    const bool int8 = dtype_ == DType::kInt8;
    const size_t group = int8 ? dim : kInt4Group;
    size_t scales = 0, byte = 0;
    for (size_t first = 0; first < dense.size(); first += dim) {
      for (size_t d = 0; d < dim; d += group) {
        const float* x = &dense[first + d];
        const size_t n = std::min(group, dim - d);
        const float extreme = Extreme(x, 1, n);
        const float scale = int8 ? Int8Scale(extreme) : ToFloat(Int4Scale(extreme));
        SetFloat(scales++, scale);
        if (int8) {
          for (size_t i = 0; i < n; ++i) {
            (*codes_)[byte++] = static_cast<uint8_t>(Int8Code(x[i], scale));
          }
          continue;
        }
        const auto nibble = [&](size_t i) {
          return i < n ? static_cast<unsigned>(Int4Code(x[i], scale)) & 15u : 0u;
        };
        for (size_t i = 0; i < n; i += 2) {
          (*codes_)[byte++] = static_cast<uint8_t>(nibble(i) | nibble(i + 1) << 4);
        }
      }
    }
  }

  DType dtype_;
  bits::FloatTensor floats_;  // the elements, or scales of codes
  std::optional<Tensor<uint8_t>> codes_;
};

}  // namespace heed::test
