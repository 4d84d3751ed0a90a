#include "src/kernels/matmul.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/pack-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

// Adds a chunk to c, in the order of the contract: chunk, then bias.
struct ChunkRows {
  float* c;
  ptrdiff_t c_stride;
  bool first;
  const float* bias;

  // Chains start at 0; c is needed at their end.
  HWY_INLINE void Load(DF, size_t, VF&, VF&) const {}
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    const size_t lanes = hn::Lanes(d);
    float* HWY_RESTRICT to = c + static_cast<ptrdiff_t>(r) * c_stride;
    if (!first) {
      c0 = hn::Add(hn::LoadU(d, to), c0);
      c1 = hn::Add(hn::LoadU(d, to + lanes), c1);
    }
    if (bias != nullptr) {
      c0 = hn::Add(c0, hn::LoadU(d, bias));
      c1 = hn::Add(c1, hn::LoadU(d, bias + lanes));
    }
    hn::StoreU(c0, d, to);
    hn::StoreU(c1, d, to + lanes);
  }
};

// What a tile does for what comes after it while it multiplies: lines are asked for, and rows of b
// copied into panels. A few lines every kSlot steps, or more often where tiles are few, since many
// at a time fill the buffers that the tile's own misses wait for; and without loops, with which GCC
// would not unroll the tile's.
struct Meanwhile {
  static constexpr size_t kSlot = 16;
  static constexpr size_t kCopyColumns = 2 * kPanel;
  static constexpr size_t kTileAhead = 4;
  // Whether tiles pack the next one, line by line, which takes registers that AVX2 doesn't have.
  static constexpr bool kPacksLines = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3;

  const float* c;  // of the tile, for writing
  ptrdiff_t c_stride;
  size_t slot;       // steps between those that do something for b: a power of two, at most kSlot
  const float* ask;  // of what comes next of b, four lines each time
  ptrdiff_t ask_step, line1, line2, line3;
  const float* copy;  // a row of kCopyColumns or twice as many of b each time, or null
  bool copies_twice;
  ptrdiff_t copy_step;
  float* panels;
  size_t panel_stride;
  const float* a;  // rows of the next tile, if it is still to be packed; or null
  ptrdiff_t a_stride;
  float* tile;
  size_t tile_stride;  // between its two tiles of kTileRows

  template <size_t R>
  struct Tile;
};

template <size_t R>
struct Meanwhile::Tile {
  mutable Meanwhile at;

  HWY_INLINE void Step(size_t k) const {
    if (HWY_LIKELY((k & (at.slot - 1)) != 0)) return;
    PrefetchToL2(at.ask);
    PrefetchToL2(at.ask + at.line1);
    PrefetchToL2(at.ask + at.line2);
    PrefetchToL2(at.ask + at.line3);
    at.ask += at.ask_step;
    if (at.copy != nullptr) {
      const DF d;
      const auto take = [&](size_t i) HEED_INLINE_LAMBDA {
        hn::StoreU(hn::LoadU(d, at.copy + i), d,
                   at.panels + i / kPanel * at.panel_stride + i % kPanel);
      };
      for (size_t i = 0; i < kCopyColumns; i += hn::Lanes(d)) take(i);
      if (at.copies_twice) {
        for (size_t i = 0; i < kCopyColumns; i += hn::Lanes(d)) take(kCopyColumns + i);
      }
      at.copy += at.copy_step;
      at.panels += kPanel;
    }
    if (k % kSlot != 0) return;
    if (R > kTileRows || k % (2 * kSlot) == 0) {
      PrefetchForWriting(at.c);
      PrefetchForWriting(at.c + 2 * hn::Lanes(DF()) - 1);
      at.c += at.c_stride;
    }
    if (at.a == nullptr) return;
    // What is packed a few slots later: in the end the first lines of the tile after the next.
    const float* later = at.a + kTileAhead * kLineFloats;
    if (k >= kSumChunk - kTileAhead * kSlot) {
      later += static_cast<ptrdiff_t>(R) * at.a_stride - static_cast<ptrdiff_t>(kSumChunk);
    }
    for (size_t r = 0; r < R; ++r) PrefetchToL2(later + static_cast<ptrdiff_t>(r) * at.a_stride);
    if constexpr (kPacksLines && R == kRegisterRows) {
      for (size_t r = 0; r < R; r += kTileRows) {
        const float* from = at.a + static_cast<ptrdiff_t>(r) * at.a_stride;
        TileLine(from, from + at.a_stride, from + 2 * at.a_stride, from + 3 * at.a_stride,
                 from + 4 * at.a_stride, from + 5 * at.a_stride,
                 at.tile + r / kTileRows * at.tile_stride);
      }
      at.tile += kLineFloats * kTileRows;
    }
    at.a += kLineFloats;
  }
};

struct ChunkTile {
  template <size_t R>
  static HWY_INLINE void Run(const float* a, const PanelPair& b, size_t depth,
                             const ChunkRows& rows, const Meanwhile& ahead) {
    constexpr size_t kWidth = R < kTileRows ? R : kTileRows;
    MultiplyTile<R>({a, a + kTileRows * depth, 1, kWidth}, b.b0, b.b1, Steps{0, depth}, rows,
                    Meanwhile::Tile<R>{ahead});
  }
};

// At an edge.
struct EdgeChunkTile {
  template <size_t R, class Prefetch>
  static HWY_INLINE void Run(const float* a, const PanelPair& b, size_t depth,
                             const ChunkRows& rows, const Prefetch& prefetch) {
    constexpr size_t kWidth = R < kTileRows ? R : kTileRows;
    MultiplyTile<R>({a, a + kTileRows * depth, 1, kWidth}, b.b0, b.b1, Steps{0, depth}, rows,
                    prefetch);
  }
};

// A tile that hangs over c's last column: computed in a copy of its own.
HWY_NOINLINE void EdgeTile(const MatmulBlock& t, size_t r, size_t c, size_t rows, const float* a,
                           const PanelPair& b) {
  const size_t width = TileColumns();
  const size_t columns = t.columns - c;
  float copy[kMaxRegisterRows * kColumnPad] = {};
  float bias[kColumnPad] = {};
  float* to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride + c;
  for (size_t i = 0; i < rows && !t.first; ++i) {
    std::copy_n(to + static_cast<ptrdiff_t>(i) * t.c_stride, columns, copy + i * width);
  }
  if (t.bias != nullptr) std::copy_n(t.bias + c, columns, bias);
  const ChunkRows chunk{copy, static_cast<ptrdiff_t>(width), t.first, t.bias ? bias : nullptr};
  WithTileRows<EdgeChunkTile>(rows, a, b, t.depth, chunk, NoPrefetch());
  for (size_t i = 0; i < rows; ++i) {
    std::copy_n(copy + i * width, columns, to + static_cast<ptrdiff_t>(i) * t.c_stride);
  }
}

// Packs `rows` rows of a from r on, which are one or two tiles.
HWY_NOINLINE void PackRows(const MatmulBlock& t, size_t r, size_t rows) {
  const float* rows_at[kTileRows];
  for (size_t first = r; first < r + rows; first += kTileRows) {
    const size_t width = std::min(kTileRows, r + rows - first);
    for (size_t i = 0; i < width; ++i) {
      rows_at[i] = t.a_rows + static_cast<ptrdiff_t>(first + i) * t.a_row_stride;
    }
    PackTile(rows_at, t.a_k_stride, width, t.depth, t.a + first * t.depth);
  }
}

// Rows of the next tile when `left` are left: as NextTileRows says, but tiles of less than four
// rows wait for their chains, so the last rows are shared out evenly.
size_t NextRows(size_t left) {
  constexpr size_t kFewest = 4;
  if (left == kRegisterRows || left >= kRegisterRows + kFewest) return kRegisterRows;
  return CeilDiv(left, CeilDiv(left, kTileRows));
}

// What the tiles of a block do meanwhile.
class Ahead {
 public:
  explicit Ahead(const MatmulBlock& t)
      : t_(t),
        copies_((t.copy_b.columns == Meanwhile::kCopyColumns ||
                 t.copy_b.columns == 2 * Meanwhile::kCopyColumns) &&
                t.copy_b.column_stride == 1),
        asks_rows_(t.a_k_stride == 1 && t.depth % kLineFloats == 0) {
    const size_t width = TileColumns();
    meanwhile_.c_stride = t.c_stride;
    meanwhile_.a_stride = t.a_row_stride;
    meanwhile_.tile_stride = kTileRows * t.depth;
    meanwhile_.panel_stride = t.copy_b.panel_stride;
    meanwhile_.slot = Meanwhile::kSlot;
    if (copies_) {
      // A tile asks for some rows, and the next one copies them.
      meanwhile_.line1 = kLineFloats;
      meanwhile_.copies_twice = t.copy_b.columns > Meanwhile::kCopyColumns;
      meanwhile_.line2 = meanwhile_.copies_twice ? 2 * kLineFloats : 0;
      meanwhile_.line3 = meanwhile_.copies_twice ? 3 * kLineFloats : kLineFloats;
      const size_t tiles = CeilDiv(t.rows, kRegisterRows) * CeilDiv(t.columns, width);
      MeetSlots(CeilDiv(t.copy_b.depth, std::max<size_t>(2, tiles) - 1));
    } else {
      const bool stored = t.prefetch_b.dtype != DType::kF32;
      ask_floats_ = stored ? t.prefetch_bytes / sizeof(float) : t.depth * kPanel;
      ask_stride_ =
          static_cast<ptrdiff_t>(stored ? t.prefetch_stride / sizeof(float) : t.b_panel_stride);
      const size_t lines = width > kPanel ? 2 : 4;  // at a time, of each panel
      MeetSlots(
          CeilDiv(ask_floats_ / kLineFloats * std::min(kRegisterRows, t.rows), t.rows * lines));
    }
  }

  // Of the tile of rows [r, r + rows) and the columns from c on, whose panels are b; `next` comes
  // after those. `packs` when the next tile of a is still to be packed.
  const Meanwhile& Next(size_t r, size_t rows, float* c, const float* b, const float* next,
                        bool packs) {
    Meanwhile& m = meanwhile_;
    m.c = c;
    m.ask = b;
    m.ask_step = 0;
    m.copy = nullptr;
    if (copies_) {
      if (asked_ > copied_) {
        const PanelCopy from = t_.copy_b.Part(copied_, slots_);
        m.copy = from.source;
        m.copy_step = from.depth_stride;
        m.panels = from.panels;
        copied_ = asked_;
      }
      if (asked_ + slots_ <= t_.copy_b.depth) {
        m.ask = t_.copy_b.Part(asked_, slots_).source;
        m.ask_step = t_.copy_b.depth_stride;
        asked_ += slots_;
      }
    } else if (next != nullptr) {
      // The part that the tile's rows are of all.
      m.ask = next + ask_floats_ * r / t_.rows;
      const size_t step = CeilDiv(ask_floats_ * rows, t_.rows * slots_);
      m.ask_step = static_cast<ptrdiff_t>(step);
      const auto line = [&](size_t i) {
        return static_cast<ptrdiff_t>(step > i * kLineFloats ? i * kLineFloats : 0);
      };
      const bool pair = TileColumns() > kPanel;
      m.line1 = line(1);
      m.line2 = pair ? ask_stride_ : line(2);
      m.line3 = pair ? m.line2 + m.line1 : line(3);
    }
    m.a = nullptr;
    packed_ = false;
    const size_t left = t_.rows - r - rows;
    if (packs && asks_rows_ && rows == kRegisterRows && left > 0 &&
        NextRows(left) == kRegisterRows) {
      m.a = t_.a_rows + static_cast<ptrdiff_t>(r + rows) * t_.a_row_stride;
      m.tile = t_.a + (r + rows) * t_.depth;
      packed_ = Meanwhile::kPacksLines;
    }
    return m;
  }

  // Whether the tile after the last one is packed.
  bool packed() const { return packed_; }
  // Rows of the next block of b that are in panels.
  size_t copied() const { return copied_; }

 private:
  // As many slots to a tile as `wanted`, or as many as there can be.
  void MeetSlots(size_t wanted) {
    while (meanwhile_.slot > 1 && CeilDiv(t_.depth, meanwhile_.slot) < wanted) meanwhile_.slot /= 2;
    slots_ = CeilDiv(t_.depth, meanwhile_.slot);
  }

  const MatmulBlock& t_;
  const bool copies_, asks_rows_;
  size_t slots_ = 0;  // of a tile
  // Of each panel that is asked for, and from one to the next.
  size_t ask_floats_ = 0;
  ptrdiff_t ask_stride_ = 0;
  size_t asked_ = 0, copied_ = 0;
  bool packed_ = false;
  Meanwhile meanwhile_ = {};
};

// What is asked for while the tiles of columns from c on are multiplied; null: nothing.
const float* NextOfB(const MatmulBlock& t, size_t c) {
  if (t.prefetch_b.dtype != DType::kF32) {
    return reinterpret_cast<const float*>(t.prefetch_b.bytes() + c / kPanel * t.prefetch_stride);
  }
  c += TileColumns();
  if (c >= t.columns) return t.prefetch_b.f32();
  return t.b.f32() + c / kPanel * t.b_panel_stride + c % kPanel;
}

// Columns outside, rows inside: a panel of b (16 KB a chunk) stays in L1 while a's tiles stream
// from L2.
void Block(const MatmulBlock& t) {
  const size_t width = TileColumns();
  const size_t panels = CeilDiv(t.columns, kPanel);
  Ahead ahead(t);
  for (size_t c = 0; c < t.columns; c += width) {
    const PanelPair b = PanelsAt(t.b, t.b_panel_stride, panels, c);
    const float* next = NextOfB(t, c);
    const bool packs = c == 0 && t.a_rows != nullptr;
    for (size_t r = 0, rows; r < t.rows; r += rows) {
      rows = NextRows(t.rows - r);
      const float* a = t.a + r * t.depth;
      if (packs && !ahead.packed()) PackRows(t, r, rows);
      float* to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride + c;
      if (c + width > t.columns) {
        EdgeTile(t, r, c, rows, a, b);
        continue;
      }
      WithTileRows<ChunkTile>(rows, a, b, t.depth,
                              ChunkRows{to, t.c_stride, t.first, t.bias ? t.bias + c : nullptr},
                              ahead.Next(r, rows, to, b.b0, next, packs));
    }
  }
  const size_t copied = ahead.copied();
  if (copied < t.copy_b.depth) PackPanels(t.copy_b.Part(copied, t.copy_b.depth - copied));
}

size_t WidthOfTile() { return TileColumns(); }

}  // namespace

constexpr MatmulKernels kKernels = {&Block, &WidthOfTile};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(MatmulKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
