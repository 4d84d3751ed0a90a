// Copies into the orders of src/kernels/layout.h.
#pragma once

#include <algorithm>
#include <cstddef>

#include "src/kernels/layout.h"

namespace heed {

// Panels [columns / 16][depth][16] of m[k, c] at source + k * depth_stride + c * column_stride;
// columns are padded with zeros to a multiple of 16. `panel_stride` is at least depth * 16.
void PackPanels(const float* source, ptrdiff_t depth_stride, ptrdiff_t column_stride, size_t depth,
                size_t columns, float* panels, size_t panel_stride);

// One tile [depth][rows] of m[r, k] at source + r * row_stride + k * depth_stride, rows <=
// kTileRows.
inline void PackTile(const float* source, ptrdiff_t row_stride, ptrdiff_t depth_stride, size_t rows,
                     size_t depth, float* tile) {
  for (size_t r = 0; r < rows; ++r) {
    const float* from = source + static_cast<ptrdiff_t>(r) * row_stride;
    for (size_t k = 0; k < depth; ++k)
      tile[k * rows + r] = from[static_cast<ptrdiff_t>(k) * depth_stride];
  }
}

// Tiles [rows / 6][depth][6]; the last as narrow as its rows.
inline void PackTiles(const float* source, ptrdiff_t row_stride, ptrdiff_t depth_stride,
                      size_t rows, size_t depth, float* tiles) {
  for (size_t r = 0; r < rows; r += kTileRows) {
    PackTile(source + static_cast<ptrdiff_t>(r) * row_stride, row_stride, depth_stride,
             std::min(kTileRows, rows - r), depth, tiles + r * depth);
  }
}

}  // namespace heed
