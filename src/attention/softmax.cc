#include "heed/softmax.hpp"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/base/parallel.h"
#include "src/kernels/score_units.h"

namespace heed {
namespace {

// Element offset of row `index`, counted over all dimensions but the last.
ptrdiff_t RowOffset(const TensorView& view, size_t index) {
  ptrdiff_t offset = 0;
  for (size_t i = view.rank - 1; i-- > 0;) {
    offset += static_cast<ptrdiff_t>(index % view.shape[i]) * view.strides[i];
    index /= view.shape[i];
  }
  return offset;
}

}  // namespace

Status softmax(const TensorView& x, const MutableTensorView& y, const SoftmaxOptions& options,
               Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckInput("x", x, DType::kF32, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckRowOutput("y", y, 1, kMaxRank));
  if (x.rank != y.rank || !std::equal(x.shape, x.shape + x.rank, y.shape)) {
    return Status::Error(StatusCode::kInvalidArgument, "y: shape is %s, must be that of x, %s",
                         ShapeText(y).text, ShapeText(x).text);
  }
  const size_t n = x.shape[x.rank - 1];
  if (n > 1 && x.strides[x.rank - 1] != 1) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "x: stride of the last dimension is %td, must be 1",
                         x.strides[x.rank - 1]);
  }
  if (!SameView(x, y)) HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "x", x));
  if (!std::isfinite(options.scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "scale: is %g, must be finite",
                         static_cast<double>(options.scale));
  }
  const size_t count = x.num_elements();
  if (count == 0) return Status();
  const Context::Impl& impl = *Context::Impl::Of(context);
  const ScoreUnits units = ScoreUnits::Of(options.scale);
  const size_t rows = count / n;
  // What the fma units would do in the time of one: 65536 take some 15 microseconds.
  constexpr double kFlopsPerElement = 50;
  const size_t workers = WorkersFor(impl, rows, kFlopsPerElement * static_cast<double>(count));
  // One task a thread while all stays in L2: in the next call the same thread has the same rows.
  const size_t elements = std::clamp<size_t>(count / workers, 4096, 65536);
  const size_t task_rows = CeilDiv(elements, n);
  const size_t tasks = CeilDiv(rows, task_rows);
  // Rows of a kernel call: what they read and write stays in L1.
  const size_t together = std::clamp<size_t>(2048 / n, 1, kMaxSoftmaxRows);
  return ForEachTask(impl, tasks, workers, [&](size_t task, size_t) {
    const size_t end = std::min(rows, (task + 1) * task_rows);
    for (size_t row = task * task_rows; row < end; row += together) {
      SoftmaxRow of[kMaxSoftmaxRows];
      const size_t some = std::min(together, end - row);
      for (size_t r = 0; r < some; ++r) {
        of[r] = {static_cast<const float*>(x.data) + RowOffset(x, row + r),
                 static_cast<float*>(y.mutable_data()) + RowOffset(y, row + r)};
      }
      impl.softmax->rows(of, some, units.factor, units.to_base2(), n);
    }
  });
}

}  // namespace heed
