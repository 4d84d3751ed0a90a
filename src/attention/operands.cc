#include "src/attention/operands.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "heed/numerics.hpp"
#include "src/base/half.h"
#include "src/base/memory.h"
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
    scales.axis = axis;
    scales.group = groups == 1 ? size_t{INT32_MAX} / kPanel * kPanel : kInt4Group;
    scales.panel_stride = kPanel;
    scales.group_stride = kKeyBlock;
  }
};

CodeScratch KeyRoom(size_t dim, DType dtype) { return {dim, kKeyBlock, dim, dtype}; }
CodeScratch ValueRoom(size_t dim, DType dtype) { return {kKeyBlock, dim, dim, dtype}; }

// Channels that are taken from rows at a time.
constexpr size_t kCodesAtOnce = 64;

// Codes [begin, begin + n) of a row of kInt8 or kInt4, a byte each; begin is even.
void CopyCodes(const char* row, DType dtype, size_t begin, size_t n, int8_t* to) {
  if (dtype == DType::kInt8) {
    std::memcpy(to, row + begin, n);
    return;
  }
  const auto* bytes = reinterpret_cast<const int8_t*>(row) + begin / 2;
  for (size_t i = 0; i < n / 2; ++i) {
    to[2 * i] = Int4Code(bytes[i], 0);
    to[2 * i + 1] = Int4Code(bytes[i], 1);
  }
  if (n % 2 == 1) to[n - 1] = Int4Code(bytes[n / 2], 0);
}

// to[c * to_stride + r] = from[r * from_stride + c], of 8 by 8 bytes.
void TransposeBytes(const int8_t* from, size_t from_stride, int8_t* to, size_t to_stride) {
  uint64_t x[8];
  for (size_t r = 0; r < 8; ++r) std::memcpy(&x[r], from + r * from_stride, 8);
  const auto swap = [&](size_t r, size_t apart, int shift, uint64_t mask) {
    // Blocks above the diagonal with those below it.
    const uint64_t changed = ((x[r] >> shift) ^ x[r + apart]) & mask;
    x[r + apart] ^= changed;
    x[r] ^= changed << shift;
  };
  // On big-endian machines columns count from the other end.
  if constexpr (std::endian::native == std::endian::big) {
    for (uint64_t& row : x) row = __builtin_bswap64(row);
  }
  for (size_t r = 0; r < 4; ++r) swap(r, 4, 32, 0x00000000FFFFFFFF);
  for (const size_t r : {0u, 1u, 4u, 5u}) swap(r, 2, 16, 0x0000FFFF0000FFFF);
  for (const size_t r : {0u, 2u, 4u, 6u}) swap(r, 1, 8, 0x00FF00FF00FF00FF);
  if constexpr (std::endian::native == std::endian::big) {
    for (uint64_t& row : x) row = __builtin_bswap64(row);
  }
  for (size_t r = 0; r < 8; ++r) std::memcpy(to + r * to_stride, &x[r], 8);
}

// A panel of up to kPanel keys from their rows.
void PackPanel(const char* const* rows, size_t count, const HeadsView& view, int8_t* panel) {
  int8_t tile[kPanel][kCodesAtOnce];
  for (size_t d = 0; d < view.dim; d += kCodesAtOnce) {
    const size_t n = std::min(kCodesAtOnce, view.dim - d);
    for (size_t j = 0; j < kPanel; ++j) {
      if (j < count) {
        CopyCodes(rows[j], view.dtype, d, n, tile[j]);
      } else {
        std::memset(tile[j], 0, n);
      }
    }
    size_t c = 0;
    for (; c + 8 <= n; c += 8) {
      for (size_t j = 0; j < kPanel; j += 8) {
        TransposeBytes(&tile[j][c], kCodesAtOnce, panel + (d + c) * kPanel + j, kPanel);
      }
    }
    for (; c < n; ++c) {
      for (size_t j = 0; j < kPanel; ++j) panel[(d + c) * kPanel + j] = tile[j][c];
    }
  }
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

// Calls visit(place in the block, code row) for every key, and puts its scales where panels have
// them.
template <class Visit>
void KeyBlocks::ForEachRow(const StoredRows& from, const KeyHead& head, size_t first, size_t count,
                           size_t groups, float* scales, const Visit& visit) const {
  const bool tensor = source_ == Source::kTensors;
  const size_t len = from.view.len;
  const auto batch_of = [&](size_t key) {
    return tensor ? head.batch : static_cast<size_t>(head.blocks[key / len]);
  };
  const auto row_of = [&](size_t key) { return tensor ? head.row_of_key(key) : key % len; };
  const size_t bytes = from.view.row_bytes();
  SetZero(scales, groups * kKeyBlock);
  for (size_t j = 0; j < count; ++j) {
    const size_t key = first + j;
    if (j + kPanel < count) {  // rows of a head lie far apart
      const size_t later = key + kPanel;
      const char* row = from.view.at(batch_of(later), row_of(later), head.head);
      for (size_t byte = 0; byte < bytes; byte += kLineBytes) PrefetchToL1(row + byte);
    }
    const char* of_row = from.scales.at(batch_of(key), row_of(key), head.head);
    for (size_t g = 0; g < groups; ++g) {
      scales[g * kKeyBlock + j] = from.view.dtype == DType::kInt8
                                      ? reinterpret_cast<const float*>(of_row)[g]
                                      : ToFloat(reinterpret_cast<const f16*>(of_row)[g]);
    }
    visit(j, from.view.at(batch_of(key), row_of(key), head.head));
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
  const char* rows[kKeyBlock];
  ForEachRow(stored_k_, head, first, count, room.groups, scratch + room.floats,
             [&](size_t j, const char* row) {
               rows[j] = row;
               if (j % kPanel + 1 < kPanel && j + 1 < count) return;
               const size_t begin = j / kPanel * kPanel;
               PackPanel(rows + begin, j + 1 - begin, k_, codes + begin * k_.dim);
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
        *to = int4 ? Int4Code(byte, d) : byte;
      }
    }
    return;
  }
  const CodeScratch room = ValueRoom(v_.dim, v_.dtype);
  room.Describe(ScaleAxis::kDepth, scratch, panels);
  ForEachRow(stored_v_, head, first, count, room.groups, scratch + room.floats,
             [&](size_t j, const char* row) {
               int8_t some[kCodesAtOnce];
               for (size_t d = 0; d < v_.dim; d += kCodesAtOnce) {
                 const size_t n = std::min(kCodesAtOnce, v_.dim - d);
                 CopyCodes(row, v_.dtype, d, n, some);
                 std::memset(some + n, 0, RoundUp(n, kPanel) - n);
                 for (size_t c = 0; c < n; c += kPanel) {
                   std::memcpy(codes + ((d + c) * kKeyBlock + j * kPanel), some + c, kPanel);
                 }
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
