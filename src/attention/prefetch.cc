#include "src/attention/prefetch.h"

#include <algorithm>

namespace heed {

void RowsAhead::Add(const HeadsView& view, const float* row) {
  if (view.dim_stride != 1 || count_ == kMaxRowsAhead) return;
  const size_t before = reinterpret_cast<uintptr_t>(row) % (kLineFloats * sizeof(float));
  const size_t lines = CeilDiv(before / sizeof(float) + view.dim, kLineFloats);
  rows_[count_++] = {row, lines};
  lines_ += lines;
}

void RowsAhead::AddKeys(const Rows& rows, size_t first, size_t part, size_t parts) {
  const AttentionPlan& plan = rows.plan;
  if (plan.source.cache != nullptr || plan.source.paged != nullptr) return;
  const size_t end = std::min(first + kKeyBlock, rows.sequence.kv_len);
  if (first >= end) return;
  const size_t from = first + (end - first) * part / parts;
  const size_t to = first + (end - first) * (part + 1) / parts;
  for (const HeadsView* view : {&plan.k, &plan.v}) {
    for (size_t j = from; j < to; ++j) {
      Add(*view, view->row(rows.batch, rows.sequence.row_of_key(j), rows.kv_head));
    }
  }
}

void RowsAhead::AddQueries(const Rows& group) {
  const HeadsView& q = group.plan.q;
  group.ForEach([&](size_t, size_t i, size_t h) {
    Add(q, q.row(group.batch, group.sequence.q_begin + i, h));
  });
}

void RowsAhead::AddOutputs(const Rows& group) {
  const HeadsView& out = group.plan.out;
  group.ForEach([&](size_t, size_t i, size_t h) {
    Add(out, out.row(group.batch, group.sequence.q_begin + i, h));
  });
}

void RowsAhead::Describe(KeyBlock* keys) const {
  keys->ahead = rows_;
  keys->rows_ahead = count_;
  keys->lines_ahead = lines_;
}

}  // namespace heed
