#include "src/attention_task.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "src/attention_ahead.h"
#include "src/dropout.h"
#include "src/pack.h"

namespace heed {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Bits [range.begin, range.end) of a block that begins at key `first`.
void SetBits(const KeyRange& range, size_t first, uint64_t* bits) {
  for (size_t word = 0; word < kVisibleWords; ++word) {
    const KeyRange part = range.Within(first + word * 64, first + word * 64 + 64);
    if (part.empty()) continue;
    const uint64_t ones = ~uint64_t{0} >> (64 - (part.end - part.begin));
    bits[word] |= ones << (part.begin - first - word * 64);
  }
}

// The smallest range of keys of a block that holds all set bits.
KeyRange HullOf(const uint64_t* bits) {
  KeyRange hull;
  for (size_t word = 0; word < kVisibleWords; ++word) {
    if (bits[word] == 0) continue;
    hull.Include({word * 64 + static_cast<size_t>(std::countr_zero(bits[word])),
                  word * 64 + 64 - static_cast<size_t>(std::countl_zero(bits[word]))});
  }
  return hull;
}

// Which keys of the block each row sees; false when none does.
bool FindVisible(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  bool any = false;
  for (size_t r = 0; r < rows.count; ++r) {
    const VisibleKeys& keys = w.keys_of[r];
    KeyRange hull;
    if (w.visible == nullptr) {
      hull = keys.near.Within(first, first + kKeyBlock);
      hull = {hull.begin - first, hull.end - first};
    } else {
      uint64_t* bits = w.visible + r * kVisibleWords;
      std::fill_n(bits, kVisibleWords, 0);
      SetBits(keys.kept, first, bits);
      SetBits(keys.near, first, bits);
      ApplyMasks(rows.plan, rows.batch, rows.sequence, rows.head(r), rows.query(r), first, bits);
      hull = HullOf(bits);
    }
    w.begin[r] = static_cast<uint8_t>(hull.begin);
    w.end[r] = static_cast<uint8_t>(hull.end);
    any |= !hull.empty();
  }
  return any;
}

bool HasHoles(const Rows& rows, const AttentionWorkspace& w) {
  for (size_t r = 0; w.visible != nullptr && r < rows.count; ++r) {
    size_t count = 0;
    for (size_t word = 0; word < kVisibleWords; ++word) {
      count += static_cast<size_t>(std::popcount(w.visible[r * kVisibleWords + word]));
    }
    if (count != size_t{w.end[r]} - w.begin[r]) return true;
  }
  return false;
}

void FillMultipliers(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  const DropoutOptions& dropout = rows.plan.options.dropout;
  const TensorView& mask = dropout.mask;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.multipliers + r * kKeyBlock;
    const size_t begin = w.begin[r], end = w.end[r], i = rows.query(r), h = rows.head(r);
    if (begin >= end) continue;
    if (mask.absent()) {
      DropoutMultipliers(dropout.probability, dropout.seed, static_cast<uint32_t>(rows.batch),
                         static_cast<uint32_t>(h), static_cast<uint32_t>(rows.position(r)),
                         first + begin, first + end, to + begin);
      continue;
    }
    for (size_t j = begin; j < end; ++j) {  // hidden keys are not looked at
      to[j] = SeesKey(w, r, j) ? At<float>(mask, rows.batch, h, i, first + j) : 0.0f;
    }
  }
}

// What an additive mask adds, for the keys that rows see.
void FillBias(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  const TensorView& mask = rows.plan.options.mask;
  const size_t lead = mask.rank - 3;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.bias + r * kKeyBlock;
    const size_t h = mask.shape[lead] == 1 ? 0 : rows.head(r), i = rows.query(r);
    std::fill_n(to, kKeyBlock, 0.0f);
    for (size_t j = w.begin[r]; j < w.end[r]; ++j) {
      if (!SeesKey(w, r, j)) continue;
      to[j] = lead == 0 ? At<float>(mask, h, i, first + j)
                        : At<float>(mask, rows.batch, h, i, first + j);
    }
  }
}

void FillDistances(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  rows.ForEach([&](size_t r, size_t i, size_t) {
    w.distance[r] = static_cast<float>(static_cast<ptrdiff_t>(first) - rows.position_of(i));
  });
}

// Calls pack(row of the first key, its place in the block, how many) for the runs of keys that lie
// at equal steps in memory: all of a tensor's, a page's each.
template <class Pack>
void ForEachRun(const Rows& rows, const HeadsView& view, size_t first, size_t count,
                const Pack& pack) {
  const PagedKv* paged = rows.plan.source.paged;
  if (paged == nullptr) {
    pack(view.row(rows.batch, rows.sequence.kv_begin + first, rows.kv_head), size_t{0}, count);
    return;
  }
  const size_t block_size = view.len;
  for (size_t at = 0; at < count;) {
    const size_t token = first + at, slot = token % block_size;
    const size_t run = std::min(block_size - slot, count - at);
    const size_t page =
        static_cast<size_t>(At<int32_t>(paged->block_table, rows.batch, token / block_size));
    pack(view.row(page, slot, rows.kv_head), at, run);
    at += run;
  }
}

void CopyKeys(const Rows& rows, size_t first, size_t count, float* panels) {
  const HeadsView& k = rows.plan.k;
  ForEachRun(rows, k, first, count, [&](const float* from, size_t at, size_t run) {
    const size_t lead =
        std::min((kPanel - at % kPanel) % kPanel, run);  // ends a panel begun before
    for (size_t j = 0; j < lead; ++j) {
      float* to = panels + (at + j) / kPanel * kPanel * k.dim + (at + j) % kPanel;
      const float* row = from + static_cast<ptrdiff_t>(j) * k.len_stride;
      for (size_t d = 0; d < k.dim; ++d) {
        to[d * kPanel] = row[static_cast<ptrdiff_t>(d) * k.dim_stride];
      }
    }
    if (lead == run) return;
    PackPanels(from + static_cast<ptrdiff_t>(lead) * k.len_stride, k.dim_stride, k.len_stride,
               k.dim, run - lead, panels + (at + lead) * k.dim, k.dim * kPanel);
  });
}

void CopyValues(const Rows& rows, size_t first, size_t count, float* panels) {
  const HeadsView& v = rows.plan.v;
  ForEachRun(rows, v, first, count, [&](const float* from, size_t at, size_t run) {
    PackPanels(from, v.len_stride, v.dim_stride, run, v.dim, panels + at * kPanel,
               kKeyBlock * kPanel);
  });
}

// Where a block's keys and values are: in the cache, or copied.
const float* KeysOf(const Rows& rows, size_t block, const AttentionWorkspace& w) {
  if (const KvCache* cache = rows.plan.source.cache) {
    return cache->key_block(rows.batch, rows.kv_head, block);
  }
  const size_t first = block * kKeyBlock;
  CopyKeys(rows, first, std::min(kKeyBlock, rows.sequence.kv_len - first), w.keys);
  return w.keys;
}

const float* ValuesOf(const Rows& rows, size_t block, const AttentionWorkspace& w) {
  if (const KvCache* cache = rows.plan.source.cache) {
    return cache->value_block(rows.batch, rows.kv_head, block);
  }
  const size_t first = block * kKeyBlock;
  CopyValues(rows, first, std::min(kKeyBlock, rows.sequence.kv_len - first), w.values);
  return w.values;
}

// All of a block but its keys and values, for a group of rows; false when none sees any of it.
bool DescribeBlock(const Rows& rows, size_t block, const AttentionWorkspace& w, KeyBlock* keys) {
  const size_t first = block * kKeyBlock;
  const RowGroup& group = *w.groups;
  if (!group.Sees(first, first + kKeyBlock)) return false;
  keys->whole =
      w.visible == nullptr && group.all.begin <= first && first + kKeyBlock <= group.all.end;
  if (keys->whole) {
    std::fill_n(w.begin, rows.count, uint8_t{0});
    std::fill_n(w.end, rows.count, static_cast<uint8_t>(kKeyBlock));
  } else if (!FindVisible(rows, first, w)) {
    return false;
  }
  keys->begin = w.begin;
  keys->end = w.end;
  keys->visible = HasHoles(rows, w) ? w.visible : nullptr;
  if (w.slope != nullptr) FillDistances(rows, first, w);
  keys->distance = w.distance;
  if (w.bias != nullptr) FillBias(rows, first, w);
  keys->bias = w.bias;
  if (w.multipliers != nullptr) FillMultipliers(rows, first, w);
  keys->multiplier = w.multipliers;
  return true;
}

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
    w.keys_of[r] = RuleKeys(rows.plan, rows.batch, rows.sequence, i);
    if (w.slope != nullptr) w.slope[r] = At<float>(rows.plan.options.alibi_slopes, h);
    RowGroup& group = w.groups[r / kScoreRows];
    const VisibleKeys& keys = w.keys_of[r];
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
        ahead.AddKeys(rows, first + kKeyBlock, share, shares);
        if (g + 1 < groups && !w.groups[g + 1].queries_ready) {
          ahead.AddQueries(rows.Group((g + 1) * kScoreRows));
        }
        if (!info.Sees(next, last)) end.AskFor(group, of_group, &ahead);
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
