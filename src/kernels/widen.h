// From stored elements to f32, for work on so many rows that a block is better widened once.
#pragma once

#include <cstddef>

#include "src/kernels/dispatch.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// Steps [begin, begin + depth) of `panels` panels from `first` on, as panels of f32. `begin` is
// even. The steps begin where a group does, or all lie in one group.
struct PanelWiden {
  Panels from;        // of the whole matrix or block
  size_t stride = 0;  // bytes between its panels
  size_t first = 0, panels = 0;
  size_t begin = 0, depth = 0;
  float* to = nullptr;
  size_t to_stride = 0;  // floats between panels
};

// Tables have a function for each stored type, at StoredIndex.
struct WidenKernels {
  void (*panels[kStoredTypes])(const PanelWiden&);
  // n elements that lie side by side; null for quantized ones, which have no meaning alone.
  void (*row[kStoredTypes])(const void* from, size_t n, float* to);
  // n codes of one scale, and pairs of codes in bytes, 32 codes a scale.
  void (*int8_row)(const int8_t* codes, size_t n, float scale, float* to);
  void (*int4_row)(const uint8_t* codes, size_t n, const f16* scales, float* to);
  // The way back, to nearest, ties to even, as half.h has it.
  void (*narrow[kStoredTypes])(const float* from, size_t n, void* to);
};

template <>
const WidenKernels& KernelsOf<WidenKernels>(int64_t target);

}  // namespace heed::inline v1
