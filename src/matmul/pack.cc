#include "src/matmul/pack.h"

#include <algorithm>

#include "hwy/highway.h"
#include "src/kernels/prefetch.h"

namespace heed {
namespace {

// Moves data only, so the baseline instruction set of the build does: no dispatch.
namespace hn = hwy::HWY_NAMESPACE;
constexpr size_t kSquare = 4;

// to[k * to_stride + c] = from[c][offset + k] for k, c < 4.
HWY_INLINE void TransposeSquare(const float* const (&from)[kSquare], size_t offset, float* to,
                                size_t to_stride) {
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR  // pairs of floats move as doubles
  const hn::FixedTag<float, kSquare> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  const auto a = hn::LoadU(d, from[0] + offset), b = hn::LoadU(d, from[1] + offset);
  const auto c = hn::LoadU(d, from[2] + offset), e = hn::LoadU(d, from[3] + offset);
  const auto ab0 = hn::BitCast(wide, hn::InterleaveLower(d, a, b));
  const auto ab1 = hn::BitCast(wide, hn::InterleaveUpper(d, a, b));
  const auto ce0 = hn::BitCast(wide, hn::InterleaveLower(d, c, e));
  const auto ce1 = hn::BitCast(wide, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab0, ce0)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab0, ce0)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab1, ce1)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab1, ce1)), d, to + 3 * to_stride);
#else
  for (size_t k = 0; k < kSquare; ++k) {
    for (size_t c = 0; c < kSquare; ++c) to[k * to_stride + c] = from[c][offset + k];
  }
#endif
}

// to[k * to_stride + c] = from[c][offset + k] for k < 4, c < 2.
HWY_INLINE void TransposePair(const float* const (&from)[2], size_t offset, float* to,
                              size_t to_stride) {
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, kSquare> d;
  const hn::Half<decltype(d)> half;
  const auto a = hn::LoadU(d, from[0] + offset), b = hn::LoadU(d, from[1] + offset);
  const auto low = hn::InterleaveLower(d, a, b), high = hn::InterleaveUpper(d, a, b);
  hn::StoreU(hn::LowerHalf(half, low), half, to);
  hn::StoreU(hn::UpperHalf(half, low), half, to + to_stride);
  hn::StoreU(hn::LowerHalf(half, high), half, to + 2 * to_stride);
  hn::StoreU(hn::UpperHalf(half, high), half, to + 3 * to_stride);
#else
  for (size_t k = 0; k < kSquare; ++k) {
    to[k * to_stride] = from[0][offset + k];
    to[k * to_stride + 1] = from[1][offset + k];
  }
#endif
}

// A whole panel of columns that are contiguous along depth.
void TransposePanel(const float* source, ptrdiff_t column_stride, size_t depth, float* panel) {
  const size_t squares = depth / kSquare * kSquare;
  for (size_t c = 0; c < kPanel; c += kSquare) {
    const float* from = source + static_cast<ptrdiff_t>(c) * column_stride;
    const float* rows[kSquare] = {from, from + column_stride, from + 2 * column_stride,
                                  from + 3 * column_stride};
    for (size_t k = 0; k < squares; k += kSquare) {
      TransposeSquare(rows, k, panel + k * kPanel + c, kPanel);
    }
  }
  for (size_t k = squares; k < depth; ++k) {
    for (size_t c = 0; c < kPanel; ++c) {
      panel[k * kPanel + c] =
          source[static_cast<ptrdiff_t>(c) * column_stride + static_cast<ptrdiff_t>(k)];
    }
  }
}

// Panels that are copied together: a row of them is read at once, and each is a stream of stores.
constexpr size_t kPanelsTogether = 8;

// Whole panels of rows that are contiguous along columns.
void CopyPanels(const float* HWY_RESTRICT source, ptrdiff_t depth_stride, size_t depth,
                size_t count, float* HWY_RESTRICT panels, size_t panel_stride) {
  constexpr ptrdiff_t kRowsAhead = 8;  // rows may lie in pages of their own
  for (size_t k = 0; k < depth; ++k, source += depth_stride) {
    const float* ahead = source + kRowsAhead * depth_stride;
    for (size_t p = 0; p < count; ++p) {
      PrefetchToL1(ahead + p * kPanel);
      const float* HWY_RESTRICT from = source + p * kPanel;
      float* HWY_RESTRICT to = panels + p * panel_stride + k * kPanel;
      for (size_t c = 0; c < kPanel; ++c) to[c] = from[c];  // inline, unlike memmove
    }
  }
}

}  // namespace

void PackPanels(const float* source, ptrdiff_t depth_stride, ptrdiff_t column_stride, size_t depth,
                size_t columns, float* panels, size_t panel_stride) {
  size_t c = 0;
  for (size_t together; column_stride == 1 && c + kPanel <= columns; c += together * kPanel) {
    together = std::min(kPanelsTogether, (columns - c) / kPanel);
    CopyPanels(source + c, depth_stride, depth, together, panels + c / kPanel * panel_stride,
               panel_stride);
  }
  for (; c < columns; c += kPanel) {
    const size_t width = std::min(kPanel, columns - c);
    const float* from = source + static_cast<ptrdiff_t>(c) * column_stride;
    float* panel = panels + c / kPanel * panel_stride;
    if (width == kPanel && depth_stride == 1) {
      TransposePanel(from, column_stride, depth, panel);
    } else {
      for (size_t k = 0; k < depth; ++k, from += depth_stride) {
        float* to = panel + k * kPanel;
        for (size_t i = 0; i < width; ++i) to[i] = from[static_cast<ptrdiff_t>(i) * column_stride];
        std::fill(to + width, to + kPanel, 0.0f);
      }
    }
  }
}

void PackTile(const float* const* rows_at, ptrdiff_t depth_stride, size_t rows, size_t depth,
              float* tile) {
  size_t done = 0;
  if ((rows == kSquare || rows == kTileRows) && depth_stride == 1) {
    static_assert(kTileRows == kSquare + 2);
    // Copies, which the stores can't change.
    const float* const square[kSquare] = {rows_at[0], rows_at[1], rows_at[2], rows_at[3]};
    for (size_t k = 0; k + kSquare <= depth; k += kSquare) {
      TransposeSquare(square, k, tile + k * rows, rows);
    }
    if (rows == kTileRows) {
      const float* const pair[2] = {rows_at[kSquare], rows_at[kSquare + 1]};
      for (size_t k = 0; k + kSquare <= depth; k += kSquare) {
        TransposePair(pair, k, tile + k * rows + kSquare, rows);
      }
    }
    done = depth / kSquare * kSquare;
  }
  for (size_t k = done; k < depth; ++k) {
    for (size_t r = 0; r < rows; ++r) {
      tile[k * rows + r] = rows_at[r][static_cast<ptrdiff_t>(k) * depth_stride];
    }
  }
}

}  // namespace heed
