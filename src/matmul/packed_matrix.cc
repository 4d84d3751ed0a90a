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

// Of a task. Rows of whole pages, since each may lie in pages of its own.
constexpr size_t kPackColumns = 1024, kPackRows = 256;
constexpr double kPackCost = 16;  // of an element, in multiply-adds

// Columns [first, first + columns) of b, its rows [row, row + rows), which are those from `to` on
// of the packed matrix: several matrices side by side need not be multiples of 16 wide.
struct Part {
  size_t first, columns, to;
  size_t row, rows;
};

template <class T>
void PackElements(const TensorView& b, WeightLayout layout, size_t in, const Part& part,
                  float* panels) {
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const ptrdiff_t in_stride = b.strides[in_dim], out_stride = b.strides[1 - in_dim];
  const T* from = static_cast<const T*>(b.data) + static_cast<ptrdiff_t>(part.row) * in_stride;
  for (size_t done = 0; done < part.columns;) {  // up to the end of a panel at a time
    const size_t lane = (part.to + done) % kPanel,
                 width = std::min(kPanel - lane, part.columns - done);
    float* panel = panels + (part.to + done) / kPanel * in * kPanel + part.row * kPanel + lane;
    const T* source = from + static_cast<ptrdiff_t>(part.first + done) * out_stride;
    for (size_t k = 0; k < part.rows; ++k) {
      for (size_t i = 0; i < width; ++i) {
        panel[k * kPanel + i] = ToFloat(
            source[static_cast<ptrdiff_t>(k) * in_stride + static_cast<ptrdiff_t>(i) * out_stride]);
      }
    }
    done += width;
  }
}

// Whole panels of floats are what PackKernels copies; it pads the last with zeros, where the next
// matrix may begin.
void PackFloats(const TensorView& b, WeightLayout layout, size_t in, const Part& part,
                float* panels, const PackKernels& kernels) {
  const size_t lead = std::min(part.columns, RoundUp(part.to, kPanel) - part.to);
  PackElements<float>(b, layout, in, {part.first, lead, part.to, part.row, part.rows}, panels);
  if (lead == part.columns) return;
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  PanelCopy copy;
  copy.depth_stride = b.strides[in_dim];
  copy.column_stride = b.strides[1 - in_dim];
  copy.source = static_cast<const float*>(b.data) +
                static_cast<ptrdiff_t>(part.row) * copy.depth_stride +
                static_cast<ptrdiff_t>(part.first + lead) * copy.column_stride;
  copy.depth = part.rows;
  copy.columns = part.columns - lead;
  copy.panels = panels + (part.to + lead) * in + part.row * kPanel;
  copy.panel_stride = in * kPanel;
  // So few rows at a time that their pages stay known.
  const size_t step = copy.column_stride == 1 ? 16 : part.rows;
  for (size_t row = 0; row < part.rows; row += step) {
    kernels.panels(copy.Part(row, std::min(step, part.rows - row)));
  }
}

void PackPart(const TensorView& b, WeightLayout layout, size_t in, const Part& part, float* panels,
              const PackKernels& kernels) {
  switch (b.dtype) {
    case DType::kF16:
      return PackElements<f16>(b, layout, in, part, panels);
    case DType::kBF16:
      return PackElements<bf16>(b, layout, in, part, panels);
    default:
      return PackFloats(b, layout, in, part, panels, kernels);
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
  const size_t stripes = CeilDiv(padded, kPackColumns), tasks = stripes * CeilDiv(in, kPackRows);
  const double work = static_cast<double>(floats) * kPackCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t begin = task % stripes * kPackColumns;
    const size_t end = std::min(padded, begin + kPackColumns);
    const size_t row = task / stripes * kPackRows, rows = std::min(kPackRows, in - row);
    for (size_t to = std::max(begin, out / kPanel * kPanel); to < end; to += kPanel) {
      std::fill_n(data.get() + to * in + row * kPanel, rows * kPanel, 0.0f);
    }
    size_t first = 0;  // column of matrix i
    for (size_t i = 0; i < count; ++i) {
      const size_t last = first + b[i].shape[1 - in_dim];
      const size_t from = std::max(begin, first), to = std::min(end, last);
      if (from < to) {
        PackPart(b[i], layout, in, {from - first, to - from, from, row, rows}, data.get(),
                 *context.pack);
      }
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
