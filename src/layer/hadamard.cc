#include "heed/hadamard.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/base/heads_view.h"
#include "src/base/parallel.h"

namespace heed {
Status hadamard(const TensorView& x, const MutableTensorView& y, Context& context) {
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
  const size_t count = x.num_elements();
  if (count == 0) return Status();
  Context::Impl& impl = *Context::Impl::Of(context);
  const size_t part = n & (~n + 1), rows = count / n;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(part)));
  constexpr size_t kTaskElements = 16384;
  const size_t task_rows = CeilDiv(kTaskElements, n), tasks = CeilDiv(rows, task_rows);
  constexpr double kElementCost = 16;  // in multiply-adds
  const size_t workers = WorkersFor(impl, tasks, static_cast<double>(count) * kElementCost);
  Arena counted, arena;
  counted.Take<float>(workers, 2 * part);
  HEED_RETURN_IF_ERROR(impl.Reserve(counted.used(), &arena));
  float* scratch = arena.Take<float>(workers, 2 * part);
  return ForEachTask(impl, tasks, workers, [&](size_t task, size_t worker) {
    for (size_t row = task * task_rows; row < std::min(rows, (task + 1) * task_rows); ++row) {
      const float* from = static_cast<const float*>(x.data) + RowOffset(x, row);
      float* to = static_cast<float*>(y.mutable_data()) + RowOffset(y, row);
      if (part > 1) {
        impl.hadamard->row(from, n, part, scale, scratch + worker * 2 * part, to);
      } else if (from != to) {
        std::memcpy(to, from, n * sizeof(float));
      }
    }
  });
}

}  // namespace heed
