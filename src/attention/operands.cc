#include "src/attention/operands.h"

#include <algorithm>

#include "src/matmul/pack.h"

namespace heed {
namespace {

// Calls pack(row of the first key, its place in the block, how many) for the runs of keys that lie
// at equal steps in memory: all of a tensor's, a page's each.
template <class Pack>
void ForEachRun(const Rows& rows, const HeadsView& view, size_t first, size_t count,
                const Pack& pack) {
  const PagedKv* paged = rows.plan.source.paged;
  if (paged == nullptr) {
    pack(view.row(rows.batch, rows.sequence.row_of_key(first), rows.kv_head), size_t{0}, count);
    return;
  }
  const size_t block_size = view.len;
  for (size_t at = 0; at < count;) {
    const size_t token = first + at, slot = token % block_size;
    const size_t run = std::min(block_size - slot, count - at);
    const auto page = static_cast<size_t>(rows.sequence.blocks[token / block_size]);
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

}  // namespace

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

}  // namespace heed
