#include "src/attention/segments.h"

#include <algorithm>

#include "src/base/check.h"

namespace heed {

Status ReserveState(const AttentionPlan& plan, Context::Impl& context, StateView* state) {
  const size_t n = plan.segments, b = plan.q.batch, q = plan.q.len, h = plan.q.heads;
  const size_t rows = n * b * q * h, dim = plan.acc_stride;
  float* memory = context.Reserve(Buffer::kAttentionParts, rows * (dim + 2));
  if (memory == nullptr) return OutOfMemory("workspace", rows * (dim + 2), sizeof(float));
  state->views.acc = MutableTensorView(memory, {n, b, q, h, dim});
  state->views.max = MutableTensorView(memory + rows * dim, {n, b, h, q});
  state->views.sum = MutableTensorView(memory + rows * (dim + 1), {n, b, h, q});
  return Status();
}

namespace {

// Copies a segment's result to where the state keeps it.
class KeepSegment : public SegmentEnd {
 public:
  KeepSegment(const StateView& state, size_t segment) : state_(state), segment_(segment) {}

  void Take(const Rows& group, const AttentionWorkspace& w) const override {
    for (size_t r = 0; r < group.count; ++r) {
      const RowPartial part = state_.At(segment_, group, r);
      const RowPartial from = w.segment(r, group.plan.acc_stride);
      *part.max = *from.max;
      *part.sum = *from.sum;
      std::copy_n(from.acc, group.plan.out.dim, part.acc);
    }
  }

  // What rows have that see none of its keys.
  void Clear(const Rows& rows) const {
    for (size_t r = 0; r < rows.count; ++r) {
      ClearRow(state_.At(segment_, rows, r), rows.plan.out.dim);
    }
  }

 private:
  const StateView& state_;
  size_t segment_;
};

}  // namespace

Status RunSegments(const AttentionPlan& plan, const StateView& state, Context::Impl& context) {
  const size_t tasks = plan.batch * plan.k.heads * plan.row_blocks * plan.segments;
  const size_t first = plan.first_key / kSegmentKeys;
  return WithWorkspaces(plan, tasks, context, [&](size_t task, const AttentionWorkspace& w) {
    const size_t segment = task % plan.segments;
    const Rows rows = RowsOfTask(plan, task / plan.segments);
    if (rows.count == 0) return;
    PrepareRows(rows, w);
    const KeepSegment keep(state, segment);
    keep.Clear(rows);
    AttendSegment(*context.attention, rows, first + segment, w, keep);
  });
}

}  // namespace heed
