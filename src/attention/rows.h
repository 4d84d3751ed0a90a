// What one thread does with some rows of queries: copy, find their keys, run the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/attention/mask.h"
#include "src/attention/plan.h"
#include "src/attention/state.h"
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

// What is known of a group of rows.
struct RowGroup {
  VisibleKeys some;  // by the rules: holds what at least one row sees
  KeyRange all;      // every row sees these
  bool queries_ready = false;
  bool met = false;       // a key of the segment at hand
  bool joined = false;    // the totals are set, and hold the earlier segments
  bool finished = false;  // written out

  bool Sees(size_t first, size_t last) const {
    return !some.kept.Within(first, last).empty() || !some.near.Within(first, last).empty();
  }
};

class RowsAhead;

// A worker's memory, carved from one buffer.
struct AttentionWorkspace {
  // Of all rows of a task.
  float* queries;
  float *max, *lanes, *acc;                  // of a segment; sums end in lanes[r * kSumLanes]
  float *total_max, *total_sum, *total_acc;  // of all segments so far, where there are several
  float* slope;                              // of ALiBi, else null
  VisibleKeys* keys_of;
  RowGroup* groups;  // [rows / kScoreRows]
  // Of a block of keys.
  float *keys, *values;
  // Of a group of rows and a block of keys: [kScoreRows], or [kScoreRows][kKeyBlock] and null
  // unless needed.
  float *scores, *multipliers, *bias, *weights, *distance;
  uint64_t* visible;  // [kScoreRows][kVisibleWords], null unless there may be holes
  uint8_t *begin, *end;
  RowAhead* ahead;  // [kMaxRowsAhead]

  // Lays the arrays out from `base`; returns the floats taken, a multiple of a cache line.
  size_t Carve(const AttentionPlan& plan, float* base);

  // The same with the arrays of rows beginning at row `from`, a multiple of kScoreRows.
  AttentionWorkspace Group(const AttentionPlan& plan, size_t from) const;

  RowPartial segment(size_t r, size_t acc_stride) const {
    return {max + r, lanes + r * kSumLanes, acc + r * acc_stride};
  }
  RowPartial total(size_t r, size_t acc_stride) const {
    return {total_max + r, total_sum + r, total_acc + r * acc_stride};
  }
};

inline bool SeesKey(const AttentionWorkspace& w, size_t r, size_t j) {
  return w.visible == nullptr || (w.visible[r * kVisibleWords + j / 64] >> j % 64 & 1) != 0;
}

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

// Runs visit(task, workspace) for all tasks of an attention call.
template <class Visit>
Status WithWorkspaces(const AttentionPlan& plan, size_t tasks, Context::Impl& context,
                      const Visit& visit) {
  const size_t workers = WorkersFor(context, tasks, AttentionFlops(plan));
  AttentionWorkspace size;
  const size_t floats = size.Carve(plan, nullptr);
  float* memory = context.Reserve(Buffer::kAttentionWorkers, workers * floats);
  if (memory == nullptr) return OutOfMemory("workspace", workers * floats, sizeof(float));
  return ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    AttentionWorkspace w;
    w.Carve(plan, memory + worker * floats);
    visit(task, w);
  });
}

}  // namespace heed
