#include <algorithm>

#include "heed/matmul.hpp"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/base/half.h"
#include "src/kernels/layout.h"

namespace heed {
namespace {

// One column of the packed matrix per output, wherever its panel's columns begin: several matrices
// side by side need not be multiples of 16 wide.
template <class T>
void PackColumnsOf(const TensorView& b, WeightLayout layout, size_t in, size_t first,
                   float* panels) {
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const ptrdiff_t in_stride = b.strides[in_dim], out_stride = b.strides[1 - in_dim];
  const size_t columns = in == 0 ? 0 : b.shape[1 - in_dim];  // without inputs data may be null
  const T* from = static_cast<const T*>(b.data);
  for (size_t done = 0; done < columns;) {  // up to the end of a panel at a time
    const size_t column = first + done, lane = column % kPanel;
    const size_t width = std::min(kPanel - lane, columns - done);
    float* to = panels + column / kPanel * in * kPanel + lane;
    const T* source = from + static_cast<ptrdiff_t>(done) * out_stride;
    for (size_t k = 0; k < in; ++k) {
      for (size_t i = 0; i < width; ++i) {
        to[k * kPanel + i] = ToFloat(
            source[static_cast<ptrdiff_t>(k) * in_stride + static_cast<ptrdiff_t>(i) * out_stride]);
      }
    }
    done += width;
  }
}

void PackColumns(const TensorView& b, WeightLayout layout, size_t in, size_t first, float* panels) {
  switch (b.dtype) {
    case DType::kF16:
      return PackColumnsOf<f16>(b, layout, in, first, panels);
    case DType::kBF16:
      return PackColumnsOf<bf16>(b, layout, in, first, panels);
    default:
      return PackColumnsOf<float>(b, layout, in, first, panels);
  }
}

}  // namespace

void PackedMatrix::Free::operator()(float* p) const { FreeFloats()(p); }

size_t PackedMatrix::bytes() const { return in_ * RoundUp(out_, kColumnPad) * sizeof(float); }

Result<PackedMatrix> PackedMatrix::pack(const TensorView& b, WeightLayout layout) {
  return pack(&b, 1, layout);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout) {
  const FloatEnvironment environment;
  PackedMatrix packed;
  if (b == nullptr || count == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "b: no matrix is given");
  }
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckFloatInput("b", b[i], 2, 2));
    if (i == 0) packed.in_ = b[i].shape[in_dim];
    if (b[i].shape[in_dim] != packed.in_) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "b: matrix %zu has %zu inputs, must have %zu as the first", i,
                           b[i].shape[in_dim], packed.in_);
    }
    if (__builtin_add_overflow(packed.out_, b[i].shape[1 - in_dim], &packed.out_)) {
      return Status::Error(StatusCode::kInvalidArgument, "b: too many columns in all");
    }
  }
  const size_t factors[] = {packed.in_, packed.out_ + kColumnPad, sizeof(float)};
  size_t bytes = 0;
  if (packed.out_ > PTRDIFF_MAX / 8 || !Product(factors, 3, &bytes)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "b: [%zu, %zu] exceeds the address space once packed", packed.in_,
                         packed.out_);
  }
  const size_t floats = packed.in_ * RoundUp(packed.out_, kColumnPad);
  packed.data_.reset(AllocateFloats(floats).release());
  if (packed.data_ == nullptr) return OutOfMemory("packed matrix", floats, sizeof(float));
  std::fill_n(packed.data_.get(), floats, 0.0f);
  size_t column = 0;
  for (size_t i = 0; i < count; ++i) {
    PackColumns(b[i], layout, packed.in_, column, packed.data_.get());
    column += b[i].shape[1 - in_dim];
  }
  return packed;
}

}  // namespace heed
