// Views: how callers hand their own memory to heed. See heed/c/tensor.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "heed/export.h"

namespace heed::inline v1 {

// heed_dtype.
enum class DType : int32_t { kF32, kF16, kBF16, kI32, kU8, kInt8, kInt4 };

// Elements of 16 bits.
struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

// heed_dtype_size, heed_dtype_name.
HEED_API size_t size_of(DType dtype);
HEED_API const char* name_of(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kInt8;
};

inline constexpr size_t kMaxRank = 5;

// heed_tensor, to be read; cheap to copy. Without strides it is row-major and contiguous. A
// default-constructed view is absent.
struct HEED_API TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rank = 0;
  size_t shape[kMaxRank] = {};
  ptrdiff_t strides[kMaxRank] = {};

  // Of a view that was made from impossible arguments.
  static constexpr size_t kInvalidRank = SIZE_MAX;

  HEED_INLINE TensorView() = default;
  template <class T>
  HEED_INLINE TensorView(const T* elements, std::initializer_list<size_t> sizes)
      : TensorView(elements, DTypeOf<T>::value, sizes.begin(), sizes.size()) {}
  template <class T>
  HEED_INLINE TensorView(const T* elements, std::initializer_list<size_t> sizes,
                         std::initializer_list<ptrdiff_t> steps)
      : TensorView(elements, DTypeOf<T>::value, sizes.begin(), sizes.size(), steps.begin(),
                   steps.size()) {}
  // For sizes known at run time only. `steps` null: contiguous.
  TensorView(const void* elements, DType type, const size_t* sizes, size_t num_sizes,
             const ptrdiff_t* steps = nullptr, size_t num_steps = 0);

  HEED_INLINE bool absent() const { return data == nullptr && rank == 0; }
  size_t num_elements() const;  // heed_tensor_num_elements

  // heed_tensor_transpose, heed_tensor_slice.
  TensorView transpose(size_t dim0, size_t dim1) const;
  TensorView slice(size_t dim, size_t begin, size_t end) const;
};

// The same for memory that heed writes. Converts to TensorView.
struct MutableTensorView : TensorView {
  HEED_INLINE MutableTensorView() = default;
  template <class T>
  requires(!std::is_const_v<T>) HEED_INLINE
      MutableTensorView(T* elements, std::initializer_list<size_t> sizes)
      : TensorView(elements, sizes) {}
  template <class T>
  requires(!std::is_const_v<T>) HEED_INLINE
      MutableTensorView(T* elements, std::initializer_list<size_t> sizes,
                        std::initializer_list<ptrdiff_t> steps)
      : TensorView(elements, sizes, steps) {}
  HEED_INLINE MutableTensorView(void* elements, DType type, const size_t* sizes, size_t num_sizes,
                                const ptrdiff_t* steps = nullptr, size_t num_steps = 0)
      : TensorView(elements, type, sizes, num_sizes, steps, num_steps) {}

  HEED_INLINE void* mutable_data() const { return const_cast<void*>(data); }

  HEED_INLINE MutableTensorView transpose(size_t dim0, size_t dim1) const {
    return MutableTensorView(TensorView::transpose(dim0, dim1));
  }
  HEED_INLINE MutableTensorView slice(size_t dim, size_t begin, size_t end) const {
    return MutableTensorView(TensorView::slice(dim, begin, end));
  }

 private:
  HEED_INLINE explicit MutableTensorView(const TensorView& view) : TensorView(view) {}
};

}  // namespace heed::inline v1
