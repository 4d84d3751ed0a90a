// The memory of an attention call: what it holds, and how many bytes that is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/attention/mask.h"
#include "src/attention/plan.h"
#include "src/attention/state.h"
#include "src/base/arena.h"
#include "src/base/context.h"
#include "src/base/parallel.h"
#include "src/kernels/attention.h"
#include "src/kernels/prefetch.h"

namespace heed::inline v1 {

// What is known of a group of rows.
struct RowGroup {
  GroupKeys keys;
  bool queries_ready = false;
  bool met = false;       // a key of the segment at hand
  bool joined = false;    // the totals are set, and hold the earlier segments
  bool finished = false;  // written out
};

// Keys and values of a block, queries of a group of rows and its outputs.
inline constexpr size_t kMaxPrefetchRows = 2 * kKeyBlock + 2 * kScoreRows;

// What the second pass, over the weights, needs of the first: [batch, kv head, row] each; null
// where no weights are asked for.
struct RowTotals {
  float *shift = nullptr, *inverse = nullptr;
  // [segments][batch, kv head, row]: the largest score in units, -inf where no key is seen. In
  // base 2 it is rounded, and weights of large scores would not add up to 1.
  float* largest = nullptr;
};

// A worker's memory.
struct AttentionWorkspace {
  // Of all rows of a task.
  float* queries;          // packed; null where q_codes are
  float* widened_queries;  // [kTileRows][head_dim], of a tile; null where queries are f32
  // In their place with codes of keys; codes as the kernels lay them out, see QueryRows.
  int16_t* q_codes;
  float* q_scales;
  float *max, *lanes, *acc;  // of a segment; sums end in lanes[r * kSumLanes], maxima in base 2
  float *total_max, *total_sum, *total_acc;  // of all segments so far, where there are several
  float* slope;                              // of ALiBi, else null
  RowGroup* groups;                          // [rows / kScoreRows]
  // Of a block of keys.
  float *keys, *values;
  // Of a group of rows and a block of keys.
  float* scores;   // [kScoreRows][kKeyBlock]
  float* weights;  // the same, null unless asked for
  BlockScratch block;
  PrefetchRow* prefetch;  // [kMaxPrefetchRows]
  RowTotals totals;       // of the call

  AttentionWorkspace(const AttentionPlan& plan, Arena* arena);

  // The same with the arrays of rows beginning at row `from`, a multiple of kScoreRows.
  AttentionWorkspace Group(const AttentionPlan& plan, size_t from) const;

  RowPartial segment(size_t r, size_t acc_stride) const {
    return {max + r, lanes + r * kSumLanes, acc + r * acc_stride};
  }
  RowPartial total(size_t r, size_t acc_stride) const {
    return {total_max + r, total_sum + r, total_acc + r * acc_stride};
  }
};

// All of a call's memory, laid out in an arena.
struct AttentionMemory {
  RowTotals totals;
  StateView parts;  // of all segments, where the plan is split
  HiddenBlocks hidden;
  char* workers;  // [plan.workers], of plan.worker_bytes each

  AttentionMemory(const AttentionPlan& plan, Arena* arena);

  // Before the first task.
  [[nodiscard]] Status Clear(const AttentionPlan& plan, const Context::Impl& context) const;

  AttentionWorkspace OfWorker(const AttentionPlan& plan, size_t worker) const {
    Arena arena(workers + worker * plan.worker_bytes);
    AttentionWorkspace w(plan, &arena);
    w.block.hidden = hidden;
    w.totals = totals;
    return w;
  }
};

// Fills plan.workers and plan.bytes, after everything else.
void PlanMemory(const Context::Impl& context, AttentionPlan* plan);

// Runs visit(task, workspace) for all tasks of a pass of an attention call.
template <class Visit>
[[nodiscard]] Status ForEachTask(const AttentionPlan& plan, const AttentionMemory& memory,
                                 size_t tasks, const Context::Impl& context, const Visit& visit) {
  return ForEachTask(
      context, tasks, std::min(plan.workers, tasks),
      [&](size_t task, size_t worker) { visit(task, memory.OfWorker(plan, worker)); });
}

}  // namespace heed::inline v1
