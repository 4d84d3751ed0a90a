// Copies into the orders of src/kernels/layout.h.
#pragma once

#include <cstddef>

#include "src/kernels/layout.h"

namespace heed {

// Panels [columns / 16][depth][16] of m[k, c] at source + k * depth_stride + c * column_stride;
// columns are padded with zeros to a multiple of 16. `panel_stride` is at least depth * 16.
void PackPanels(const float* source, ptrdiff_t depth_stride, ptrdiff_t column_stride, size_t depth,
                size_t columns, float* panels, size_t panel_stride);

// One tile [depth][rows] of `rows` <= kTileRows rows of floats that lie `depth_stride` apart.
void PackTile(const float* const* rows_at, ptrdiff_t depth_stride, size_t rows, size_t depth,
              float* tile);

}  // namespace heed
