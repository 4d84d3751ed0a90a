// Segments of the keys: what one thread does with rows of queries, and segments computed apart for
// calls with few rows and for AttentionState.
#pragma once

#include <cstddef>

#include "src/attention/plan.h"
#include "src/attention/rows.h"
#include "src/attention/state.h"
#include "src/attention/workspace.h"
#include "src/base/context.h"

namespace heed::inline v1 {

// Finds the keys that the rows see.
void PrepareRows(const Rows& rows, const AttentionWorkspace& w);

// What happens to a group of rows when the last of its keys of a segment is taken.
class SegmentEnd {
 public:
  // w.max, w.lanes[r * kSumLanes] and w.acc of the group's rows hold the segment.
  virtual void Take(const Rows& group, const AttentionWorkspace& w) const = 0;

  // Whether Take() will write the group's outputs.
  virtual bool WritesOutputs(const AttentionWorkspace&) const { return false; }

 protected:
  ~SegmentEnd() = default;
};

// Runs one segment of the keys from an empty state; calls end.Take once for every group of rows of
// which some see some of it.
void AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const AttentionWorkspace& w, const SegmentEnd& end);

// The weights of one block of keys into w.weights, for a group of rows; false when none of them
// sees any. `k`: the block's keys, found here when they are absent.
bool WeightsOfBlock(const AttentionKernels& kernels, const Rows& rows, size_t block,
                    const RowTotal& total, const AttentionWorkspace& w, Panels* k);

// Where row r of `rows` keeps its partial.
RowPartial PartOf(const StateView& state, size_t segment, const Rows& rows, size_t r);

// Fills `state`: a task is one segment of one row block.
[[nodiscard]] Status RunSegments(const AttentionPlan& plan, const StateView& state,
                                 const AttentionMemory& memory, const Context::Impl& context);

}  // namespace heed::inline v1
