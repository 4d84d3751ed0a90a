// Matrix product kernels: single-threaded, on packed operands.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"
#include "src/kernels/pack.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// One chunk of depth (at most kSumChunk) of c[rows, columns].
struct MatmulBlock {
  float* a = nullptr;  // tiles, see layout.h
  size_t rows = 0;
  // Not null: the tiles are still to be packed, from rows that lie so far apart.
  const float* a_rows = nullptr;
  ptrdiff_t a_row_stride = 0, a_k_stride = 0;
  Panels b;  // first panel, at this chunk's depth
  size_t b_panel_stride = 0;
  size_t columns = 0;
  size_t depth = 0;
  // What of b comes next: panels that are prefetched, or absent; and what is copied into panels
  // meanwhile, or of depth 0. Panels of f32 are prefetched after those of b, whose neighbours they
  // are; of other types, from which b was widened, `prefetch_bytes` of each, one for each of b's.
  Panels prefetch_b;
  size_t prefetch_stride = 0, prefetch_bytes = 0;
  PanelCopy copy_b;
  float* c = nullptr;
  ptrdiff_t c_stride = 0;
  bool first = true;            // c = chunk, else c += chunk
  const float* bias = nullptr;  // added after the chunk; null: none
};

struct MatmulKernels {
  void (*block)(const MatmulBlock&);
  size_t (*tile_columns)();  // of a register tile
};

template <>
const MatmulKernels& KernelsOf<MatmulKernels>(int64_t target);

}  // namespace heed::inline v1
