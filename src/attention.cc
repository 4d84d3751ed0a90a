#include "heed/attention.hpp"

#include <algorithm>
#include <limits>

#include "src/attention_plan.h"
#include "src/check.h"
#include "src/context.h"
#include "src/dropout.h"
#include "src/kernels/row_sum.h"
#include "src/math.h"
#include "src/pack.h"
#include "src/parallel.h"

namespace heed {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// One (max, sum, acc) per row: a segment's result, or the total of several.
struct Partial {
  float* max;
  float* sum;
  float* acc;  // [rows][acc_stride]
};

// A worker's memory, carved from one buffer.
struct Workspace {
  float *queries, *keys, *values, *scores, *max, *lanes, *acc, *multipliers;
  Partial total;
  float** weight_rows;
  float *shift, *inverse;
  uint8_t *begin, *end;

  // Lays the arrays out from `base`; returns the floats taken, a multiple of a cache line.
  size_t Carve(const AttentionPlan& plan, float* base) {
    size_t used = 0;
    const auto take = [&](size_t floats) {
      float* at = base == nullptr ? nullptr : base + used;
      used += RoundUp(floats, 16);
      return at;
    };
    const size_t rows = plan.row_block;
    queries = take(rows * plan.q.dim);
    keys = take(plan.cache ? 0 : kKeyBlock * plan.q.dim);
    values = take(plan.cache ? 0 : kKeyBlock * plan.v_panels * kPanel);
    scores = take(kScoreRows * kKeyBlock);
    max = take(rows);
    lanes = take(rows * kSumLanes);
    acc = take(rows * plan.acc_stride);
    const bool dropout =
        plan.options.dropout.probability != 0.0f || !plan.options.dropout.mask.absent();
    multipliers = dropout ? take(rows * kKeyBlock) : nullptr;
    total = {take(rows), take(rows), take(rows * plan.acc_stride)};
    shift = take(rows);
    inverse = take(rows);
    weight_rows = reinterpret_cast<float**>(take(rows * sizeof(float*) / sizeof(float)));
    begin = reinterpret_cast<uint8_t*>(take(CeilDiv(rows, sizeof(float))));
    end = reinterpret_cast<uint8_t*>(take(CeilDiv(rows, sizeof(float))));
    return used;
  }
};

// The rows [first, first + count) of one sequence and kv head.
struct Rows {
  const AttentionPlan& plan;
  size_t batch, kv_head, first, count;

  size_t query(size_t r) const { return (first + r) / plan.group; }
  size_t head(size_t r) const { return kv_head * plan.group + (first + r) % plan.group; }
  KeyRange Visible(size_t r) const { return plan.Visible(query(r)); }
};

bool Sees(const KeyRange& keys, size_t begin, size_t end) {
  return keys.begin < end && begin < keys.end && keys.begin < keys.end;
}

void PrefetchRow(const float* row, size_t n) {
  constexpr size_t kLineFloats = 16;
  for (size_t d = 0; d < n; d += kLineFloats) __builtin_prefetch(row + d, 0, 2);
}

void PackQueries(const Rows& rows, float* tiles) {
  const HeadsView& q = rows.plan.q;
  const auto row = [&](size_t r) { return q.row(rows.batch, rows.query(r), rows.head(r)); };
  for (size_t r = 0; r < rows.count; ++r) {
    const size_t tile = r / kTileRows * kTileRows;
    const size_t width = std::min(kTileRows, rows.count - tile);
    const float* from = row(r);
    if (q.dim_stride == 1) PrefetchRow(row(std::min(r + 8, rows.count - 1)), q.dim);
    float* to = tiles + tile * q.dim + (r - tile);
    for (size_t d = 0; d < q.dim; ++d, from += q.dim_stride) to[d * width] = *from;
  }
}

// Which keys of the block each row sees; false when none does.
bool FillRanges(const Rows& rows, size_t block_begin, const Workspace& w) {
  bool any = false;
  for (size_t r = 0; r < rows.count; ++r) {
    const KeyRange keys = rows.Visible(r);
    const size_t begin = std::clamp(keys.begin, block_begin, block_begin + kKeyBlock);
    const size_t end = std::clamp(keys.end, begin, block_begin + kKeyBlock);
    w.begin[r] = static_cast<uint8_t>(begin - block_begin);
    w.end[r] = static_cast<uint8_t>(end - block_begin);
    any |= begin < end;
  }
  return any;
}

void FillMultipliers(const Rows& rows, size_t block_begin, const Workspace& w) {
  const DropoutOptions& dropout = rows.plan.options.dropout;
  const TensorView& mask = dropout.mask;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.multipliers + r * kKeyBlock;
    const size_t begin = w.begin[r], end = w.end[r], i = rows.query(r), h = rows.head(r);
    if (mask.absent()) {
      const size_t query = rows.plan.kv_len - rows.plan.q.len + i;
      DropoutMultipliers(dropout.probability, dropout.seed, static_cast<uint32_t>(rows.batch),
                         static_cast<uint32_t>(h), static_cast<uint32_t>(query),
                         block_begin + begin, block_begin + end, to + begin);
      continue;
    }
    const float* from = static_cast<const float*>(mask.data) +
                        static_cast<ptrdiff_t>(rows.batch) * mask.strides[0] +
                        static_cast<ptrdiff_t>(h) * mask.strides[1] +
                        static_cast<ptrdiff_t>(i) * mask.strides[2];
    for (size_t j = begin; j < end; ++j) {
      to[j] = from[static_cast<ptrdiff_t>(block_begin + j) * mask.strides[3]];
    }
  }
}

// Asks for the rows of the block that begins at key `first`: they lie in many pages, where the
// hardware does not look ahead, and this block's products give them time to arrive in L2.
void PrefetchBlock(const Rows& rows, size_t first) {
  const AttentionPlan& plan = rows.plan;
  for (const HeadsView* view : {&plan.k, &plan.v}) {
    if (view->dim_stride != 1) continue;
    for (size_t j = first; j < std::min(first + kKeyBlock, plan.kv_len); ++j) {
      PrefetchRow(view->row(rows.batch, j, rows.kv_head), view->dim);
    }
  }
}

// Where a block's keys and values are: in the cache, or copied from the caller's tensors.
KeyBlock LoadBlock(const Rows& rows, size_t block, const Workspace& w) {
  const AttentionPlan& plan = rows.plan;
  KeyBlock keys;
  keys.begin = w.begin;
  keys.end = w.end;
  keys.multiplier = w.multipliers;
  if (plan.cache != nullptr) {
    keys.k = plan.cache->key_block(rows.batch, rows.kv_head, block);
    keys.v = plan.cache->value_block(rows.batch, rows.kv_head, block);
    return keys;
  }
  const size_t first = block * kKeyBlock, count = std::min(kKeyBlock, plan.kv_len - first);
  PackPanels(plan.k.row(rows.batch, first, rows.kv_head), plan.k.dim_stride, plan.k.len_stride,
             plan.k.dim, count, w.keys, plan.k.dim * kPanel);
  PackPanels(plan.v.row(rows.batch, first, rows.kv_head), plan.v.len_stride, plan.v.dim_stride,
             count, plan.v.dim, w.values, kKeyBlock * kPanel);
  PrefetchBlock(rows, first + kKeyBlock);
  keys.k = w.keys;
  keys.v = w.values;
  return keys;
}

// Calls visit(block) for every block of keys [begin, end) that some row sees.
template <class Visit>
void ForEachBlock(const Rows& rows, size_t begin, size_t end, const Workspace& w,
                  const Visit& visit) {
  KeyRange all = {end, begin};
  for (size_t r = 0; r < rows.count; ++r) {
    const KeyRange keys = rows.Visible(r);
    all.begin = std::min(all.begin, keys.begin);
    all.end = std::max(all.end, keys.end);
  }
  end = std::min(end, all.end);
  for (size_t block = std::max(begin, all.begin) / kKeyBlock; block * kKeyBlock < end; ++block) {
    if (!FillRanges(rows, block * kKeyBlock, w)) continue;
    if (w.multipliers != nullptr) FillMultipliers(rows, block * kKeyBlock, w);
    visit(block);
  }
}

QueryRows Describe(const Rows& rows, const Workspace& w) {
  return {w.queries, rows.count, rows.plan.q.dim, rows.plan.v_panels, rows.plan.scale, w.scores};
}

// Runs one segment from an empty state; leaves the sums folded in lanes[r * kSumLanes].
void AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const Workspace& w) {
  const AttentionPlan& plan = rows.plan;
  std::fill_n(w.max, rows.count, kMinusInfinity);
  std::fill_n(w.lanes, rows.count * kSumLanes, 0.0f);
  std::fill_n(w.acc, rows.count * plan.acc_stride, 0.0f);
  const size_t begin = segment * kSegmentKeys, end = std::min(begin + kSegmentKeys, plan.kv_len);
  ForEachBlock(rows, begin, end, w, [&](size_t block) {
    kernels.attend(Describe(rows, w), LoadBlock(rows, block, w),
                   {w.max, w.lanes, w.acc, plan.acc_stride});
  });
  for (size_t r = 0; r < rows.count; ++r) FoldLanes(w.lanes + r * kSumLanes);
}

// total = total merged with part, for one row.
void MergeRow(const AttentionKernels& kernels, size_t acc_stride, float part_max, float part_sum,
              const float* part_acc, float* max, float* sum, float* acc) {
  const float merged = std::max(*max, part_max);
  const float shift = merged == kMinusInfinity ? 0.0f : merged;
  const float f = kernels.exp(*max - shift), g = kernels.exp(part_max - shift);
  kernels.merge(sum, f, &part_sum, g, 1);
  kernels.merge(acc, f, part_acc, g, acc_stride);
  *max = merged;
}

// Takes a segment's (max, sum, acc) into a row's total, or starts it.
void TakeSegment(const AttentionKernels& kernels, size_t acc_stride, bool first, float part_max,
                 float part_sum, const float* part_acc, float* max, float* sum, float* acc) {
  if (!first) {
    MergeRow(kernels, acc_stride, part_max, part_sum, part_acc, max, sum, acc);
    return;
  }
  *max = part_max;
  *sum = part_sum;
  std::copy_n(part_acc, acc_stride, acc);
}

// Writes row r's output and LSE from its total; a row that saw no key gives zeros and -inf.
void FinishRow(const AttentionKernels& kernels, const Rows& rows, size_t r, float max, float sum,
               const float* acc, float* shift, float* inverse) {
  const AttentionPlan& plan = rows.plan;
  *shift = max == kMinusInfinity ? 0.0f : max;
  *inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
  const size_t i = rows.query(r), h = rows.head(r);
  float* out = const_cast<float*>(plan.out.row(rows.batch, i, h));
  kernels.finish(acc, *inverse, out, plan.out.dim);
  const MutableTensorView& lse = plan.options.lse;
  if (lse.absent()) return;
  const double log_sum = sum > 0.0f ? Log(static_cast<double>(sum)) : static_cast<double>(sum);
  static_cast<float*>(lse.mutable_data())[static_cast<ptrdiff_t>(rows.batch) * lse.strides[0] +
                                          static_cast<ptrdiff_t>(h) * lse.strides[1] +
                                          static_cast<ptrdiff_t>(i) * lse.strides[2]] =
      sum == 0.0f ? kMinusInfinity : static_cast<float>(static_cast<double>(max) + log_sum);
}

// A second pass over the scores, now that the totals are known.
void WriteWeights(const AttentionKernels& kernels, const Rows& rows, const Workspace& w) {
  const AttentionPlan& plan = rows.plan;
  const MutableTensorView& weights = plan.options.weights;
  const auto row_of = [&](size_t r) {
    return static_cast<float*>(weights.mutable_data()) +
           static_cast<ptrdiff_t>(rows.batch) * weights.strides[0] +
           static_cast<ptrdiff_t>(rows.head(r)) * weights.strides[1] +
           static_cast<ptrdiff_t>(rows.query(r)) * weights.strides[2];
  };
  for (size_t r = 0; r < rows.count; ++r) {
    const KeyRange keys = rows.Visible(r);
    std::fill(row_of(r), row_of(r) + keys.begin, 0.0f);
    std::fill(row_of(r) + keys.end, row_of(r) + plan.kv_len, 0.0f);
  }
  ForEachBlock(rows, 0, plan.kv_len, w, [&](size_t block) {
    for (size_t r = 0; r < rows.count; ++r) w.weight_rows[r] = row_of(r) + block * kKeyBlock;
    kernels.weights(Describe(rows, w), LoadBlock(rows, block, w), {w.shift, w.inverse},
                    w.weight_rows);
  });
}

// One task of prefill: some rows against all their keys, segment after segment.
void AttendRows(const AttentionKernels& kernels, const Rows& rows, const Workspace& w) {
  const AttentionPlan& plan = rows.plan;
  PackQueries(rows, w.queries);
  const Partial& total = w.total;
  std::fill_n(total.max, rows.count, kMinusInfinity);
  std::fill_n(total.sum, rows.count, 0.0f);
  std::fill_n(total.acc, rows.count * plan.acc_stride, 0.0f);
  for (size_t segment = 0; segment < plan.segments; ++segment) {
    const size_t begin = segment * kSegmentKeys, end = begin + kSegmentKeys;
    bool any = false;
    for (size_t r = 0; r < rows.count && !any; ++r) any = Sees(rows.Visible(r), begin, end);
    if (!any) continue;
    AttendSegment(kernels, rows, segment, w);
    for (size_t r = 0; r < rows.count; ++r) {
      const KeyRange keys = rows.Visible(r);
      if (!Sees(keys, begin, end)) continue;
      TakeSegment(kernels, plan.acc_stride, keys.begin >= begin, w.max[r], w.lanes[r * kSumLanes],
                  w.acc + r * plan.acc_stride, total.max + r, total.sum + r,
                  total.acc + r * plan.acc_stride);
    }
  }
  for (size_t r = 0; r < rows.count; ++r) {
    FinishRow(kernels, rows, r, total.max[r], total.sum[r], total.acc + r * plan.acc_stride,
              w.shift + r, w.inverse + r);
  }
  if (!plan.options.weights.absent()) WriteWeights(kernels, rows, w);
}

double Flops(const AttentionPlan& plan) {
  const double pairs = static_cast<double>(plan.q.batch * plan.q.heads) *
                       static_cast<double>(plan.q.len) * static_cast<double>(plan.kv_len);
  return 2.0 * pairs * static_cast<double>(plan.q.dim + plan.out.dim);
}

// Sequences and kv heads inside, row blocks outside from the last: with a causal mask those see
// most keys, and long tasks should begin first.
Rows RowsOfTask(const AttentionPlan& plan, size_t task) {
  const size_t heads = plan.q.batch * plan.k.heads;
  const size_t block = plan.row_blocks - 1 - task / heads, head = task % heads;
  const size_t first = block * plan.row_block;
  return {plan, head / plan.k.heads, head % plan.k.heads, first,
          std::min(plan.row_block, plan.rows() - first)};
}

Status RunWhole(const AttentionPlan& plan, Context::Impl& context) {
  const size_t tasks = plan.q.batch * plan.k.heads * plan.row_blocks;
  const size_t workers = WorkersFor(context, tasks, Flops(plan));
  Workspace size;
  const size_t floats = size.Carve(plan, nullptr);
  float* memory = context.Reserve(Buffer::kAttentionWorkers, workers * floats);
  if (memory == nullptr) return OutOfMemory("workspace", workers * floats * sizeof(float));
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    Workspace w;
    w.Carve(plan, memory + worker * floats);
    AttendRows(*context.attention, RowsOfTask(plan, task), w);
  });
  return Status();
}

// Few rows and many keys: a task is one segment of one row block; then rows merge their segments in
// order.
Status RunSplit(const AttentionPlan& plan, Context::Impl& context) {
  const size_t row_tasks = plan.q.batch * plan.k.heads * plan.row_blocks;
  const size_t tasks = row_tasks * plan.segments;
  const size_t workers = WorkersFor(context, tasks, Flops(plan));
  Workspace size;
  const size_t floats = size.Carve(plan, nullptr);
  float* memory = context.Reserve(Buffer::kAttentionWorkers, workers * floats);
  const size_t part_floats = plan.row_block * (plan.acc_stride + 2);  // acc, then max, then sum
  float* parts = context.Reserve(Buffer::kAttentionParts, tasks * part_floats);
  if (memory == nullptr || parts == nullptr) {
    return OutOfMemory("workspace", (workers * floats + tasks * part_floats) * sizeof(float));
  }
  const auto part_of = [&](size_t row_task, size_t segment, size_t r) {
    float* part = parts + (row_task * plan.segments + segment) * part_floats;
    return Partial{part + plan.row_block * plan.acc_stride + r,
                   part + plan.row_block * (plan.acc_stride + 1) + r, part + r * plan.acc_stride};
  };
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    Workspace w;
    w.Carve(plan, memory + worker * floats);
    const size_t row_task = task / plan.segments, segment = task % plan.segments;
    const Rows rows = RowsOfTask(plan, row_task);
    PackQueries(rows, w.queries);
    AttendSegment(*context.attention, rows, segment, w);
    for (size_t r = 0; r < rows.count; ++r) {
      const Partial part = part_of(row_task, segment, r);
      *part.max = w.max[r];
      *part.sum = w.lanes[r * kSumLanes];
      std::copy_n(w.acc + r * plan.acc_stride, plan.acc_stride, part.acc);
    }
  });
  const double merge_flops = 2.0 * static_cast<double>(tasks) * static_cast<double>(part_floats);
  ForEachTask(
      context, row_tasks, WorkersFor(context, row_tasks, merge_flops), [&](size_t task, size_t) {
        const Rows rows = RowsOfTask(plan, task);
        for (size_t r = 0; r < rows.count; ++r) {
          const KeyRange keys = rows.Visible(r);
          const size_t first = keys.begin / kSegmentKeys;
          const Partial total = part_of(task, first, r);
          for (size_t s = first + 1; s < plan.segments && s * kSegmentKeys < keys.end; ++s) {
            const Partial part = part_of(task, s, r);
            MergeRow(*context.attention, plan.acc_stride, *part.max, *part.sum, part.acc, total.max,
                     total.sum, total.acc);
          }
          float shift = 0, inverse = 0;
          FinishRow(*context.attention, rows, r, *total.max, *total.sum, total.acc, &shift,
                    &inverse);
        }
      });
  return Status();
}

Status Run(const TensorView& q, const TensorView& k, const TensorView& v, const KvCache* cache,
           const MutableTensorView& out, const AttentionOptions& options, Context& context) {
  HEED_RETURN_IF_ERROR(CheckContext(context));
  AttentionPlan plan;
  HEED_RETURN_IF_ERROR(PlanAttention(q, k, v, cache, out, options, &plan));
  if (plan.q.batch == 0 || plan.q.len == 0) return Status();
  return plan.split ? RunSplit(plan, *context.impl()) : RunWhole(plan, *context.impl());
}

}  // namespace

Status attention(const TensorView& q, const TensorView& k, const TensorView& v,
                 const MutableTensorView& out, const AttentionOptions& options, Context& context) {
  return Run(q, k, v, nullptr, out, options, context);
}

Status attention(const TensorView& q, const KvCache& cache, const MutableTensorView& out,
                 const AttentionOptions& options, Context& context) {
  return Run(q, TensorView(), TensorView(), &cache, out, options, context);
}

}  // namespace heed
