// Views: how callers hand their own memory to heed. A view owns nothing and is cheap to copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "heed/export.h"

namespace heed::inline v1 {

// kInt8 and kInt4 are quantized elements: codes, whose scales lie beside them. Caches and packed
// matrices store them. Of views, those of keys and values (attention()) and of codes
// (heed/matmul.hpp) have them; an element of a view of kInt4 is a byte of two codes in two's
// complement, the first in the low nibble, so that n codes are (n + 1) / 2 of them.
enum class DType : int32_t { kF32, kF16, kBF16, kI32, kU8, kInt8, kInt4 };

// 16-bit storage formats. heed widens them to f32 exactly when it loads them.
struct f16 {  // IEEE 754 binary16
  uint16_t bits;
};
struct bf16 {  // the upper half of an f32
  uint16_t bits;
};

HEED_API size_t size_of(DType dtype);       // bytes of an element of a view
HEED_API const char* name_of(DType dtype);  // "f32", "f16", "bf16", "i32", "u8", "int8", "int4"

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

// A read-only tensor in the caller's memory: element (i, j, ...) is at
// data + i * strides[0] + j * strides[1] + ..., strides counted in elements; they may be 0 or
// negative. Without strides it is row-major and contiguous. A default-constructed view is "absent":
// optional arguments take it to mean "not given". An empty tensor (some size is 0) may have null
// data.
struct HEED_API TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rank = 0;
  size_t shape[kMaxRank] = {};
  ptrdiff_t strides[kMaxRank] = {};

  // The rank of a view that was made from impossible arguments (more than kMaxRank sizes, another
  // number of strides than of sizes, a slice past the end or beyond the address space): every
  // function refuses it.
  static constexpr size_t kInvalidRank = SIZE_MAX;

  TensorView() = default;
  template <class T>
  TensorView(const T* elements, std::initializer_list<size_t> sizes)
      : TensorView(elements, DTypeOf<T>::value, sizes.begin(), sizes.size()) {}
  template <class T>
  TensorView(const T* elements, std::initializer_list<size_t> sizes,
             std::initializer_list<ptrdiff_t> steps)
      : TensorView(elements, DTypeOf<T>::value, sizes.begin(), sizes.size(), steps.begin(),
                   steps.size()) {}
  // For sizes known at run time only. `steps` null: contiguous.
  TensorView(const void* elements, DType type, const size_t* sizes, size_t num_sizes,
             const ptrdiff_t* steps = nullptr, size_t num_steps = 0);

  bool absent() const { return data == nullptr && rank == 0; }
  size_t num_elements() const;  // product of the sizes, SIZE_MAX if it overflows; 1 for rank 0

  TensorView transpose(size_t dim0, size_t dim1) const;          // two dimensions exchanged
  TensorView slice(size_t dim, size_t begin, size_t end) const;  // [begin, end) of one dimension
};

// The same for memory that heed writes. Converts to TensorView.
struct MutableTensorView : TensorView {
  MutableTensorView() = default;
  template <class T>
  requires(!std::is_const_v<T>) MutableTensorView(T* elements, std::initializer_list<size_t> sizes)
      : TensorView(elements, sizes) {}
  template <class T>
  requires(!std::is_const_v<T>) MutableTensorView(T* elements, std::initializer_list<size_t> sizes,
                                                  std::initializer_list<ptrdiff_t> steps)
      : TensorView(elements, sizes, steps) {}
  MutableTensorView(void* elements, DType type, const size_t* sizes, size_t num_sizes,
                    const ptrdiff_t* steps = nullptr, size_t num_steps = 0)
      : TensorView(elements, type, sizes, num_sizes, steps, num_steps) {}

  void* mutable_data() const { return const_cast<void*>(data); }

  MutableTensorView transpose(size_t dim0, size_t dim1) const {
    return MutableTensorView(TensorView::transpose(dim0, dim1));
  }
  MutableTensorView slice(size_t dim, size_t begin, size_t end) const {
    return MutableTensorView(TensorView::slice(dim, begin, end));
  }

 private:
  explicit MutableTensorView(const TensorView& view) : TensorView(view) {}
};

}  // namespace heed::inline v1
