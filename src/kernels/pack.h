// Copies into the orders of layout.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {

// m[k, c] at source + k * depth_stride + c * column_stride into panels [columns / 16][depth][16];
// columns are padded with zeros to a multiple of 16. `panel_stride` is at least depth * 16.
struct PanelCopy {
  const float* source = nullptr;
  ptrdiff_t depth_stride = 0, column_stride = 0;
  size_t depth = 0, columns = 0;
  float* panels = nullptr;
  size_t panel_stride = 0;

  // Those of the depth from `first` on, `count` of them.
  PanelCopy Part(size_t first, size_t count) const {
    PanelCopy part = *this;
    part.source += static_cast<ptrdiff_t>(first) * depth_stride;
    part.panels += first * kPanel;
    part.depth = count;
    return part;
  }
};

struct PackKernels {
  void (*panels)(const PanelCopy&);
  // One tile [depth][rows] of `rows` <= kTileRows rows of floats that lie `depth_stride` apart.
  void (*tile)(const float* const* rows_at, ptrdiff_t depth_stride, size_t rows, size_t depth,
               float* tile);
};

template <>
const PackKernels& KernelsOf<PackKernels>(int64_t target);

}  // namespace heed::inline v1
