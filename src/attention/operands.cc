#include "src/attention/operands.h"

#include <algorithm>

#include "heed/numerics.hpp"
#include "src/base/half.h"
#include "src/cache/kv_cache.h"
#include "src/kernels/attention.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {
namespace {

// Rows of another type than f32 are widened a panel of keys at a time: they are in L1 when they go
// into panels.
size_t WidenedFloats(const HeadsView& view) {
  return view.dtype == DType::kF32 ? 0 : kPanel * view.dim;
}

}  // namespace

void StoredRows::Read(const WidenKernels& widen, size_t b, size_t i, size_t h, float* to) const {
  const char* from = view.at(b, i, h);
  if (view.dtype == DType::kInt8) {
    widen.int8_row(reinterpret_cast<const int8_t*>(from), view.dim, *scales.row(b, i, h), to);
  } else if (view.dtype == DType::kInt4) {
    widen.int4_row(reinterpret_cast<const uint8_t*>(from), view.dim,
                   reinterpret_cast<const f16*>(scales.at(b, i, h)), to);
  } else {
    reader(from, view.dim, to);
  }
}

KeyBlocks KeyBlocks::OfTensors(const PackKernels& pack, const WidenKernels& widen,
                               const StoredRows& k, const StoredRows& v) {
  KeyBlocks blocks = OfPages(pack, widen, k, v);
  blocks.source_ = Source::kTensors;
  return blocks;
}

KeyBlocks KeyBlocks::OfPages(const PackKernels& pack, const WidenKernels& widen,
                             const StoredRows& k, const StoredRows& v) {
  KeyBlocks blocks;
  blocks.source_ = Source::kPages;
  blocks.pack_ = &pack;
  blocks.widen_ = &widen;
  blocks.k_ = k.view;
  blocks.v_ = v.view;
  blocks.stored_k_ = k;
  blocks.stored_v_ = v;
  blocks.types_[0] = k.view.dtype;
  blocks.types_[1] = v.view.dtype;
  return blocks;
}

KeyBlocks KeyBlocks::OfCache(const PackKernels& pack, const WidenKernels& widen,
                             const KvCache& cache) {
  KeyBlocks blocks;
  blocks.pack_ = &pack;
  blocks.source_ = Source::kCache;
  blocks.widen_ = &widen;
  blocks.cache_ = KvCache::Impl::Of(cache);
  const KvCacheConfig& c = cache.config();
  blocks.types_[0] = c.k_dtype;
  blocks.types_[1] = c.values_in_keys ? c.k_dtype : c.v_dtype;
  blocks.narrow_ = !c.values_in_keys && (c.k_dtype != DType::kF32 || c.v_dtype != DType::kF32);
  return blocks;
}

void KeyBlocks::Keys(const KeyHead& head, size_t block, float* scratch, Panels* panels) const {
  const size_t first = block * kKeyBlock, count = std::min(kKeyBlock, head.len - first);
  if (source_ != Source::kCache) {
    PackKeys(head, first, count, scratch);
    *panels = {scratch};
    return;
  }
  const KvCacheConfig& c = cache_->config;
  const uint8_t* at = cache_->Block(head.batch, head.head, block);
  panels->dtype = DType::kF32;
  panels->data = c.k_dtype == DType::kF32 ? static_cast<const void*>(at) : scratch;
  if (c.k_dtype == DType::kF32) return;
  Panels k, v;
  cache_->PanelsOf(at, &k, &v);
  widen_->panels[StoredIndex(k.dtype)]({k, cache_->key_panel_bytes(), 0, CeilDiv(count, kPanel), 0,
                                        c.head_dim, scratch, c.head_dim * kPanel});
}

void KeyBlocks::Values(const KeyHead& head, size_t block, const Panels& keys, float* scratch,
                       Panels* panels) const {
  const size_t first = block * kKeyBlock, count = std::min(kKeyBlock, head.len - first);
  if (source_ != Source::kCache) {
    PackValues(head, first, count, scratch);
    *panels = {scratch};
    return;
  }
  const KvCacheConfig& c = cache_->config;
  panels->dtype = DType::kF32;
  panels->data = scratch;
  if (c.values_in_keys) {
    for (size_t j = 0; j < count; j += kPanel) {
      pack_->panels({keys.f32() + j * c.head_dim, 1, kPanel, std::min(kPanel, count - j),
                     c.v_head_dim, scratch + j * kPanel, kKeyBlock * kPanel});
    }
    return;
  }
  const uint8_t* at = cache_->Block(head.batch, head.head, block);
  if (c.v_dtype == DType::kF32) {
    panels->data = at + cache_->values_at;
    return;
  }
  Panels k, v;
  cache_->PanelsOf(at, &k, &v);
  widen_->panels[StoredIndex(v.dtype)]({v, cache_->value_panel_bytes(), 0,
                                        CeilDiv(c.v_head_dim, kPanel), 0, count, scratch,
                                        kKeyBlock * kPanel});
}

size_t KeyBlocks::KeyScratch() const {
  if (source_ != Source::kCache) return kKeyBlock * k_.dim + WidenedFloats(k_);
  const KvCacheConfig& c = cache_->config;
  return c.k_dtype == DType::kF32 ? 0 : kKeyBlock * c.head_dim;
}

size_t KeyBlocks::ValueScratch() const {
  if (source_ != Source::kCache) return kKeyBlock * RoundUp(v_.dim, kPanel) + WidenedFloats(v_);
  const KvCacheConfig& c = cache_->config;
  const bool in_place = c.v_dtype == DType::kF32 && !c.values_in_keys;
  return in_place ? 0 : kKeyBlock * RoundUp(c.v_head_dim, kPanel);
}

// What KeyCodes and ValueCodes lay out in scratch: codes, room to read beyond them, and scales.
namespace {

struct CodeScratch {
  size_t floats;  // of codes
  size_t groups;

  CodeScratch(size_t steps, size_t columns, size_t dim, DType dtype)
      : floats((steps + kStepsPad) * RoundUp(columns, kPanel) / sizeof(float)),
        groups(dtype == DType::kInt4 ? CeilDiv(dim, kInt4Group) : 1) {}
  size_t all() const { return floats + groups * kKeyBlock; }

  void Describe(ScaleAxis axis, float* scratch, Panels* panels) const {
    panels->data = scratch;
    panels->dtype = DType::kInt8;
    Scales& scales = panels->scales;
    scales.data = scratch + floats;
    scales.dtype = DType::kF32;
    scales.axis = axis;
    scales.group = groups == 1 ? size_t{INT32_MAX} / kPanel * kPanel : kInt4Group;
    scales.panel_stride = kPanel;
    scales.group_stride = kKeyBlock;
  }
};

CodeScratch KeyRoom(size_t dim, DType dtype) { return {dim, kKeyBlock, dim, dtype}; }
CodeScratch ValueRoom(size_t dim, DType dtype) { return {kKeyBlock, dim, dim, dtype}; }

// Code i of a row of kInt8 or kInt4.
int8_t CodeAt(const char* row, DType dtype, size_t i) {
  if (dtype == DType::kInt8) return static_cast<int8_t>(row[i]);
  const auto byte = static_cast<int8_t>(row[i / 2]);
  return static_cast<int8_t>(i % 2 == 1 ? byte >> 4 : static_cast<int8_t>(byte << 4) >> 4);
}

}  // namespace

size_t KeyBlocks::KeyCodeScratch() const {
  return source_ == Source::kCache ? 0 : KeyRoom(k_.dim, k_.dtype).all();
}

size_t KeyBlocks::ValueCodeScratch() const {
  if (source_ != Source::kCache) return ValueRoom(v_.dim, v_.dtype).all();
  const KvCacheConfig& c = cache_->config;
  return c.values_in_keys ? ValueRoom(c.v_head_dim, c.k_dtype).all() : 0;
}

// Calls visit(place in the block, code row, scale of group g) for every key.
template <class Visit>
void KeyBlocks::ForEachRow(const StoredRows& from, const KeyHead& head, size_t first, size_t count,
                           const Visit& visit) const {
  for (size_t j = 0; j < count; ++j) {
    const size_t key = first + j, len = from.view.len;
    const bool tensor = source_ == Source::kTensors;
    const size_t b = tensor ? head.batch : static_cast<size_t>(head.blocks[key / len]);
    const size_t i = tensor ? head.row_of_key(key) : key % len;
    const char* scales = from.scales.at(b, i, head.head);
    visit(j, from.view.at(b, i, head.head), [&](size_t g) {
      return from.view.dtype == DType::kInt8 ? reinterpret_cast<const float*>(scales)[g]
                                             : ToFloat(reinterpret_cast<const f16*>(scales)[g]);
    });
  }
}

void KeyBlocks::KeyCodes(const KeyHead& head, size_t block, float* scratch, Panels* panels) const {
  if (source_ == Source::kCache) {
    Panels v;
    return AsStored(head, block, panels, &v);
  }
  const size_t first = block * kKeyBlock, count = std::min(kKeyBlock, head.len - first);
  const CodeScratch room = KeyRoom(k_.dim, k_.dtype);
  room.Describe(ScaleAxis::kColumn, scratch, panels);
  auto* codes = reinterpret_cast<int8_t*>(scratch);
  float* scales = scratch + room.floats;
  std::fill_n(scales, room.groups * kKeyBlock, 0.0f);
  ForEachRow(stored_k_, head, first, count, [&](size_t j, const char* row, const auto& scale_of) {
    for (size_t g = 0; g < room.groups; ++g) scales[g * kKeyBlock + j] = scale_of(g);
    int8_t* to = codes + j / kPanel * kPanel * k_.dim + j % kPanel;
    for (size_t d = 0; d < k_.dim; ++d) to[d * kPanel] = CodeAt(row, k_.dtype, d);
  });
}

void KeyBlocks::ValueCodes(const KeyHead& head, size_t block, float* scratch,
                           Panels* panels) const {
  const size_t first = block * kKeyBlock, count = std::min(kKeyBlock, head.len - first);
  auto* codes = reinterpret_cast<int8_t*>(scratch);
  if (source_ == Source::kCache) {
    Panels k;
    AsStored(head, block, &k, panels);
    const KvCacheConfig& c = cache_->config;
    if (!c.values_in_keys) return;
    const CodeScratch room = ValueRoom(c.v_head_dim, c.k_dtype);
    room.Describe(ScaleAxis::kDepth, scratch, panels);
    float* scales = scratch + room.floats;
    for (size_t n = 0; n < room.groups * kKeyBlock; ++n) {
      scales[n] = c.k_dtype == DType::kInt8 ? static_cast<const float*>(k.scales.data)[n]
                                            : ToFloat(static_cast<const f16*>(k.scales.data)[n]);
    }
    const bool int4 = c.k_dtype == DType::kInt4;
    for (size_t j = 0; j < count; ++j) {
      const uint8_t* from = k.bytes() + j / kPanel * cache_->key_panel_bytes() + j % kPanel;
      for (size_t d = 0; d < c.v_head_dim; ++d) {
        const auto byte = static_cast<int8_t>(from[(int4 ? d / 2 : d) * kPanel]);
        int8_t* to = codes + (d / kPanel * kKeyBlock + j) * kPanel + d % kPanel;
        *to = !int4 ? byte
                    : static_cast<int8_t>(d % 2 == 1 ? byte >> 4
                                                     : static_cast<int8_t>(byte << 4) >> 4);
      }
    }
    return;
  }
  const CodeScratch room = ValueRoom(v_.dim, v_.dtype);
  room.Describe(ScaleAxis::kDepth, scratch, panels);
  float* scales = scratch + room.floats;
  std::fill_n(scales, room.groups * kKeyBlock, 0.0f);
  ForEachRow(stored_v_, head, first, count, [&](size_t j, const char* row, const auto& scale_of) {
    for (size_t g = 0; g < room.groups; ++g) scales[g * kKeyBlock + j] = scale_of(g);
    for (size_t d = 0; d < v_.dim; ++d) {
      codes[(d / kPanel * kKeyBlock + j) * kPanel + d % kPanel] = CodeAt(row, v_.dtype, d);
    }
  });
}

void KeyBlocks::AsStored(const KeyHead& head, size_t block, Panels* k, Panels* v) const {
  cache_->PanelsOf(cache_->Block(head.batch, head.head, block), k, v);
}

// Where they lie is all that counts: scales are not filled in.
void KeyBlocks::PrefetchPanels(const KeyHead& head, size_t block, bool keys_as_stored,
                               bool values_as_stored, BlockPrefetch* prefetch) const {
  if (source_ != Source::kCache || block * kKeyBlock >= head.len) return;
  const KvCacheConfig& c = cache_->config;
  const uint8_t* at = cache_->Block(head.batch, head.head, block);
  prefetch->k.dtype = c.k_dtype;
  prefetch->v.dtype = c.v_dtype;
  if (keys_as_stored || c.k_dtype == DType::kF32) prefetch->k.data = at;
  if (c.values_in_keys) return;
  if (values_as_stored || c.v_dtype == DType::kF32) prefetch->v.data = at + cache_->values_at;
}

void KeyBlocks::PrefetchRows(const KeyHead& head, size_t block, size_t part, size_t parts,
                             BlockPrefetch* prefetch) const {
  const size_t first = block * kKeyBlock, end = std::min(first + kKeyBlock, head.len);
  if (source_ != Source::kTensors || first >= end) return;
  const size_t from = first + (end - first) * part / parts;
  const size_t to = first + (end - first) * (part + 1) / parts;
  for (const HeadsView* view : {&k_, &v_}) {
    for (size_t j = from; j < to && view->dim_stride == 1; ++j) {
      prefetch->rows.Add(view->at(head.batch, head.row_of_key(j), head.head), view->row_bytes());
    }
  }
}

double KeyBlocks::Bytes(size_t len) const {
  if (source_ == Source::kCache) {
    const KvCacheConfig& c = cache_->config;
    return static_cast<double>(c.batch * c.num_kv_heads) * static_cast<double>(len) *
           static_cast<double>(cache_->block_bytes) / static_cast<double>(kKeyBlock);
  }
  return k_.bytes() + v_.bytes();
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

// Calls pack(rows, place of the first in the block, how many) for a panel of keys at a time, whose
// rows lie side by side in `rows`, as f32.
template <class Pack>
void KeyBlocks::ForEachWidened(const StoredRows& from, const KeyHead& head, size_t first,
                               size_t count, float* rows, const Pack& pack) const {
  const HeadsView& view = from.view;
  struct Place {
    size_t b, i;
  };
  const auto place_of = [&](size_t key) {
    if (source_ == Source::kTensors) return Place{head.batch, head.row_of_key(key)};
    return Place{static_cast<size_t>(head.blocks[key / view.len]), key % view.len};
  };
  // Rows of a head lie far apart, where the hardware does not look ahead.
  const size_t bytes = view.dim_stride == 1 ? view.row_bytes() : 0;
  for (size_t at = 0; at < count; at += kPanel) {
    const size_t some = std::min(kPanel, count - at);
    for (size_t j = 0; j < some; ++j) {
      if (at + j + kPanel < count) {
        const Place later = place_of(first + at + j + kPanel);
        const char* row = view.at(later.b, later.i, head.head);
        for (size_t byte = 0; byte < bytes; byte += kLineBytes) PrefetchToL1(row + byte);
      }
      const Place place = place_of(first + at + j);
      from.Read(*widen_, place.b, place.i, head.head, rows + j * view.dim);
    }
    pack(rows, at, some);
  }
}

void KeyBlocks::PackKeys(const KeyHead& head, size_t first, size_t count, float* panels) const {
  const HeadsView& k = k_;
  if (k.dtype != DType::kF32) {
    float* room = panels + kKeyBlock * k.dim;
    const auto dim = static_cast<ptrdiff_t>(k.dim);
    return ForEachWidened(
        stored_k_, head, first, count, room, [&](const float* rows, size_t at, size_t some) {
          pack_->panels({rows, 1, dim, k.dim, some, panels + at * k.dim, k.dim * kPanel});
        });
  }
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
  if (v.dtype != DType::kF32) {
    float* room = panels + kKeyBlock * RoundUp(v.dim, kPanel);
    const auto dim = static_cast<ptrdiff_t>(v.dim);
    return ForEachWidened(
        stored_v_, head, first, count, room, [&](const float* rows, size_t at, size_t some) {
          pack_->panels({rows, dim, 1, some, v.dim, panels + at * kPanel, kKeyBlock * kPanel});
        });
  }
  ForEachRun(v, head, first, count, [&](const float* from, size_t at, size_t run) {
    pack_->panels(
        {from, v.len_stride, v.dim_stride, run, v.dim, panels + at * kPanel, kKeyBlock * kPanel});
  });
}

}  // namespace heed::inline v1
