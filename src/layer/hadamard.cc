#include "src/layer/hadamard.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/base/check.h"
#include "src/base/heads_view.h"
#include "src/base/parallel.h"
#include "src/kernels/hadamard.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {
namespace {

float* Scratch(const HadamardPlan& plan, Arena* arena) {
  return arena->Take<float>(plan.workers, 2 * plan.part);
}

}  // namespace

void PlanHadamard(const TensorView& x, const MutableTensorView& y, const Context::Impl& context,
                  HadamardPlan* plan) {
  plan->x = x;
  plan->y = y;
  const size_t count = x.num_elements(), n = x.shape[x.rank - 1];
  if (count == 0) return;
  plan->part = n & (~n + 1);
  plan->scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(plan->part)));
  constexpr size_t kTaskElements = 16384;
  plan->task_rows = CeilDiv(kTaskElements, n);
  plan->tasks = CeilDiv(count / n, plan->task_rows);
  constexpr double kElementCost = 16;  // in multiply-adds
  plan->workers = WorkersFor(context, plan->tasks, static_cast<double>(count) * kElementCost);
  Arena counted;
  Scratch(*plan, &counted);
  plan->bytes = counted.used();
}

Status RunHadamard(const HadamardPlan& plan, Arena arena, const Context::Impl& context) {
  if (plan.tasks == 0) return Status();
  const size_t n = plan.x.shape[plan.x.rank - 1], rows = plan.x.num_elements() / n;
  float* scratch = Scratch(plan, &arena);
  return ForEachTask(context, plan.tasks, plan.workers, [&](size_t task, size_t worker) {
    const size_t end = std::min(rows, (task + 1) * plan.task_rows);
    for (size_t row = task * plan.task_rows; row < end; ++row) {
      const float* from = static_cast<const float*>(plan.x.data) + RowOffset(plan.x, row);
      float* to = static_cast<float*>(plan.y.mutable_data()) + RowOffset(plan.y, row);
      if (plan.part > 1) {
        context.hadamard->row(from, n, plan.part, plan.scale, scratch + worker * 2 * plan.part, to);
      } else if (from != to) {
        std::memcpy(to, from, n * sizeof(float));
      }
    }
  });
}

Status hadamard(const TensorView& x, const MutableTensorView& y, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
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
  Context::Impl& impl = *Context::Impl::Of(context);
  HadamardPlan plan;
  PlanHadamard(x, y, impl, &plan);
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena));
  return RunHadamard(plan, arena, impl);
}

}  // namespace heed::inline v1
