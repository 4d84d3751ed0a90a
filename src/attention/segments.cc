#include "src/attention/segments.h"

#include <algorithm>

#include "src/attention/prefetch.h"
#include "src/base/memory.h"
#include "src/kernels/infinity.h"

namespace heed::inline v1 {
namespace {

void ClearSegment(const Rows& group, const AttentionWorkspace& w) {
  std::fill_n(w.max, group.count, kMinusInfinity);
  SetZero(w.lanes, group.count * kSumLanes);
  SetZero(w.acc, group.count * group.plan.acc_stride);
}

void EndSegment(const AttentionKernels& kernels, const Rows& group, size_t segment,
                const AttentionWorkspace& w, const SegmentEnd& end) {
  w.groups->met = false;
  kernels.fold(w.lanes, group.count);
  if (w.totals.largest != nullptr) {
    std::copy_n(w.max, group.count,
                w.totals.largest + segment * group.plan.all_rows() + group.first_of_all());
  }
  for (size_t r = 0; r < group.count; ++r) w.max[r] = group.plan.units.MaxInBase2(w.max[r]);
  end.Take(group, w);
}

QueryRows Describe(const Rows& rows, const AttentionWorkspace& w) {
  const AttentionPlan& plan = rows.plan;
  return {w.queries,
          rows.count,
          plan.q.dim,
          plan.out.dim,
          plan.units.to_base2(),
          plan.units.FromNatural(1.0f),
          plan.options.logits_soft_cap > 0.0f,
          w.slope,
          w.scores,
          plan.int16(),
          w.q_codes,
          w.q_scales,
          CodesOfRow(plan.q.dim),
          CeilDiv(plan.q.dim, kSumChunk)};
}

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

// The codes of a group's queries for keys that are codes themselves.
void QuantizeQueries(const AttentionKernels& kernels, const Rows& group, const char* const* row,
                     const AttentionWorkspace& w) {
  const AttentionPlan& plan = group.plan;
  const size_t dim = plan.q.dim, chunks = CeilDiv(dim, kSumChunk);
  for (size_t r = 0; r < group.count; ++r) {
    plan.read_q(row[r], dim, w.widened_queries);
    if (plan.units.factor != 1.0f) kernels.scale(w.widened_queries, plan.units.factor, dim);
    // A cache's as it stores them; what is laid out for the call is kInt8.
    const DType keys = plan.source.cache != nullptr ? plan.keys.key_type() : DType::kInt8;
    kernels.quantize(w.widened_queries, dim, keys, w.q_codes + r * CodesOfRow(dim),
                     w.q_scales + r * chunks);
  }
}

// Packs and scales a group's queries, unless that is done.
void PrepareQueries(const AttentionKernels& kernels, const Rows& group,
                    const AttentionWorkspace& w) {
  if (w.groups->queries_ready) return;
  w.groups->queries_ready = true;
  const HeadsView& q = group.plan.q;
  const char* row[kScoreRows];
  group.ForEach([&](size_t r, size_t i, size_t h) {
    row[r] = q.at(group.batch, group.sequence.q_begin + i, h);
  });
  if (w.q_codes != nullptr) return QuantizeQueries(kernels, group, row, w);
  for (size_t first = 0; first < group.count; first += kTileRows) {
    const size_t rows = std::min(kTileRows, group.count - first);
    const float* floats[kTileRows];
    for (size_t r = 0; r < rows; ++r) {
      if (w.widened_queries == nullptr) {
        floats[r] = reinterpret_cast<const float*>(row[first + r]);
        continue;
      }
      float* widened = w.widened_queries + r * q.dim;
      group.plan.read_q(row[first + r], q.dim, widened);
      floats[r] = widened;
    }
    group.plan.pack->tile(floats, w.widened_queries == nullptr ? q.dim_stride : 1, rows, q.dim,
                          w.queries + first * q.dim);
  }
  const float factor = group.plan.units.factor;
  if (factor != 1.0f) kernels.scale(w.queries, factor, group.count * q.dim);
}

void KeysOfBlock(const Rows& rows, size_t block, const AttentionWorkspace& w, Panels* k) {
  if (rows.plan.key_codes()) return rows.plan.keys.KeyCodes(rows.keys(), block, w.keys, k);
  rows.plan.keys.Keys(rows.keys(), block, w.keys, k);
}

void ValuesOfBlock(const Rows& rows, size_t block, const Panels& k, const AttentionWorkspace& w,
                   Panels* v) {
  if (rows.plan.value_codes()) return rows.plan.keys.ValueCodes(rows.keys(), block, w.values, v);
  rows.plan.keys.Values(rows.keys(), block, k, w.values, v);
}

}  // namespace

void PrepareRows(const Rows& rows, const AttentionWorkspace& w) {
  for (size_t from = 0; from < rows.count; from += kScoreRows) {
    w.groups[from / kScoreRows] = {.keys = KeysOfGroup(rows.Group(from))};
  }
  if (w.slope == nullptr) return;
  rows.ForEach([&](size_t r, size_t, size_t h) {
    w.slope[r] = rows.plan.units.FromNatural(At<float>(rows.plan.options.alibi_slopes, h));
  });
}

void AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const AttentionWorkspace& w, const SegmentEnd& end) {
  const AttentionPlan& plan = rows.plan;
  const size_t begin = segment * kSegmentKeys;
  const size_t last = std::min(begin + kSegmentKeys, rows.sequence.kv_len);
  for (size_t first = begin; first < last; first += kKeyBlock) {
    const size_t block = first / kKeyBlock, next = std::min(first + kKeyBlock, last);
    GroupPrefetch prefetch(rows, w, block, last);
    KeyBlock keys;
    for (size_t from = 0; from < rows.count; from += kScoreRows) {
      RowGroup& info = w.groups[from / kScoreRows];
      if (!info.keys.Sees(first, last)) continue;
      const bool ends = !info.keys.Sees(next, last);
      const Rows group = rows.Group(from);
      const AttentionWorkspace of_group = w.Group(plan, from);
      if (DescribeBlock(group, kernels, block, info.keys, w.block, &keys)) {
        if (!info.met) ClearSegment(group, of_group);
        info.met = true;
        const bool as_stored = plan.keys.narrow() && IsStreamed(keys, rows.count);
        if (as_stored) {
          plan.keys.AsStored(rows.keys(), block, &keys.k, &keys.v);
        } else if (keys.k.absent()) {
          KeysOfBlock(rows, block, w, &keys.k);
          ValuesOfBlock(rows, block, keys.k, w, &keys.v);
        }
        PrepareQueries(kernels, group, of_group);
        prefetch.Next(from / kScoreRows, ends && end.WritesOutputs(of_group), as_stored,
                      &keys.prefetch);
        kernels.attend(Describe(group, of_group), keys,
                       {of_group.max, of_group.lanes, of_group.acc, plan.acc_stride});
      }
      if (info.met && ends) EndSegment(kernels, group, segment, of_group, end);
    }
  }
}

bool WeightsOfBlock(const AttentionKernels& kernels, const Rows& rows, size_t block,
                    const RowTotal& total, const AttentionWorkspace& w, Panels* k) {
  KeyBlock keys;
  if (!DescribeBlock(rows, kernels, block, w.groups->keys, w.block, &keys)) return false;
  if (k->absent()) KeysOfBlock(rows, block, w, k);
  keys.k = *k;
  PrepareQueries(kernels, rows, w);
  kernels.weights(Describe(rows, w), keys, total, w.weights);
  return true;
}

RowPartial PartOf(const StateView& state, size_t segment, const Rows& rows, size_t r) {
  return state.At(segment, rows.plan.packed() ? 0 : rows.batch, rows.head(r),
                  rows.sequence.q_begin + rows.query(r));
}

Status RunSegments(const AttentionPlan& plan, const StateView& state, const AttentionMemory& memory,
                   const Context::Impl& context) {
  const size_t tasks = plan.batch * plan.k.heads * plan.row_blocks * plan.segments;
  const size_t first = plan.first_key / kSegmentKeys;
  return ForEachTask(plan, memory, tasks, context, [&](size_t task, const AttentionWorkspace& w) {
    const size_t segment = task % plan.segments;
    const Rows rows = RowsOfTask(plan, task / plan.segments);
    if (rows.count == 0) return;
    PrepareRows(rows, w);
    const KeepSegment keep(state, segment);
    keep.Clear(rows);
    AttendSegment(*context.attention, rows, first + segment, w, keep);
  });
}

}  // namespace heed::inline v1
