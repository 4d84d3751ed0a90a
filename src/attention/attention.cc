#include "src/attention/attention.h"

#include <algorithm>

#include "src/attention/rows.h"
#include "src/attention/segments.h"
#include "src/attention/state.h"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/memory.h"
#include "src/base/parallel.h"
#include "src/kernels/exp2_constants.h"
#include "src/kernels/infinity.h"

namespace heed::inline v1 {
namespace {

// What the weights of a row need. Their scores are taken from the largest in units, which is exact;
// the factor brings that to the maximum in base 2 that the row's sum stands on.
void KeepTotal(const AttentionKernels& kernels, const AttentionPlan& plan, const RowTotals& totals,
               size_t row, float max, float inverse) {
  float largest = kMinusInfinity;
  for (size_t s = 0; s < plan.segments; ++s) {
    largest = std::max(largest, totals.largest[s * plan.all_rows() + row]);
  }
  totals.shift[row] = ShiftOf(largest);
  totals.inverse[row] = inverse * kernels.exp2(plan.units.MaxInBase2(largest) - ShiftOf(max));
}

// Writes the rows' outputs and LSE from total_of(r); a row that saw no key gives zeros and -inf.
template <class TotalOf>
void FinishRows(const AttentionKernels& kernels, const Rows& rows, const RowTotals& totals,
                const TotalOf& total_of) {
  const AttentionPlan& plan = rows.plan;
  const MutableTensorView& lse = plan.options.lse;
  rows.ForEach([&](size_t r, size_t i, size_t h) {
    const RowPartial total = total_of(r);
    const size_t row = rows.sequence.q_begin + i;
    if (!plan.options.sinks.absent()) {
      TakeSink(kernels, plan.out.dim, At<float>(plan.options.sinks, h), total);
    }
    const float inverse = InverseOf(*total.sum);
    char* out = plan.out.mutable_at(rows.batch, row, h);
    if (plan.out.dtype == DType::kF32) {
      kernels.finish(total.acc, inverse, reinterpret_cast<float*>(out), plan.out.dim);
    } else {
      kernels.scale(total.acc, inverse, plan.out.dim);
      plan.write_out(total.acc, plan.out.dim, out);
    }
    if (totals.shift != nullptr) {
      KeepTotal(kernels, plan, totals, rows.first_of_all() + r, *total.max, inverse);
    }
    if (lse.absent()) return;
    (plan.packed() ? MutableAt<float>(lse, h, row) : MutableAt<float>(lse, rows.batch, h, i)) =
        LogSumExp(double{*total.max} * kLn2, *total.sum);
  });
}

// Joins the segments of rows in order, and writes out rows that have no more.
class JoinSegments : public SegmentEnd {
 public:
  JoinSegments(const AttentionKernels& kernels, const RowTotals& totals, size_t segment)
      : kernels_(kernels), totals_(totals), segment_(segment) {}

  void Take(const Rows& group, const AttentionWorkspace& w) const override {
    const size_t stride = group.plan.acc_stride;
    if (IsLast(w) && !w.groups->joined) return FinishOnlySegment(group, w);
    Begin(group, w);
    for (size_t r = 0; r < group.count; ++r) {
      TakeSegment(kernels_, stride, w.segment(r, stride), w.total(r, stride));
    }
    // While the rows are still in cache.
    if (IsLast(w)) FinishGroup(group, w);
  }

  bool WritesOutputs(const AttentionWorkspace& w) const override { return IsLast(w); }

  void FinishGroup(const Rows& group, const AttentionWorkspace& w) const {
    Begin(group, w);
    w.groups->finished = true;
    const size_t stride = group.plan.acc_stride;
    FinishRows(kernels_, group, totals_, [&](size_t r) { return w.total(r, stride); });
  }

 private:
  // Totals without any segment, unless there is one.
  static void Begin(const Rows& group, const AttentionWorkspace& w) {
    if (w.groups->joined) return;
    w.groups->joined = true;
    const size_t stride = group.plan.acc_stride;
    for (size_t r = 0; r < group.count; ++r) ClearRow(w.total(r, stride), stride);
  }

  // As TakeSegment would copy it, without the copy.
  void FinishOnlySegment(const Rows& group, const AttentionWorkspace& w) const {
    w.groups->finished = true;
    const size_t stride = group.plan.acc_stride;
    FinishRows(kernels_, group, totals_, [&](size_t r) {
      const RowPartial part = w.segment(r, stride);
      if (*part.sum == 0.0f) ClearRow(part, stride);
      return part;
    });
  }

  // Whether the group at w sees no key after this segment.
  bool IsLast(const AttentionWorkspace& w) const {
    return !w.groups->keys.Sees((segment_ + 1) * kSegmentKeys, SIZE_MAX);
  }

  const AttentionKernels& kernels_;
  const RowTotals& totals_;
  size_t segment_;
};

// One task of prefill: some rows against all their keys, segment after segment.
void AttendRows(const AttentionKernels& kernels, const Rows& rows, const AttentionWorkspace& w,
                const RowTotals& totals) {
  const AttentionPlan& plan = rows.plan;
  if (rows.count == 0) return;
  PrepareRows(rows, w);
  // A window leaves out the segments between.
  const VisibleKeys some = KeysOfGroup(rows).some;
  const size_t kept_end = some.kept.end, near_begin = some.near.begin;
  for (size_t segment = 0; segment < plan.segments; ++segment) {
    if (segment * kSegmentKeys >= kept_end) segment = std::max(segment, near_begin / kSegmentKeys);
    if (segment >= plan.segments) break;
    AttendSegment(kernels, rows, segment, w, JoinSegments(kernels, totals, segment));
  }
  for (size_t r = 0; r < rows.count; r += kScoreRows) {  // those of rows that see no key
    if (w.groups[r / kScoreRows].finished) continue;
    JoinSegments(kernels, totals, 0).FinishGroup(rows.Group(r), w.Group(plan, r));
  }
}

Status RunWhole(const AttentionPlan& plan, const AttentionMemory& memory,
                const Context::Impl& context) {
  const size_t tasks = plan.batch * plan.k.heads * plan.row_blocks;
  return ForEachTask(plan, memory, tasks, context, [&](size_t task, const AttentionWorkspace& w) {
    AttendRows(*context.attention, RowsOfTask(plan, task), w, memory.totals);
  });
}

// Few rows and many keys: a task is one segment of one row block; then rows merge their segments in
// order.
Status RunSplit(const AttentionPlan& plan, const AttentionMemory& memory,
                const Context::Impl& context) {
  const StateView& parts = memory.parts;
  HEED_RETURN_IF_ERROR(RunSegments(plan, parts, memory, context));
  const size_t row_tasks = plan.batch * plan.k.heads * plan.row_blocks;
  const double merge_flops = 2.0 * static_cast<double>(plan.segments * plan.q.len * plan.q.heads) *
                             static_cast<double>(plan.out.dim);
  return ForEachTask(
      context, row_tasks, WorkersFor(context, row_tasks, merge_flops), [&](size_t task, size_t) {
        const Rows rows = RowsOfTask(plan, task);
        FinishRows(*context.attention, rows, memory.totals, [&](size_t r) {
          const RowPartial total = PartOf(parts, 0, rows, r);
          if (*total.sum == 0.0f) ClearRow(total, plan.out.dim);  // as TakeSegment has it
          for (size_t s = 1; s < plan.segments; ++s) {
            TakeSegment(*context.attention, plan.out.dim, PartOf(parts, s, rows, r), total);
          }
          return total;
        });
      });
}

// Which of the asked-for heads and queries an index is; SIZE_MAX: none.
size_t ChosenPlace(const Chosen& chosen, size_t index) {
  if (chosen.all) return index;
  for (size_t i = 0; i < chosen.indices.size(); ++i) {
    if (chosen.indices[i] == static_cast<int32_t>(index)) return i;
  }
  return SIZE_MAX;
}

// Whether weights of any of the rows were asked for.
bool AsksFor(const Rows& rows) {
  const Chosen& queries = rows.plan.weights_queries;
  if (!rows.plan.options.key_scores.absent() || queries.all) return true;
  for (const int32_t index : queries.indices) {
    const auto query = static_cast<size_t>(index);
    if (query >= rows.query(0) && query <= rows.query(rows.count - 1)) return true;
  }
  return false;
}

// Takes the weights of one block of keys of a group of rows, in w.weights, to where
// they were asked for; `seen` false: they are all zero. Rows of a head come in ascending order.
void DeliverWeights(const Rows& rows, size_t first, size_t count, bool seen,
                    const AttentionWorkspace& w) {
  const AttentionOptions& o = rows.plan.options;
  for (size_t r = 0; r < rows.count; ++r) {
    const size_t h = rows.head(r), i = rows.query(r);
    float* from = w.weights + r * kKeyBlock;
    if (!o.key_scores.absent() && seen) {
      float* sums = &MutableAt<float>(o.key_scores, rows.batch, h, first);
      for (size_t j = w.block.begin[r]; j < w.block.end[r]; ++j) sums[j] += from[j];
    }
    if (o.weights.absent()) continue;
    const size_t head = ChosenPlace(rows.plan.weights_heads, h);
    const size_t query = ChosenPlace(rows.plan.weights_queries, i);
    if (head == SIZE_MAX || query == SIZE_MAX) continue;
    float* to = &MutableAt<float>(o.weights, rows.batch, head, query, first);
    SetZero(to, count);
    for (size_t j = w.block.begin[r]; seen && j < w.block.end[r]; ++j) {
      to[j] = w.block.multipliers == nullptr || !SeesKey(w.block.visible, r, j)
                  ? from[j]
                  : from[j] * w.block.multipliers[r * kKeyBlock + j];
    }
  }
}

// A second pass over the scores, now that the totals are known: a task is one block of keys of one
// kv head, against all its rows in order.
Status RunWeights(const AttentionPlan& plan, const AttentionMemory& memory,
                  const Context::Impl& context) {
  const size_t blocks = CeilDiv(plan.kv_len, kKeyBlock), heads = plan.batch * plan.k.heads;
  const RowTotals& totals = memory.totals;
  return ForEachTask(
      plan, memory, heads * blocks, context, [&](size_t task, const AttentionWorkspace& w) {
        const size_t block = task / heads, first = block * kKeyBlock;
        const size_t b = task % heads / plan.k.heads, kv_head = task % plan.k.heads;
        const size_t count = std::min(kKeyBlock, plan.kv_len - first);
        for (size_t g = 0; g < plan.group && !plan.options.key_scores.absent(); ++g) {
          SetZero(&MutableAt<float>(plan.options.key_scores, b, kv_head * plan.group + g, first),
                  count);
        }
        Panels k;
        for (size_t row_block = 0; row_block < plan.row_blocks; ++row_block) {
          const Rows rows(plan, b, kv_head, row_block);
          if (rows.count == 0) break;
          if (!AsksFor(rows)) continue;
          PrepareRows(rows, w);
          for (size_t r = 0; r < rows.count; r += kScoreRows) {
            const Rows group = rows.Group(r);
            const AttentionWorkspace of_group = w.Group(plan, r);
            const RowTotal total = {totals.shift + group.first_of_all(),
                                    totals.inverse + group.first_of_all()};
            const bool seen = WeightsOfBlock(*context.attention, group, block, total, of_group, &k);
            DeliverWeights(group, first, count, seen, of_group);
          }
        }
      });
}

// Without queries no weight is added up.
void ZeroKeyScores(const AttentionPlan& plan) {
  if (plan.options.key_scores.absent()) return;
  for (size_t b = 0; b < plan.batch; ++b) {
    for (size_t h = 0; h < plan.q.heads && plan.kv_len > 0; ++h) {
      SetZero(&MutableAt<float>(plan.options.key_scores, b, h, size_t{0}), plan.kv_len);
    }
  }
}

Status Run(const TensorView& q, const KeySource& source, const MutableTensorView& out,
           const AttentionOptions& options, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  Context::Impl& impl = *Context::Impl::Of(context);
  AttentionPlan plan;
  const NamedView outputs[] = {{"out", &out}};
  HEED_RETURN_IF_ERROR(PlanAttention(q, source, out, outputs, options, impl, &plan));
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena, plan.lists_bytes));
  return RunAttention(plan, arena, impl);
}

}  // namespace

Status RunAttention(const AttentionPlan& plan, Arena arena, const Context::Impl& context) {
  if (plan.writes_nothing) return Status();
  if (plan.empty()) {
    return Once(context, [&] { ZeroKeyScores(plan); });
  }
  const AttentionMemory memory(plan, &arena);
  HEED_RETURN_IF_ERROR(memory.Clear(plan, context));
  HEED_RETURN_IF_ERROR(plan.split ? RunSplit(plan, memory, context)
                                  : RunWhole(plan, memory, context));
  return plan.wants_weights() ? RunWeights(plan, memory, context) : Status();
}

Status attention(const TensorView& q, const TensorView& k, const TensorView& v,
                 const MutableTensorView& out, const AttentionOptions& options, Context& context) {
  return Run(q, {k, v, nullptr, nullptr}, out, options, context);
}

Status attention(const TensorView& q, const KvCache& cache, const MutableTensorView& out,
                 const AttentionOptions& options, Context& context) {
  return Run(q, {{}, {}, &cache, nullptr}, out, options, context);
}

Status attention(const TensorView& q, const PagedKv& kv, const MutableTensorView& out,
                 const AttentionOptions& options, Context& context) {
  return Run(q, {{}, {}, nullptr, &kv}, out, options, context);
}

}  // namespace heed::inline v1
