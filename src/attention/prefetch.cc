#include "src/attention/prefetch.h"

#include <algorithm>

namespace heed::inline v1 {
namespace {

void PrefetchGroup(const HeadsView& view, const Rows& group, PrefetchRows* prefetch) {
  if (view.dim_stride != 1) return;
  group.ForEach([&](size_t, size_t i, size_t h) {
    prefetch->Add(view.at(group.batch, group.sequence.q_begin + i, h), view.row_bytes());
  });
}

}  // namespace

GroupPrefetch::GroupPrefetch(const Rows& rows, const AttentionWorkspace& w, size_t block,
                             size_t end)
    : rows_(rows), w_(w), block_(block) {
  if (!kPrefetch || !rows.plan.prefetch) return;
  const size_t first = block * kKeyBlock, last = std::min(first + kKeyBlock, end);
  const RowGroup* groups_end = w.groups + CeilDiv(rows.count, kScoreRows);
  parts_ = static_cast<size_t>(
      std::count_if(static_cast<const RowGroup*>(w.groups), groups_end,
                    [&](const RowGroup& group) { return group.keys.Sees(first, last); }));
}

// The hardware follows a stream up to the end of its page and no further, and it does not follow
// rows of heads, which lie far apart. So
// - of a cache the first group prefetches the next block: with many rows step by step with the
//   panels it works on, as the whole next block before the one at hand is 5 % faster with D 64, but
//   8 % slower with D 128; with few rows no more of it than its first lines, as the last of the
//   lines ahead (attention_decode-inl.h);
// - of tensors the groups that see this block share the rows of the next block, and each adds the
//   queries of the next group and the outputs that it is about to write. The kernels spread them
//   over their tiles: all of them before the kernel fill the line buffers, and it waits (4 %);
// - where the operands fit in L2 together no rows are prefetched: they are there, and it costs 5 to
//   8 %.
void GroupPrefetch::Next(size_t g, bool writes, bool as_stored, BlockPrefetch* prefetch) {
  if constexpr (!kPrefetch) return;
  const AttentionPlan& plan = rows_.plan;
  const size_t part = part_++;
  *prefetch = BlockPrefetch();
  if (part == 0) {
    plan.keys.PrefetchPanels(rows_.keys(), block_ + 1, as_stored || plan.key_codes(),
                             as_stored || plan.value_codes(), prefetch);
  }
  if (!plan.prefetch) return;
  prefetch->rows.rows = w_.prefetch;
  prefetch->rows.capacity = kMaxPrefetchRows;
  plan.keys.PrefetchRows(rows_.keys(), block_ + 1, part, parts_, prefetch);
  const size_t next = (g + 1) * kScoreRows;
  if (next < rows_.count && !w_.groups[g + 1].queries_ready) {
    PrefetchGroup(plan.q, rows_.Group(next), &prefetch->rows);
  }
  if (writes) PrefetchGroup(plan.out, rows_.Group(g * kScoreRows), &prefetch->rows);
}

}  // namespace heed::inline v1
