// The keys and values of an attention call in blocks of panels, wherever they come from.
#pragma once

#include <cstddef>

#include "heed/kv_cache.hpp"
#include "heed/tensor.hpp"
#include "src/base/heads_view.h"
#include "src/kernels/panels.h"
#include "src/kernels/prefetch.h"

namespace heed {

// One kv head of one sequence, with `len` keys. Key j is row begin + j of tensors, modulo 2^64: of
// a part of the keys `begin` is negative.
struct KeyHead {
  size_t batch, head, begin, len;
};

class KeyBlocks {
 public:
  KeyBlocks() = default;
  static KeyBlocks OfTensors(const HeadsView& k, const HeadsView& v);
  // k and v [block, slot, ...]; block_table i32 [batch, blocks].
  static KeyBlocks OfPages(const HeadsView& k, const HeadsView& v, const TensorView& block_table);
  static KeyBlocks OfCache(const KvCache& cache);  // a ring too

  // Panels of the keys [block * kKeyBlock, head.len) of which there are at most kKeyBlock. A cache
  // holds them; others are packed into `scratch`, of KeyScratch() or ValueScratch() floats.
  Panels Keys(const KeyHead& head, size_t block, float* scratch) const;
  Panels Values(const KeyHead& head, size_t block, float* scratch) const;
  size_t KeyScratch() const;
  size_t ValueScratch() const;

  // Prefetches block `block`, if there is one: its panels in a cache, and of tensors the rows that
  // are part `part` of `parts`. Where pages lie is not known without a look at their table.
  void PrefetchPanels(const KeyHead& head, size_t block, BlockPrefetch* prefetch) const;
  void PrefetchRows(const KeyHead& head, size_t block, size_t part, size_t parts,
                    BlockPrefetch* prefetch) const;

  // Elements of `len` keys and values of each sequence, or of all tensors or pages.
  size_t Elements(size_t len) const;

 private:
  enum class Source { kTensors, kPages, kCache };

  template <class Pack>
  void ForEachRun(const HeadsView& view, const KeyHead& head, size_t first, size_t count,
                  const Pack& pack) const;
  void PackKeys(const KeyHead& head, size_t first, size_t count, float* panels) const;
  void PackValues(const KeyHead& head, size_t first, size_t count, float* panels) const;

  Source source_ = Source::kTensors;
  HeadsView k_, v_;
  TensorView block_table_;
  const KvCache::Impl* cache_ = nullptr;
};

}  // namespace heed
