// Copies into panels and tiles (layout.h), which move data and compute nothing.
#include <algorithm>

#if defined(HEED_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_PACK_INL_H_
#undef HEED_PACK_INL_H_
#else
#define HEED_PACK_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/layout.h"
#include "src/kernels/pack.h"
#include "src/kernels/prefetch.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Squares of 4 by 4 floats are transposed within blocks of 128 bits, two squares at a time where
// vectors have two such blocks: x86 shuffles twice as many of those a cycle as of 512 bits.
constexpr size_t kSquare = 4;
#undef HEED_PACK_SQUARES
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR  // pairs of floats move as doubles
#define HEED_PACK_SQUARES 1
#else
#define HEED_PACK_SQUARES 0
#endif
#if HWY_ARCH_X86 && HWY_MAX_BYTES >= 32
constexpr size_t kSquares = 2;
#else
constexpr size_t kSquares = 1;
#endif

#if HEED_PACK_SQUARES
using DSquare = hn::FixedTag<float, kSquare>;
using DSquares = hn::FixedTag<float, kSquare * kSquares>;

// In each block, the rows a to e become columns.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void TransposeBlocks(D d, V& a, V& b, V& c, V& e) {
  const hn::RepartitionToWide<D> wide;
  const auto ab0 = hn::BitCast(wide, hn::InterleaveLower(d, a, b));
  const auto ab1 = hn::BitCast(wide, hn::InterleaveUpper(d, a, b));
  const auto ce0 = hn::BitCast(wide, hn::InterleaveLower(d, c, e));
  const auto ce1 = hn::BitCast(wide, hn::InterleaveUpper(d, c, e));
  a = hn::BitCast(d, hn::InterleaveLower(wide, ab0, ce0));
  b = hn::BitCast(d, hn::InterleaveUpper(wide, ab0, ce0));
  c = hn::BitCast(d, hn::InterleaveLower(wide, ab1, ce1));
  e = hn::BitCast(d, hn::InterleaveUpper(wide, ab1, ce1));
}

// A square of the column at `from` and, where there are two, one of the fourth column from it.
HWY_INLINE hn::Vec<DSquares> LoadSquares(const float* from, ptrdiff_t column_stride) {
#if HWY_ARCH_X86 && HWY_MAX_BYTES >= 32
  const DSquare half;
  const ptrdiff_t upper = static_cast<ptrdiff_t>(kSquare) * column_stride;
  return hn::Combine(DSquares(), hn::LoadU(half, from + upper), hn::LoadU(half, from));
#else
  static_cast<void>(column_stride);
  return hn::LoadU(DSquares(), from);
#endif
}

// Stores the blocks of v as rows of a tile that are four steps apart.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreTileBlocks(D d, V v, float* tile, size_t rows) {
  const DSquare square;
  if constexpr (hn::MaxLanes(D()) == kSquare) {
    hn::StoreU(v, d, tile);
  } else {
    hn::StoreU(hn::ExtractBlock<0>(v), square, tile);
    hn::StoreU(hn::ExtractBlock<1>(v), square, tile + kSquare * rows);
  }
}

// The same for pairs: the lower half of a block is a row of the tile, its upper half the next.
template <class V>
HWY_INLINE void StorePairs(V block, float* tile, size_t rows) {
  const hn::Half<DSquare> half;
  hn::StoreU(hn::LowerHalf(half, block), half, tile);
  hn::StoreU(hn::UpperHalf(half, block), half, tile + rows);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreTilePairs(D, V v, float* tile, size_t rows) {
  if constexpr (hn::MaxLanes(D()) == kSquare) {
    StorePairs(v, tile, rows);
  } else {
    StorePairs(hn::ExtractBlock<0>(v), tile, rows);
    StorePairs(hn::ExtractBlock<1>(v), tile + kSquare * rows, rows);
  }
}

// Rows 0 to 3 of a tile with `rows` of them, at as many steps of the depth as a vector has lanes.
template <class D>
HWY_INLINE void TileSquare(D d, const float* r0, const float* r1, const float* r2, const float* r3,
                           float* tile, size_t rows) {
  auto a = hn::LoadU(d, r0), b = hn::LoadU(d, r1), c = hn::LoadU(d, r2), e = hn::LoadU(d, r3);
  TransposeBlocks(d, a, b, c, e);
  StoreTileBlocks(d, a, tile, rows);
  StoreTileBlocks(d, b, tile + rows, rows);
  StoreTileBlocks(d, c, tile + 2 * rows, rows);
  StoreTileBlocks(d, e, tile + 3 * rows, rows);
}

// Two rows of a tile, the same.
template <class D>
HWY_INLINE void TilePair(D d, const float* r0, const float* r1, float* tile, size_t rows) {
  const auto a = hn::LoadU(d, r0), b = hn::LoadU(d, r1);
  StoreTilePairs(d, hn::InterleaveLower(d, a, b), tile, rows);
  StoreTilePairs(d, hn::InterleaveUpper(d, a, b), tile + 2 * rows, rows);
}

#endif  // HEED_PACK_SQUARES

// A line of each row is one vector, and six of them are six lines of a tile: a lookup in two
// vectors costs as much as a shuffle within blocks, and what it gives is stored whole.
#undef HEED_PACK_LINES
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define HEED_PACK_LINES 1

using DLines = hn::FixedTag<float, kLineFloats>;
using DPairs = hn::FixedTag<double, kLineFloats / 2>;
using VPairs = hn::Vec<DPairs>;

// Pairs of what two rows have at the steps from 8 kHalf on.
template <int32_t kHalf, class V = hn::Vec<DLines>>
HWY_INLINE VPairs PairsOf(V a, V b) {
  constexpr int32_t k = 8 * kHalf;
  alignas(64) static constexpr int32_t kAb[] = {k,     k + 16, k + 1, k + 17, k + 2, k + 18,
                                                k + 3, k + 19, k + 4, k + 20, k + 5, k + 21,
                                                k + 6, k + 22, k + 7, k + 23};
  const DLines d;
  return hn::BitCast(DPairs(), hn::TwoTablesLookupLanes(d, a, b, hn::SetTableIndices(d, kAb)));
}

// Three lines of a tile, which are eight steps, from the pairs of its rows 0 and 1, 2 and 3, 4 and
// 5. Lookups count the lanes of the second vector on from those of the first.
HWY_INLINE void StoreThreeLines(VPairs a, VPairs b, VPairs c, float* HWY_RESTRICT tile) {
  // a and b where they belong, then c between them.
  alignas(64) static constexpr int64_t kAb[3][8] = {
      {0, 8, 0, 1, 9, 0, 2, 10}, {0, 3, 11, 0, 4, 12, 0, 5}, {13, 0, 6, 14, 0, 7, 15, 0}};
  alignas(64) static constexpr int64_t kC[3][8] = {
      {0, 1, 8, 3, 4, 9, 6, 7}, {10, 1, 2, 11, 4, 5, 12, 7}, {0, 13, 2, 3, 14, 5, 6, 15}};
  const DPairs d;
  for (size_t i = 0; i < 3; ++i) {
    const VPairs ab = hn::TwoTablesLookupLanes(d, a, b, hn::SetTableIndices(d, kAb[i]));
    const VPairs abc = hn::TwoTablesLookupLanes(d, ab, c, hn::SetTableIndices(d, kC[i]));
    hn::StoreU(hn::BitCast(DLines(), abc), DLines(), tile + i * kLineFloats);
  }
}
#else
#define HEED_PACK_LINES 0
#endif

// A line of each of a tile's rows, which are kTileRows.
HWY_INLINE void TileLine(const float* HWY_RESTRICT r0, const float* HWY_RESTRICT r1,
                         const float* HWY_RESTRICT r2, const float* HWY_RESTRICT r3,
                         const float* HWY_RESTRICT r4, const float* HWY_RESTRICT r5,
                         float* HWY_RESTRICT tile) {
  static_assert(kTileRows == 6);
#if HEED_PACK_LINES
  const DLines d;
  const auto v0 = hn::LoadU(d, r0), v1 = hn::LoadU(d, r1), v2 = hn::LoadU(d, r2);
  const auto v3 = hn::LoadU(d, r3), v4 = hn::LoadU(d, r4), v5 = hn::LoadU(d, r5);
  StoreThreeLines(PairsOf<0>(v0, v1), PairsOf<0>(v2, v3), PairsOf<0>(v4, v5), tile);
  StoreThreeLines(PairsOf<1>(v0, v1), PairsOf<1>(v2, v3), PairsOf<1>(v4, v5),
                  tile + 3 * kLineFloats);
#elif HEED_PACK_SQUARES
  const DSquares d;
  for (size_t k = 0; k < kLineFloats; k += hn::MaxLanes(d)) {
    TileSquare(d, r0 + k, r1 + k, r2 + k, r3 + k, tile + k * kTileRows, kTileRows);
    TilePair(d, r4 + k, r5 + k, tile + k * kTileRows + kSquare, kTileRows);
  }
#else
  for (size_t k = 0; k < kLineFloats; ++k, tile += kTileRows) {
    tile[0] = r0[k];
    tile[1] = r1[k];
    tile[2] = r2[k];
    tile[3] = r3[k];
    tile[4] = r4[k];
    tile[5] = r5[k];
  }
#endif
}

// A whole panel of columns that are contiguous along the depth.
HWY_INLINE void TransposePanel(const float* HWY_RESTRICT source, ptrdiff_t column_stride,
                               size_t depth, float* HWY_RESTRICT panel) {
  size_t k = 0;
#if HEED_PACK_SQUARES
  const DSquares d;
  for (; k + kSquare <= depth; k += kSquare) {
    for (size_t c = 0; c < kPanel; c += kSquare * kSquares) {
      const float* from = source + static_cast<ptrdiff_t>(c) * column_stride + k;
      auto v0 = LoadSquares(from, column_stride);
      auto v1 = LoadSquares(from + column_stride, column_stride);
      auto v2 = LoadSquares(from + 2 * column_stride, column_stride);
      auto v3 = LoadSquares(from + 3 * column_stride, column_stride);
      TransposeBlocks(d, v0, v1, v2, v3);
      float* to = panel + k * kPanel + c;
      hn::StoreU(v0, d, to);
      hn::StoreU(v1, d, to + kPanel);
      hn::StoreU(v2, d, to + 2 * kPanel);
      hn::StoreU(v3, d, to + 3 * kPanel);
    }
  }
#endif
  for (; k < depth; ++k) {
    for (size_t c = 0; c < kPanel; ++c) {
      panel[k * kPanel + c] =
          source[static_cast<ptrdiff_t>(c) * column_stride + static_cast<ptrdiff_t>(k)];
    }
  }
}

// Whole panels of rows that are contiguous along columns: a row of them is read at once, and each
// is a stream of stores.
HWY_INLINE void CopyPanels(const float* HWY_RESTRICT source, ptrdiff_t depth_stride, size_t depth,
                           size_t count, float* HWY_RESTRICT panels, size_t panel_stride) {
  constexpr ptrdiff_t kRowsAhead = 8;  // rows may lie in pages of their own
  const hn::CappedTag<float, kPanel> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t k = 0; k < depth; ++k, source += depth_stride) {
    const float* ahead = source + kRowsAhead * depth_stride;
    for (size_t p = 0; p < count; ++p) {
      PrefetchToL1(ahead + p * kPanel);
      float* HWY_RESTRICT to = panels + p * panel_stride + k * kPanel;
      for (size_t c = 0; c < kPanel; c += lanes) {
        hn::StoreU(hn::LoadU(d, source + p * kPanel + c), d, to + c);
      }
    }
  }
}

// The last panel of such rows, of which `width` columns are left.
HWY_INLINE void CopyLastPanel(const float* HWY_RESTRICT source, ptrdiff_t depth_stride,
                              size_t depth, size_t width, float* HWY_RESTRICT panel) {
  const hn::CappedTag<float, kPanel> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t k = 0; k < depth; ++k, source += depth_stride, panel += kPanel) {
    for (size_t c = 0; c < kPanel; c += lanes) {
      const size_t left = width > c ? width - c : 0;
      hn::StoreU(hn::LoadN(d, source + c, left), d, panel + c);
    }
  }
}

// See PackKernels.
HWY_MAYBE_UNUSED static void PackPanels(const PanelCopy& t) {
  // Panels that are copied together.
  constexpr size_t kPanelsCopied = 8;
  size_t c = 0;
  for (size_t together; t.column_stride == 1 && c + kPanel <= t.columns; c += together * kPanel) {
    together = std::min(kPanelsCopied, (t.columns - c) / kPanel);
    CopyPanels(t.source + c, t.depth_stride, t.depth, together,
               t.panels + c / kPanel * t.panel_stride, t.panel_stride);
  }
  for (; c < t.columns; c += kPanel) {
    const size_t width = std::min(kPanel, t.columns - c);
    const float* from = t.source + static_cast<ptrdiff_t>(c) * t.column_stride;
    float* panel = t.panels + c / kPanel * t.panel_stride;
    if (width == kPanel && t.depth_stride == 1) {
      TransposePanel(from, t.column_stride, t.depth, panel);
      continue;
    }
    if (t.column_stride == 1) {
      CopyLastPanel(from, t.depth_stride, t.depth, width, panel);
      continue;
    }
    for (size_t k = 0; k < t.depth; ++k, from += t.depth_stride) {
      float* to = panel + k * kPanel;
      for (size_t i = 0; i < width; ++i) to[i] = from[static_cast<ptrdiff_t>(i) * t.column_stride];
      std::fill(to + width, to + kPanel, 0.0f);
    }
  }
}

// See PackKernels.
HWY_MAYBE_UNUSED static void PackTile(const float* const* rows_at, ptrdiff_t depth_stride,
                                      size_t rows, size_t depth, float* tile) {
  size_t k = 0;
  if (rows == kTileRows && depth_stride == 1) {
    // Copies, which the stores can't change.
    const float* const r0 = rows_at[0];
    const float* const r1 = rows_at[1];
    const float* const r2 = rows_at[2];
    const float* const r3 = rows_at[3];
    const float* const r4 = rows_at[4];
    const float* const r5 = rows_at[5];
    for (; k + kLineFloats <= depth; k += kLineFloats) {
      TileLine(r0 + k, r1 + k, r2 + k, r3 + k, r4 + k, r5 + k, tile + k * kTileRows);
    }
  }
#if HEED_PACK_SQUARES
  if (rows == kSquare && depth_stride == 1) {
    const DSquare d;
    const float* const r0 = rows_at[0];
    const float* const r1 = rows_at[1];
    const float* const r2 = rows_at[2];
    const float* const r3 = rows_at[3];
    for (; k + kSquare <= depth; k += kSquare) {
      TileSquare(d, r0 + k, r1 + k, r2 + k, r3 + k, tile + k * kSquare, kSquare);
    }
  }
#endif
  for (; k < depth; ++k) {
    for (size_t r = 0; r < rows; ++r) {
      tile[k * rows + r] = rows_at[r][static_cast<ptrdiff_t>(k) * depth_stride];
    }
  }
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_PACK_INL_H_
