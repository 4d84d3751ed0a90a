// The keys and values of an attention call in blocks of panels, wherever they come from.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/kv_cache.hpp"
#include "src/base/heads_view.h"
#include "src/base/rows.h"
#include "src/kernels/pack.h"
#include "src/kernels/panels.h"
#include "src/kernels/prefetch.h"
#include "src/kernels/widen.h"

namespace heed::inline v1 {

// One kv head of one sequence, with `len` keys.
struct KeyHead {
  size_t batch, head;
  ptrdiff_t begin;  // the row of key 0 in tensors; negative for a part of the keys
  size_t len;
  const int32_t* blocks;  // of pages: those that hold the keys

  size_t row_of_key(size_t j) const {
    return static_cast<size_t>(begin + static_cast<ptrdiff_t>(j));
  }
};

// Keys or values as rows of heads, with the scales of quantized ones: [.., 1] of kInt8,
// [.., groups of 32 channels] of kInt4, side by side.
struct StoredRows {
  HeadsView view, scales = {};
  RowReader reader = {};  // of elements that are no codes

  StoredRows() = default;
  StoredRows(const WidenKernels& widen, const HeadsView& rows, const HeadsView& of_scales = {})
      : view(rows), scales(of_scales), reader(widen, rows.dtype, rows.dim_stride) {}

  void Read(const WidenKernels& widen, size_t b, size_t i, size_t h, float* to) const;
};

class KeyBlocks {
 public:
  KeyBlocks() = default;
  static KeyBlocks OfTensors(const PackKernels& pack, const WidenKernels& widen,
                             const StoredRows& k, const StoredRows& v);
  // [block, slot, ...]
  static KeyBlocks OfPages(const PackKernels& pack, const WidenKernels& widen, const StoredRows& k,
                           const StoredRows& v);
  // A ring too.
  static KeyBlocks OfCache(const PackKernels& pack, const WidenKernels& widen,
                           const KvCache& cache);

  // Panels of f32 of the keys [block * kKeyBlock, head.len) of which there are at most kKeyBlock. A
  // cache of f32 holds them; others are packed or widened into `scratch`, of KeyScratch() or
  // ValueScratch() floats. Not returned: what is copied right after it was written, in other
  // pieces, waits until all loads before are done, so that decode stands still for a moment.
  void Keys(const KeyHead& head, size_t block, float* scratch, Panels* panels) const;
  // `keys`: what Keys gave of the block, which may hold its values.
  void Values(const KeyHead& head, size_t block, const Panels& keys, float* scratch,
              Panels* panels) const;
  size_t KeyScratch() const;
  size_t ValueScratch() const;

  // The types in which they are stored.
  DType key_type() const { return types_[0]; }
  DType value_type() const { return types_[1]; }

  // The same as panels of codes, of keys or values of kInt8 or kInt4: as a cache stores them, else
  // in `scratch`, of KeyCodeScratch() or ValueCodeScratch() floats, and there always as kInt8.
  void KeyCodes(const KeyHead& head, size_t block, float* scratch, Panels* panels) const;
  void ValueCodes(const KeyHead& head, size_t block, float* scratch, Panels* panels) const;
  size_t KeyCodeScratch() const;
  size_t ValueCodeScratch() const;

  // Whether a cache stores keys and values apart, one of them in another type than f32, so that few
  // rows can read both as they are stored.
  bool narrow() const { return narrow_; }
  void AsStored(const KeyHead& head, size_t block, Panels* k, Panels* v) const;

  // Prefetches block `block`, if there is one: its panels in a cache, those of f32 or, where they
  // are read as they are stored, all; and of tensors the rows that are part `part` of `parts`.
  // Where pages lie is not known without a look at their table.
  void PrefetchPanels(const KeyHead& head, size_t block, bool keys_as_stored, bool values_as_stored,
                      BlockPrefetch* prefetch) const;
  void PrefetchRows(const KeyHead& head, size_t block, size_t part, size_t parts,
                    BlockPrefetch* prefetch) const;

  // Bytes of `len` keys and values of each sequence, or of all tensors or pages.
  double Bytes(size_t len) const;

 private:
  enum class Source { kTensors, kPages, kCache };

  template <class Pack>
  void ForEachRun(const HeadsView& view, const KeyHead& head, size_t first, size_t count,
                  const Pack& pack) const;
  template <class Pack>
  void ForEachWidened(const StoredRows& from, const KeyHead& head, size_t first, size_t count,
                      float* rows, const Pack& pack) const;
  template <class Visit>
  void ForEachRow(const StoredRows& from, const KeyHead& head, size_t first, size_t count,
                  size_t groups, float* scales, const Visit& visit) const;
  void PackKeys(const KeyHead& head, size_t first, size_t count, float* panels) const;
  void PackValues(const KeyHead& head, size_t first, size_t count, float* panels) const;

  Source source_ = Source::kTensors;
  const PackKernels* pack_ = nullptr;
  HeadsView k_, v_;
  StoredRows stored_k_, stored_v_;  // of other types than f32
  const WidenKernels* widen_ = nullptr;
  const KvCache::Impl* cache_ = nullptr;
  DType types_[2] = {DType::kF32, DType::kF32};
  bool narrow_ = false;
};

}  // namespace heed::inline v1
