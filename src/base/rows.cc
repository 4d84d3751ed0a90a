#include "src/base/rows.h"

#include "src/base/half.h"

namespace heed::inline v1 {
namespace {

template <class T>
void ReadApart(const void* from, ptrdiff_t stride, size_t n, float* to) {
  const T* x = static_cast<const T*>(from);
  for (size_t i = 0; i < n; ++i, x += stride) to[i] = ToFloat(*x);
}

}  // namespace

RowReader::RowReader(const WidenKernels& kernels, DType dtype, ptrdiff_t stride)
    : stride_(stride), side_by_side_(kernels.row[StoredIndex(DType::kF32)]) {
  apart_ = &ReadApart<float>;
  if (dtype == DType::kF16) {
    side_by_side_ = kernels.row[StoredIndex(DType::kF16)];
    apart_ = &ReadApart<f16>;
  } else if (dtype == DType::kBF16) {
    side_by_side_ = kernels.row[StoredIndex(DType::kBF16)];
    apart_ = &ReadApart<bf16>;
  }
}

RowWriter RowWriterOf(const WidenKernels& kernels, DType dtype) {
  if (dtype == DType::kF16) return kernels.narrow[StoredIndex(DType::kF16)];
  if (dtype == DType::kBF16) return kernels.narrow[StoredIndex(DType::kBF16)];
  return kernels.narrow[StoredIndex(DType::kF32)];
}

}  // namespace heed::inline v1
