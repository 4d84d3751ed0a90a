#include "src/attention/rows.h"

#include <algorithm>
#include <limits>

#include "src/attention/block.h"
#include "src/attention/operands.h"
#include "src/attention/prefetch.h"
#include "src/matmul/pack.h"

namespace heed {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

void ClearSegment(const Rows& group, const AttentionWorkspace& w) {
  std::fill_n(w.max, group.count, kMinusInfinity);
  std::fill_n(w.lanes, group.count * kSumLanes, 0.0f);
  std::fill_n(w.acc, group.count * group.plan.acc_stride, 0.0f);
}

void EndSegment(const AttentionKernels& kernels, const Rows& group, const AttentionWorkspace& w,
                const SegmentEnd& end) {
  w.groups->met = false;
  kernels.fold(w.lanes, group.count);
  end.Take(group, w);
}

QueryRows Describe(const Rows& rows, const AttentionWorkspace& w) {
  const AttentionPlan& plan = rows.plan;
  return {w.queries, rows.count, plan.q.dim, plan.out.dim, plan.scale, plan.options.logits_soft_cap,
          w.slope,   w.scores};
}

}  // namespace

Rows::Rows(const AttentionPlan& p, size_t b, size_t kv, size_t row_block)
    : plan(p), sequence(p.sequence(b)), batch(b), kv_head(kv), first(row_block * p.row_block) {
  const size_t all = sequence.q_len * p.group;
  count = first < all ? std::min(p.row_block, all - first) : 0;
}

Rows Rows::Group(size_t from) const {
  Rows group = *this;
  group.first += from;
  group.count = std::min(kScoreRows, count - from);
  return group;
}

Rows RowsOfTask(const AttentionPlan& plan, size_t task) {
  const size_t heads = plan.batch * plan.k.heads;
  const size_t head = task % heads;
  return Rows(plan, head / plan.k.heads, head % plan.k.heads, plan.row_blocks - 1 - task / heads);
}

size_t AttentionWorkspace::Carve(const AttentionPlan& plan, float* base) {
  size_t used = 0;
  const auto take = [&](size_t floats) {
    float* at = base == nullptr ? nullptr : base + used;
    used += RoundUp(floats, 16);
    return at;
  };
  const auto take_if = [&](bool needed, size_t floats) { return needed ? take(floats) : nullptr; };
  const auto take_as = [&]<class T>(bool needed, size_t count) {
    return reinterpret_cast<T*>(take_if(needed, CeilDiv(count * sizeof(T), sizeof(float))));
  };
  const AttentionOptions& o = plan.options;
  const size_t rows = plan.row_block;
  const bool copies = plan.source.cache == nullptr;
  queries = take(rows * plan.q.dim);
  max = take(rows);
  lanes = take(rows * kSumLanes);
  acc = take(rows * plan.acc_stride);
  total_max = take(rows);
  total_sum = take(rows);
  total_acc = take(rows * plan.acc_stride);
  slope = take_if(!o.alibi_slopes.absent(), rows);
  keys_of = take_as.template operator()<VisibleKeys>(true, rows);
  groups = take_as.template operator()<RowGroup>(true, CeilDiv(rows, kScoreRows));
  keys = take_if(copies, kKeyBlock * plan.q.dim);
  values = take_if(copies, kKeyBlock * plan.v_panels * kPanel);
  constexpr size_t kScores = kScoreRows * kKeyBlock;
  scores = take(kScores);
  multipliers = take_if(o.dropout.probability != 0.0f || !o.dropout.mask.absent(), kScores);
  bias = take_if(!o.mask.absent() && o.mask.dtype == DType::kF32, kScores);
  weights = take_if(plan.wants_weights(), kScores);
  distance = take_if(!o.alibi_slopes.absent(), kScoreRows);
  visible = take_as.template operator()<uint64_t>(MayHaveHoles(plan), kScoreRows * kVisibleWords);
  begin = take_as.template operator()<uint8_t>(true, kScoreRows);
  end = take_as.template operator()<uint8_t>(true, kScoreRows);
  ahead = take_as.template operator()<RowAhead>(true, kMaxRowsAhead);
  return used;
}

AttentionWorkspace AttentionWorkspace::Group(const AttentionPlan& plan, size_t from) const {
  AttentionWorkspace w = *this;
  w.queries += from * plan.q.dim;
  w.max += from;
  w.lanes += from * kSumLanes;
  w.acc += from * plan.acc_stride;
  w.total_max += from;
  w.total_sum += from;
  w.total_acc += from * plan.acc_stride;
  if (w.slope != nullptr) w.slope += from;
  w.keys_of += from;
  w.groups += from / kScoreRows;
  return w;
}

void PrepareRows(const Rows& rows, const AttentionWorkspace& w) {
  rows.ForEach([&](size_t r, size_t i, size_t h) {
    const VisibleKeys keys = RuleKeys(rows.plan, rows.sequence, i);
    w.keys_of[r] = keys;
    if (w.slope != nullptr) w.slope[r] = At<float>(rows.plan.options.alibi_slopes, h);
    RowGroup& group = w.groups[r / kScoreRows];
    if (r % kScoreRows == 0) group = {.some = keys, .all = keys.near};
    group.some.kept.Include(keys.kept);
    group.some.near.Include(keys.near);
    group.all = {std::max(group.all.begin, keys.near.begin),
                 std::min(group.all.end, keys.near.end)};
  });
}

void PrepareQueries(const Rows& group, const AttentionWorkspace& w) {
  if (w.groups->queries_ready) return;
  w.groups->queries_ready = true;
  const HeadsView& q = group.plan.q;
  const float* row[kScoreRows];
  group.ForEach([&](size_t r, size_t i, size_t h) {
    row[r] = q.row(group.batch, group.sequence.q_begin + i, h);
  });
  for (size_t first = 0; first < group.count; first += kTileRows) {
    PackTile(row + first, q.dim_stride, std::min(kTileRows, group.count - first), q.dim,
             w.queries + first * q.dim);
  }
}

void AttendSegment(const AttentionKernels& kernels, const Rows& rows, size_t segment,
                   const AttentionWorkspace& w, const SegmentEnd& end) {
  const AttentionPlan& plan = rows.plan;
  const size_t begin = segment * kSegmentKeys;
  const size_t last = std::min(begin + kSegmentKeys, rows.sequence.kv_len);
  const size_t groups = CeilDiv(rows.count, kScoreRows);
  for (size_t first = begin; first < last; first += kKeyBlock) {
    KeyBlock keys;
    const float *next_k = nullptr, *next_v = nullptr;
    if (plan.source.cache != nullptr && first + kKeyBlock < rows.sequence.kv_len) {
      next_k = KeysOf(rows, first / kKeyBlock + 1, w);
      next_v = ValuesOf(rows, first / kKeyBlock + 1, w);
    }
    // The groups that see this block share in asking for the next.
    const size_t next = std::min(first + kKeyBlock, last);
    const size_t shares =
        static_cast<size_t>(std::count_if(w.groups, w.groups + groups, [&](const RowGroup& group) {
          return group.Sees(first, next);
        }));
    for (size_t g = 0, share = 0; g < groups; ++g) {
      RowGroup& info = w.groups[g];
      if (!info.Sees(first, last)) continue;
      const Rows group = rows.Group(g * kScoreRows);
      const AttentionWorkspace of_group = w.Group(plan, g * kScoreRows);
      if (DescribeBlock(group, first / kKeyBlock, of_group, &keys)) {
        if (!info.met) ClearSegment(group, of_group);
        info.met = true;
        if (keys.k == nullptr) {
          keys.k = KeysOf(rows, first / kKeyBlock, w);
          keys.v = ValuesOf(rows, first / kKeyBlock, w);
        }
        PrepareQueries(group, of_group);
        RowsAhead ahead(w.ahead);
        if (plan.far) {
          ahead.AddKeys(rows, first + kKeyBlock, share, shares);
          if (g + 1 < groups && !w.groups[g + 1].queries_ready) {
            ahead.AddQueries(rows.Group((g + 1) * kScoreRows));
          }
          if (!info.Sees(next, last)) end.AskFor(group, of_group, &ahead);
        }
        ahead.Describe(&keys);
        keys.next_k = share == 0 ? next_k : nullptr;
        keys.next_v = share == 0 ? next_v : nullptr;
        ++share;
        kernels.attend(Describe(group, of_group), keys,
                       {of_group.max, of_group.lanes, of_group.acc, plan.acc_stride});
      }
      if (info.met && !info.Sees(next, last)) EndSegment(kernels, group, of_group, end);
    }
  }
}

bool WeightsOfBlock(const AttentionKernels& kernels, const Rows& rows, size_t block,
                    const RowTotal& total, const AttentionWorkspace& w, bool* keys_ready) {
  KeyBlock keys;
  if (!DescribeBlock(rows, block, w, &keys)) return false;
  if (!*keys_ready || rows.plan.source.cache != nullptr) {
    keys.k = KeysOf(rows, block, w);
    *keys_ready = true;
  } else {
    keys.k = w.keys;
  }
  PrepareQueries(rows, w);
  kernels.weights(Describe(rows, w), keys, total, w.weights);
  return true;
}

}  // namespace heed
