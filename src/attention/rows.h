// What one thread does with some rows of queries: copy, find their keys, run the kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/attention/plan.h"
#include "src/attention/workspace.h"
#include "src/base/context.h"
#include "src/base/parallel.h"
#include "src/kernels/attention.h"

namespace heed {

// Some queries of one sequence and kv head: rows [first, first + count), see AttentionPlan.
struct Rows {
  const AttentionPlan& plan;
  Sequence sequence;
  size_t batch, kv_head, first, count;

  Rows(const AttentionPlan& p, size_t b, size_t head, size_t row_block);

  // Its rows from `from` on, as many as kernels take at a time.
  Rows Group(size_t from) const;

  // Calls visit(r, query(r), head(r)) for all rows, without the divisions.
  template <class Visit>
  void ForEach(const Visit& visit) const {
    size_t i = first / plan.group, in_group = first % plan.group;
    for (size_t r = 0; r < count; ++r) {
      visit(r, i, kv_head * plan.group + in_group);
      if (++in_group < plan.group) continue;
      in_group = 0;
      ++i;
    }
  }

  size_t query(size_t r) const { return (first + r) / plan.group; }
  size_t head(size_t r) const { return kv_head * plan.group + (first + r) % plan.group; }
  ptrdiff_t position(size_t r) const { return position_of(query(r)); }
  ptrdiff_t position_of(size_t query) const {
    return sequence.position + static_cast<ptrdiff_t>(query);
  }
};

class RowsAhead;

// The rows of a task that counts sequences and kv heads inside, row blocks outside from the last:
// with a causal mask those see most keys, and long tasks should begin first.
Rows RowsOfTask(const AttentionPlan& plan, size_t task);

// Finds the keys that the rows see.
void PrepareRows(const Rows& rows, const AttentionWorkspace& w);

// Copies a group's queries, unless that is done.
void PrepareQueries(const Rows& group, const AttentionWorkspace& w);

// What happens to a group of rows when the last of its keys of a segment is taken.
class SegmentEnd {
 public:
  // w.max, w.lanes[r * kSumLanes] and w.acc of the group's rows hold the segment.
  virtual void Take(const Rows& group, const AttentionWorkspace& w) const = 0;

  // What Take() will touch of memory that is not in cache, for a group of rows.
  virtual void AskFor(const Rows&, const AttentionWorkspace&, RowsAhead*) const {}

 protected:
  ~SegmentEnd() = default;
};

// Runs one segment of the keys from an empty state; calls end.Take once for every group of rows of
// which some see some of it.
void AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const AttentionWorkspace& w, const SegmentEnd& end);

// The weights of one block of keys into w.weights, for a group of rows; false when none of them sees
// any. Copies the keys only when `keys_ready` is false, and sets it.
bool WeightsOfBlock(const AttentionKernels& kernels, const Rows& rows, size_t block,
                    const RowTotal& total, const AttentionWorkspace& w, bool* keys_ready);

// Runs visit(task, workspace) for all tasks of a pass of an attention call.
template <class Visit>
void ForEachTask(const AttentionPlan& plan, const AttentionMemory& memory, size_t tasks,
                 const Context::Impl& context, const Visit& visit) {
  ForEachTask(context, tasks, std::min(plan.workers, tasks),
              [&](size_t task, size_t worker) { visit(task, memory.OfWorker(plan, worker)); });
}

}  // namespace heed
