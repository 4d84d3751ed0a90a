#include "src/base/rows.h"

#include "src/base/half.h"

namespace heed::inline v1 {
namespace {

template <class T>
void ReadApart(const void* from, ptrdiff_t stride, size_t n, float* to) {
  const T* x = static_cast<const T*>(from);
  for (size_t i = 0; i < n; ++i, x += stride) to[i] = ToFloat(*x);
}
// At StoredIndex; null: elements of codes have no meaning alone.
constexpr void (*kReadApart[kStoredTypes])(const void*, ptrdiff_t, size_t, float*) = {
    &ReadApart<float>, &ReadApart<f16>, &ReadApart<bf16>, nullptr, nullptr};

}  // namespace

RowReader::RowReader(const WidenKernels& kernels, DType dtype, ptrdiff_t stride)
    : stride_(stride),
      side_by_side_(kernels.row[StoredIndex(dtype)]),
      apart_(kReadApart[StoredIndex(dtype)]) {}

RowWriter RowWriterOf(const WidenKernels& kernels, DType dtype) {
  return kernels.narrow[StoredIndex(dtype)];
}

}  // namespace heed::inline v1
