// A tensor of f32, f16 or bf16 elements: which of them, the program knows when it runs.
#pragma once

#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "heed/tensor.hpp"
#include "tools/conformance/tensor.h"

namespace heed::bits {

inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
inline constexpr DType kAllStored[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8,
                                       DType::kInt4};  // of packed matrices and caches

class FloatTensor {
  template <class Variant, class Use>
  static auto Visit(Variant& tensor, Use use) {
    if (auto* half = std::get_if<test::Tensor<f16>>(&tensor)) return use(*half);
    if (auto* brain = std::get_if<test::Tensor<bf16>>(&tensor)) return use(*brain);
    return use(*std::get_if<test::Tensor<float>>(&tensor));
  }

 public:
  explicit FloatTensor(DType dtype, const std::vector<size_t>& shape,
                       test::Layout layout = test::Layout::kContiguous)
      : tensor_(test::Tensor<float>({0})) {
    if (dtype == DType::kF32) tensor_ = test::Tensor<float>(shape, layout);
    if (dtype == DType::kF16) tensor_ = test::Tensor<f16>(shape, layout);
    if (dtype == DType::kBF16) tensor_ = test::Tensor<bf16>(shape, layout);
  }

  // use(tensor) of the type that it is.
  template <class Use>
  auto With(Use use) const {
    return Visit(tensor_, use);
  }
  template <class Use>
  auto With(Use use) {
    return Visit(tensor_, use);
  }

  TensorView view() const {
    return With([](const auto& tensor) { return tensor.view(); });
  }
  MutableTensorView mutable_view() {
    return With([](auto& tensor) { return tensor.mutable_view(); });
  }

 private:
  std::variant<test::Tensor<float>, test::Tensor<f16>, test::Tensor<bf16>> tensor_;
};

}  // namespace heed::bits
