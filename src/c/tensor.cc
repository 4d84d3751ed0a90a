#include "heed/tensor.hpp"

#include "src/c/call.h"

using namespace heed;  // NOLINT: the functions below are C's

size_t heed_dtype_size(heed_dtype dtype) { return size_of(static_cast<DType>(dtype)); }

const char* heed_dtype_name(heed_dtype dtype) { return name_of(static_cast<DType>(dtype)); }

void heed_tensor_contiguous(heed_tensor* tensor, const void* data, heed_dtype dtype, size_t rank,
                            const size_t* sizes) {
  if (tensor == nullptr) return;
  if (rank > 0 && sizes == nullptr) rank = TensorView::kInvalidRank;
  *tensor = ToC(TensorView(data, static_cast<DType>(dtype), sizes, rank));
}

void heed_tensor_strided(heed_tensor* tensor, const void* data, heed_dtype dtype, size_t rank,
                         const size_t* sizes, const ptrdiff_t* steps) {
  if (tensor == nullptr) return;
  if (rank > 0 && (sizes == nullptr || steps == nullptr)) rank = TensorView::kInvalidRank;
  *tensor = ToC(TensorView(data, static_cast<DType>(dtype), sizes, rank, steps, rank));
}

size_t heed_tensor_num_elements(const heed_tensor* tensor) {
  return tensor == nullptr ? 0 : View(tensor).num_elements();
}

void heed_tensor_transpose(heed_tensor* tensor, size_t dim0, size_t dim1) {
  if (tensor != nullptr) *tensor = ToC(View(tensor).transpose(dim0, dim1));
}

void heed_tensor_slice(heed_tensor* tensor, size_t dim, size_t begin, size_t end) {
  if (tensor != nullptr) *tensor = ToC(View(tensor).slice(dim, begin, end));
}
