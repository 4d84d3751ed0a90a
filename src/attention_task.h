// What one thread does with some rows of queries: copy, find their keys, run the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/attention_mask.h"
#include "src/attention_plan.h"
#include "src/kernels/attention.h"

namespace heed {

// Some queries of one sequence and kv head: rows [first, first + count), see AttentionPlan.
struct Rows {
  const AttentionPlan& plan;
  Sequence sequence;
  size_t batch, kv_head, first, count;

  Rows(const AttentionPlan& p, size_t b, size_t head, size_t row_block);

  size_t query(size_t r) const { return (first + r) / plan.group; }
  size_t head(size_t r) const { return kv_head * plan.group + (first + r) % plan.group; }
  ptrdiff_t position(size_t r) const {
    return sequence.position + static_cast<ptrdiff_t>(query(r));
  }
};

// A worker's memory, carved from one buffer.
struct AttentionWorkspace {
  float *queries, *keys, *values, *scores;
  float *max, *lanes, *acc;                  // of a segment; sums end in lanes[r * kSumLanes]
  float *total_max, *total_sum, *total_acc;  // of all segments so far
  float *multipliers, *bias, *weights;       // [rows][kKeyBlock], null unless needed
  float *slope, *distance;                   // [rows]
  VisibleKeys* keys_of;                      // [rows]
  uint64_t* visible;                         // [rows][kVisibleWords], null unless there are holes
  uint8_t *begin, *end;                      // [rows]

  // Lays the arrays out from `base`; returns the floats taken, a multiple of a cache line.
  size_t Carve(const AttentionPlan& plan, float* base);
};

inline bool SeesKey(const AttentionWorkspace& w, size_t r, size_t j) {
  return w.visible == nullptr || (w.visible[r * kVisibleWords + j / 64] >> j % 64 & 1) != 0;
}

// Copies the queries and finds the keys that they see.
void PrepareRows(const Rows& rows, const AttentionWorkspace& w);

// Runs one segment of the keys from an empty state into w.max, w.lanes and w.acc; false, and they
// are left alone, when the rules let no row see any of it.
bool AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const AttentionWorkspace& w);

// The weights of one block of keys into w.weights; false when no row sees any of them. Copies
// the keys only when `keys_ready` is false, and sets it.
bool WeightsOfBlock(const AttentionKernels& kernels, const Rows& rows, size_t block,
                    const RowTotal& total, const AttentionWorkspace& w, bool* keys_ready);

}  // namespace heed
