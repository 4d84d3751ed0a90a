// Products of a few rows: what takes time is to read b once, so b is read in the order that memory
// answers to, several streams side by side.
#pragma once

#include <cstddef>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

inline constexpr size_t kMaxFewRows = kTileRows - 1;

// Panels of b that are read side by side. Of a matrix in P panels they are a quarter of P apart: so
// each stream goes on where it ended, and they do not lie at a small power of two, which some
// memories answer to more slowly.
inline constexpr size_t kPanelsTogether = 4;
constexpr size_t PanelGroups(size_t columns) {
  return CeilDiv(CeilDiv(columns, kPanel), kPanelsTogether);
}

// c[rows, columns] = a b (+ bias), over all of the depth.
struct FewRows {
  const float* a = nullptr;  // [depth][rows], as a tile (layout.h)
  size_t rows = 0;           // 1 to kMaxFewRows
  size_t depth = 0;          // at least 1
  size_t columns = 0;
  float* c = nullptr;
  ptrdiff_t c_stride = 0;
  const float* bias = nullptr;  // [columns]; null: none
  bool b_is_near = false;       // it may be in L2
};

// The forms of b, for each stored type, at StoredIndex.
struct FewRowsKernels {
  // Panels of all of the depth, one after the other: groups [begin, end) of PanelGroups(columns).
  void (*panels[kStoredTypes])(const FewRows&, const Panels& b, size_t begin, size_t end);
  // Rows with unit stride, b_stride elements apart. `sums` is [rows][columns, padded to a multiple
  // of 64]. Null for quantized types, as below.
  void (*rows[kStoredTypes])(const FewRows&, const void* b, ptrdiff_t b_stride, float* sums);
  // Columns with unit stride, b_stride elements apart: a transposed matrix.
  void (*columns[kStoredTypes])(const FewRows&, const void* b, ptrdiff_t b_stride);
};

template <>
const FewRowsKernels& KernelsOf<FewRowsKernels>(int64_t target);

}  // namespace heed::inline v1
