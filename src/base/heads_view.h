// Views of tensors as code walks over them: heads of tokens, rows, and single elements.
#pragma once

#include <cassert>
#include <cstddef>

#include "heed/tensor.hpp"

namespace heed::inline v1 {

// [batch, len, heads, dim] with or without the batch. Two elements of kInt4 lie in a byte.
struct HeadsView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  ptrdiff_t element_bytes = sizeof(float);
  size_t batch = 1, len = 0, heads = 0, dim = 0;
  ptrdiff_t batch_stride = 0, len_stride = 0, head_stride = 0, dim_stride = 0;

  // Where the first element of a head lies.
  const char* at(size_t b, size_t i, size_t h) const {
    const ptrdiff_t elements = static_cast<ptrdiff_t>(b) * batch_stride +
                               static_cast<ptrdiff_t>(i) * len_stride +
                               static_cast<ptrdiff_t>(h) * head_stride;
    return static_cast<const char*>(data) + elements * element_bytes;
  }
  char* mutable_at(size_t b, size_t i, size_t h) const { return const_cast<char*>(at(b, i, h)); }
  const float* row(size_t b, size_t i, size_t h) const {  // of f32
    assert(dtype == DType::kF32);
    return reinterpret_cast<const float*>(at(b, i, h));
  }

  size_t row_bytes() const {  // of unit stride
    return (dtype == DType::kInt4 ? (dim + 1) / 2 : dim) * static_cast<size_t>(element_bytes);
  }
  double bytes() const {
    return static_cast<double>(batch * heads) * static_cast<double>(len) *
           static_cast<double>(row_bytes());
  }
};

inline HeadsView AsHeads(const TensorView& view) {  // rank 3 or 4
  const size_t first = view.rank - 3;
  HeadsView h;
  h.data = view.data;
  h.dtype = view.dtype;
  h.element_bytes = static_cast<ptrdiff_t>(size_of(view.dtype));
  if (first == 1) {
    h.batch = view.shape[0];
    h.batch_stride = view.strides[0];
  }
  h.len = view.shape[first];
  h.heads = view.shape[first + 1];
  h.dim = view.shape[first + 2];
  h.len_stride = view.strides[first];
  h.head_stride = view.strides[first + 1];
  h.dim_stride = view.strides[first + 2];
  return h;
}

// Element offset of row `index`, counted over all dimensions but the last.
inline ptrdiff_t RowOffset(const TensorView& view, size_t index) {
  ptrdiff_t offset = 0;
  for (size_t i = view.rank - 1; i-- > 0;) {
    offset += static_cast<ptrdiff_t>(index % view.shape[i]) * view.strides[i];
    index /= view.shape[i];
  }
  return offset;
}

// Element (i, j, ...) of a view; its dtype is T.
template <class T, class... Index>
const T& At(const TensorView& view, Index... index) {
  ptrdiff_t offset = 0;
  size_t dim = 0;
  ((offset += static_cast<ptrdiff_t>(index) * view.strides[dim++]), ...);
  return static_cast<const T*>(view.data)[offset];
}

template <class T, class... Index>
T& MutableAt(const TensorView& view, Index... index) {
  return const_cast<T&>(At<T>(view, index...));
}

}  // namespace heed::inline v1
