#include "src/matmul/packed_matrix.h"

#include <algorithm>
#include <new>

#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/base/half.h"
#include "src/base/parallel.h"
#include "src/kernels/layout.h"

namespace heed {
namespace {

constexpr size_t kPackColumns = 64;  // of a task
constexpr double kPackCost = 16;     // of an element, in multiply-adds

// Columns [first, first + columns) of b, which are those from `to` on of the packed matrix: several
// matrices side by side need not be multiples of 16 wide.
template <class T>
void PackColumnsOf(const TensorView& b, WeightLayout layout, size_t in, size_t first,
                   size_t columns, size_t to, float* panels) {
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const ptrdiff_t in_stride = b.strides[in_dim], out_stride = b.strides[1 - in_dim];
  const T* from = static_cast<const T*>(b.data);
  for (size_t done = 0; done < columns;) {  // up to the end of a panel at a time
    const size_t lane = (to + done) % kPanel, width = std::min(kPanel - lane, columns - done);
    float* panel = panels + (to + done) / kPanel * in * kPanel + lane;
    const T* source = from + static_cast<ptrdiff_t>(first + done) * out_stride;
    for (size_t k = 0; k < in; ++k) {
      for (size_t i = 0; i < width; ++i) {
        panel[k * kPanel + i] = ToFloat(
            source[static_cast<ptrdiff_t>(k) * in_stride + static_cast<ptrdiff_t>(i) * out_stride]);
      }
    }
    done += width;
  }
}

void PackColumns(const TensorView& b, WeightLayout layout, size_t in, size_t first, size_t columns,
                 size_t to, float* panels) {
  switch (b.dtype) {
    case DType::kF16:
      return PackColumnsOf<f16>(b, layout, in, first, columns, to, panels);
    case DType::kBF16:
      return PackColumnsOf<bf16>(b, layout, in, first, columns, to, panels);
    default:
      return PackColumnsOf<float>(b, layout, in, first, columns, to, panels);
  }
}

}  // namespace

Status PackedMatrix::Impl::Pack(const TensorView* b, size_t count, WeightLayout layout,
                                Context::Impl& context) {
  if (b == nullptr || count == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "b: no matrix is given");
  }
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckFloatInput("b", b[i], 2, 2));
    if (i == 0) in = b[i].shape[in_dim];
    if (b[i].shape[in_dim] != in) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "b: matrix %zu has %zu inputs, must have %zu as the first", i,
                           b[i].shape[in_dim], in);
    }
    if (__builtin_add_overflow(out, b[i].shape[1 - in_dim], &out)) {
      return Status::Error(StatusCode::kInvalidArgument, "b: too many columns in all");
    }
  }
  const size_t factors[] = {in, out + kColumnPad, sizeof(float)};
  size_t bytes = 0;
  if (out > PTRDIFF_MAX / 8 || !Product(factors, 3, &bytes)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "b: [%zu, %zu] exceeds the address space once packed", in, out);
  }
  const size_t padded = RoundUp(out, kColumnPad), floats = in * padded;
  data = AllocateFloats(floats);
  if (data == nullptr) return OutOfMemory("packed matrix", floats, sizeof(float));
  if (floats == 0) return Status();
  const size_t tasks = CeilDiv(padded, kPackColumns);
  const double work = static_cast<double>(floats) * kPackCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t begin = task * kPackColumns, end = std::min(padded, begin + kPackColumns);
    if (end > out) std::fill(data.get() + begin * in, data.get() + end * in, 0.0f);
    size_t first = 0;  // column of matrix i
    for (size_t i = 0; i < count; ++i) {
      const size_t last = first + b[i].shape[1 - in_dim];
      const size_t from = std::max(begin, first), to = std::min(end, last);
      if (from < to) PackColumns(b[i], layout, in, from - first, to - from, from, data.get());
      first = last;
    }
  });
}

namespace {

// What a matrix of 0 x 0 holds, so that none that was moved from is taken for one. Never destroyed.
union Nothing {
  constexpr Nothing() : impl() {}
  ~Nothing() {}
  PackedMatrix::Impl impl;
};
constinit Nothing nothing;

}  // namespace

void PackedMatrix::Destroy::operator()(Impl* impl) const {
  if (impl != &nothing.impl) delete impl;
}

PackedMatrix::PackedMatrix() : impl_(&nothing.impl) {}

size_t PackedMatrix::in() const { return impl_ ? impl_->in : 0; }

size_t PackedMatrix::out() const { return impl_ ? impl_->out : 0; }

size_t PackedMatrix::bytes() const { return in() * RoundUp(out(), kColumnPad) * sizeof(float); }

Result<PackedMatrix> PackedMatrix::pack(const TensorView& b, WeightLayout layout,
                                        Context& context) {
  return pack(&b, 1, layout, context);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout,
                                        Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  PackedMatrix packed;
  packed.impl_.reset(new (std::nothrow) Impl);
  if (packed.impl_ == nullptr) return OutOfMemory("packed matrix", sizeof(Impl));
  HEED_RETURN_IF_ERROR(packed.impl_->Pack(b, count, layout, *Context::Impl::Of(context)));
  return packed;
}

}  // namespace heed
