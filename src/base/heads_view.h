// Views of tensors as code walks over them: heads of tokens, and single elements.
#pragma once

#include <cstddef>

#include "heed/tensor.hpp"

namespace heed {

// [batch, len, heads, dim] with or without the batch.
struct HeadsView {
  const float* data = nullptr;
  size_t batch = 1, len = 0, heads = 0, dim = 0;
  ptrdiff_t batch_stride = 0, len_stride = 0, head_stride = 0, dim_stride = 0;

  const float* row(size_t b, size_t i, size_t h) const {
    return data + static_cast<ptrdiff_t>(b) * batch_stride +
           static_cast<ptrdiff_t>(i) * len_stride + static_cast<ptrdiff_t>(h) * head_stride;
  }

  double num_elements() const {
    return static_cast<double>(batch * heads) * static_cast<double>(len) * static_cast<double>(dim);
  }
};

inline HeadsView AsHeads(const TensorView& view) {  // rank 3 or 4
  const size_t first = view.rank - 3;
  HeadsView h;
  h.data = static_cast<const float*>(view.data);
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

}  // namespace heed
