// Matrix product kernels of Compute::kInt16: single-threaded, on rows of a that are quantized to
// int16 and codes of b that are widened to it, so that one instruction multiplies and adds the
// codes of two steps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// Codes of two steps, 2 i and 2 i + 1 of a chunk, are a word: the first in its low half. The last
// pair of an odd depth has 0 as its second. Tiles of rows are [rows / 6][pairs][6], panels
// [columns / 16][pairs][16] such words.
constexpr size_t PairsOf(size_t depth) { return CeilDiv(depth, 2); }

// A scale takes this many steps at least, so a chunk has no more groups than that.
inline constexpr size_t kMinGroup = 16;
inline constexpr size_t kMaxChunkGroups = kSumChunk / kMinGroup;

// One chunk of some rows of a.
struct QuantizeInt16 {
  const float* a = nullptr;
  ptrdiff_t row_stride = 0, k_stride = 0;
  size_t rows = 0, depth = 0;
  int32_t* codes = nullptr;  // tiles
  float* scales = nullptr;   // [rows]
};

// One chunk of int8 or int4 panels, whose first is `first` of the matrix.
struct WidenInt16 {
  Panels from;        // of the whole matrix
  size_t stride = 0;  // bytes between its panels
  size_t first = 0, panels = 0;
  size_t begin = 0, depth = 0;
  int32_t* codes = nullptr;  // panels
  float* scales = nullptr;   // [groups of the chunk][kColumnPad]
};

// One chunk of c[rows, columns], of at most kColumnPad columns.
struct MatmulInt16Block {
  const int32_t* a = nullptr;  // what QuantizeInt16 and WidenInt16 leave
  const float* a_scales = nullptr;
  const int32_t* b = nullptr;
  const float* b_scales = nullptr;
  size_t rows = 0, columns = 0, depth = 0;
  size_t group = 0;  // steps that share a scale, even; or as many as there are
  float* c = nullptr;
  ptrdiff_t c_stride = 0;
  bool first = true;            // c = 0 + chunk, else c += chunk
  const float* bias = nullptr;  // added after the chunk; null: none
};

struct MatmulInt16Kernels {
  void (*quantize)(const QuantizeInt16&);
  void (*widen[kStoredTypes])(const WidenInt16&);  // at StoredIndex; null: not of codes
  void (*block)(const MatmulInt16Block&);
};

template <>
const MatmulInt16Kernels& KernelsOf<MatmulInt16Kernels>(int64_t target);

}  // namespace heed::inline v1
