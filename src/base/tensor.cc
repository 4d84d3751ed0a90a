#include "heed/tensor.hpp"

#include <cstdint>
#include <utility>

namespace heed::inline v1 {

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kU8:
    case DType::kInt8:
    case DType::kInt4:
      return 1;
  }
  return 0;
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kU8:
      return "u8";
    case DType::kInt8:
      return "int8";
    case DType::kInt4:
      return "int4";
  }
  return "unknown dtype";
}

TensorView::TensorView(const void* elements, DType type, const size_t* sizes, size_t num_sizes,
                       const ptrdiff_t* steps, size_t num_steps)
    : data(elements), dtype(type) {
  if (num_sizes > kMaxRank || (steps != nullptr && num_steps != num_sizes)) {
    rank = kInvalidRank;
    return;
  }
  rank = num_sizes;
  size_t step = 1;  // may wrap for sizes that overflow, which every function refuses
  for (size_t i = rank; i-- > 0;) {
    shape[i] = sizes[i];
    strides[i] = steps != nullptr ? steps[i] : static_cast<ptrdiff_t>(step);
    step *= sizes[i];
  }
}

size_t TensorView::num_elements() const {
  size_t count = 1;
  bool empty = false;
  bool overflow = rank > kMaxRank;
  for (size_t i = 0; i < rank && !overflow; ++i) {
    empty |= shape[i] == 0;
    overflow |= shape[i] != 0 && __builtin_mul_overflow(count, shape[i], &count);
  }
  return overflow ? SIZE_MAX : empty ? 0 : count;
}

TensorView TensorView::transpose(size_t dim0, size_t dim1) const {
  TensorView view = *this;
  if (rank > kMaxRank || dim0 >= rank || dim1 >= rank) {
    view.rank = kInvalidRank;
    return view;
  }
  std::swap(view.shape[dim0], view.shape[dim1]);
  std::swap(view.strides[dim0], view.strides[dim1]);
  return view;
}

TensorView TensorView::slice(size_t dim, size_t begin, size_t end) const {
  TensorView view = *this;
  if (rank > kMaxRank || dim >= rank || begin > end || end > shape[dim]) {
    view.rank = kInvalidRank;
    return view;
  }
  view.shape[dim] = end - begin;
  if (data == nullptr || view.num_elements() == 0) return view;  // no element, so no address
  ptrdiff_t offset = 0;
  uintptr_t address = 0;
  if (__builtin_mul_overflow(begin, strides[dim], &offset) ||
      __builtin_mul_overflow(offset, size_of(dtype), &offset) ||
      __builtin_add_overflow(reinterpret_cast<uintptr_t>(data), offset, &address)) {
    view.rank = kInvalidRank;
    return view;
  }
  view.data = static_cast<const char*>(data) + offset;
  return view;
}

}  // namespace heed::inline v1
