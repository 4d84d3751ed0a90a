#include "src/attention/operands.h"

#include <algorithm>

#include "heed/numerics.hpp"
#include "src/cache/kv_cache.h"
#include "src/kernels/layout.h"

namespace heed {

KeyBlocks KeyBlocks::OfTensors(const PackKernels& pack, const HeadsView& k, const HeadsView& v) {
  KeyBlocks blocks;
  blocks.pack_ = &pack;
  blocks.k_ = k;
  blocks.v_ = v;
  return blocks;
}

KeyBlocks KeyBlocks::OfPages(const PackKernels& pack, const HeadsView& k, const HeadsView& v) {
  KeyBlocks blocks = OfTensors(pack, k, v);
  blocks.source_ = Source::kPages;
  return blocks;
}

KeyBlocks KeyBlocks::OfCache(const KvCache& cache) {
  KeyBlocks blocks;
  blocks.source_ = Source::kCache;
  blocks.cache_ = KvCache::Impl::Of(cache);
  return blocks;
}

void KeyBlocks::Keys(const KeyHead& head, size_t block, float* scratch, Panels* panels) const {
  if (source_ == Source::kCache) {
    *panels = cache_->Keys(head.batch, head.head, block);
    return;
  }
  const size_t first = block * kKeyBlock;
  PackKeys(head, first, std::min(kKeyBlock, head.len - first), scratch);
  *panels = {scratch};
}

void KeyBlocks::Values(const KeyHead& head, size_t block, float* scratch, Panels* panels) const {
  if (source_ == Source::kCache) {
    *panels = cache_->Values(head.batch, head.head, block);
    return;
  }
  const size_t first = block * kKeyBlock;
  PackValues(head, first, std::min(kKeyBlock, head.len - first), scratch);
  *panels = {scratch};
}

size_t KeyBlocks::KeyScratch() const { return source_ == Source::kCache ? 0 : kKeyBlock * k_.dim; }

size_t KeyBlocks::ValueScratch() const {
  return source_ == Source::kCache ? 0 : kKeyBlock * RoundUp(v_.dim, kPanel);
}

void KeyBlocks::PrefetchPanels(const KeyHead& head, size_t block, BlockPrefetch* prefetch) const {
  if (source_ != Source::kCache || block * kKeyBlock >= head.len) return;
  Keys(head, block, nullptr, &prefetch->k);
  Values(head, block, nullptr, &prefetch->v);
}

void KeyBlocks::PrefetchRows(const KeyHead& head, size_t block, size_t part, size_t parts,
                             BlockPrefetch* prefetch) const {
  const size_t first = block * kKeyBlock, end = std::min(first + kKeyBlock, head.len);
  if (source_ != Source::kTensors || first >= end) return;
  const size_t from = first + (end - first) * part / parts;
  const size_t to = first + (end - first) * (part + 1) / parts;
  for (const HeadsView* view : {&k_, &v_}) {
    for (size_t j = from; j < to && view->dim_stride == 1; ++j) {
      prefetch->rows.Add(view->row(head.batch, head.row_of_key(j), head.head), view->dim);
    }
  }
}

double KeyBlocks::Elements(size_t len) const {
  if (source_ == Source::kCache) {
    const KvCacheConfig& c = cache_->config;
    return static_cast<double>(c.batch * c.num_kv_heads) * static_cast<double>(len) *
           static_cast<double>(c.head_dim + c.v_head_dim);
  }
  return k_.num_elements() + v_.num_elements();
}

// Calls pack(row of the first key, its place in the block, how many) for the runs of keys that lie
// at equal steps in memory: all of a tensor's, a page's each.
template <class Pack>
void KeyBlocks::ForEachRun(const HeadsView& view, const KeyHead& head, size_t first, size_t count,
                           const Pack& pack) const {
  if (source_ == Source::kTensors) {
    pack(view.row(head.batch, head.row_of_key(first), head.head), size_t{0}, count);
    return;
  }
  const size_t block_size = view.len;
  for (size_t at = 0; at < count;) {
    const size_t token = first + at, slot = token % block_size;
    const size_t run = std::min(block_size - slot, count - at);
    const auto page = static_cast<size_t>(head.blocks[token / block_size]);
    pack(view.row(page, slot, head.head), at, run);
    at += run;
  }
}

void KeyBlocks::PackKeys(const KeyHead& head, size_t first, size_t count, float* panels) const {
  const HeadsView& k = k_;
  ForEachRun(k, head, first, count, [&](const float* from, size_t at, size_t run) {
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
    pack_->panels({from + static_cast<ptrdiff_t>(lead) * k.len_stride, k.dim_stride, k.len_stride,
                   k.dim, run - lead, panels + (at + lead) * k.dim, k.dim * kPanel});
  });
}

void KeyBlocks::PackValues(const KeyHead& head, size_t first, size_t count, float* panels) const {
  const HeadsView& v = v_;
  ForEachRun(v, head, first, count, [&](const float* from, size_t at, size_t run) {
    pack_->panels(
        {from, v.len_stride, v.dim_stride, run, v.dim, panels + at * kPanel, kKeyBlock * kPanel});
  });
}

}  // namespace heed
