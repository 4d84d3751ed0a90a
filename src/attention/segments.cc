#include "src/attention/segments.h"

#include <algorithm>

namespace heed {

namespace {

// Copies a segment's result to where the state keeps it.
class KeepSegment : public SegmentEnd {
 public:
  KeepSegment(const StateView& state, size_t segment) : state_(state), segment_(segment) {}

  void Take(const Rows& group, const AttentionWorkspace& w) const override {
    for (size_t r = 0; r < group.count; ++r) {
      const RowPartial part = PartOf(state_, segment_, group, r);
      const RowPartial from = w.segment(r, group.plan.acc_stride);
      *part.max = *from.max;
      *part.sum = *from.sum;
      std::copy_n(from.acc, group.plan.out.dim, part.acc);
    }
  }

  // What rows have that see none of its keys.
  void Clear(const Rows& rows) const {
    for (size_t r = 0; r < rows.count; ++r) {
      ClearRow(PartOf(state_, segment_, rows, r), rows.plan.out.dim);
    }
  }

 private:
  const StateView& state_;
  size_t segment_;
};

}  // namespace

RowPartial PartOf(const StateView& state, size_t segment, const Rows& rows, size_t r) {
  return state.At(segment, rows.plan.packed() ? 0 : rows.batch, rows.head(r),
                  rows.sequence.q_begin + rows.query(r));
}

void RunSegments(const AttentionPlan& plan, const StateView& state, const AttentionMemory& memory,
                 const Context::Impl& context) {
  const size_t tasks = plan.batch * plan.k.heads * plan.row_blocks * plan.segments;
  const size_t first = plan.first_key / kSegmentKeys;
  ForEachTask(plan, memory, tasks, context, [&](size_t task, const AttentionWorkspace& w) {
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
