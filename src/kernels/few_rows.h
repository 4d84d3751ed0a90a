// Products of a few rows: what takes time is to read b once, so b is read in the order that memory
// answers to, several streams side by side.
#pragma once

#include <cstddef>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"

namespace heed {

inline constexpr size_t kMaxFewRows = kTileRows - 1;

// c[rows, columns] = a b (+ bias), over all of the depth.
struct FewRows {
  const float* a = nullptr;  // [depth][rows], as a tile (layout.h)
  size_t rows = 0;           // 1 to kMaxFewRows
  size_t depth = 0;          // at least 1
  size_t columns = 0;
  float* c = nullptr;
  ptrdiff_t c_stride = 0;
  const float* bias = nullptr;  // [columns]; null: none
};

// The forms of b.
struct FewRowsKernels {
  // Panels of all of the depth, one after the other, of columns padded to kColumnPad.
  void (*panels)(const FewRows&, const Panels& b);
  // Rows with unit stride, b_stride apart. `sums` is [rows][columns, padded
  // to a multiple of 64].
  void (*rows)(const FewRows&, const float* b, ptrdiff_t b_stride, float* sums);
  // Columns with unit stride, b_stride apart: a transposed matrix.
  void (*columns)(const FewRows&, const float* b, ptrdiff_t b_stride);
};

template <>
const FewRowsKernels& KernelsOf<FewRowsKernels>(int64_t target);

}  // namespace heed
