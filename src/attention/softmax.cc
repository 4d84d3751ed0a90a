#include "heed/softmax.hpp"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/heads_view.h"
#include "src/base/parallel.h"
#include "src/base/rows.h"
#include "src/kernels/score_units.h"

namespace heed::inline v1 {
namespace {

// How rows are shared out.
struct Shares {
  size_t rows, n;           // of x
  size_t task_rows, tasks;  // rows of a task
  size_t workers, together;
};

// Of other types than f32: rows that a kernel takes together are widened into memory of the
// worker's and narrowed from there.
Status SoftmaxOfRows(const TensorView& x, const MutableTensorView& y, const ScoreUnits& units,
                     const Shares& s, Context::Impl& context) {
  const RowReader read(*context.widen, x.dtype, 1);
  const RowWriter write = RowWriterOf(*context.widen, y.dtype);
  const auto x_bytes = static_cast<ptrdiff_t>(size_of(x.dtype));
  const auto y_bytes = static_cast<ptrdiff_t>(size_of(y.dtype));
  Arena counted, arena;
  counted.Take<float>(s.workers, s.together, s.n);
  HEED_RETURN_IF_ERROR(context.Reserve(counted.used(), &arena));
  float* memory = arena.Take<float>(s.workers, s.together, s.n);
  return ForEachTask(context, s.tasks, s.workers, [&](size_t task, size_t worker) {
    const size_t end = std::min(s.rows, (task + 1) * s.task_rows);
    float* floats = memory + worker * s.together * s.n;
    for (size_t row = task * s.task_rows; row < end; row += s.together) {
      SoftmaxRow of[kMaxSoftmaxRows];
      const size_t some = std::min(s.together, end - row);
      for (size_t r = 0; r < some; ++r) {
        float* in_f32 = floats + r * s.n;
        read(static_cast<const char*>(x.data) + RowOffset(x, row + r) * x_bytes, s.n, in_f32);
        of[r] = {in_f32, in_f32};
      }
      context.softmax->rows(of, some, units.factor, units.to_base2(), s.n);
      for (size_t r = 0; r < some; ++r) {
        write(of[r].y, s.n, static_cast<char*>(y.mutable_data()) + RowOffset(y, row + r) * y_bytes);
      }
    }
  });
}

}  // namespace

Status softmax(const TensorView& x, const MutableTensorView& y, const SoftmaxOptions& options,
               Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckFloatInput("x", x, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput("y", y, 1, kMaxRank));
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
  Context::Impl& impl = *Context::Impl::Of(context);
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
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32) {
    return SoftmaxOfRows(x, y, units, {rows, n, task_rows, tasks, workers, together}, impl);
  }
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

}  // namespace heed::inline v1
