// From f32 to quantized elements, as src/base/quantize.h defines them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// A panel of floats [depth][16] into one of int8 or int4 (panels.h). Column c has its scale, f32 or
// f16, for group g of the depth at scales[g * group_stride + c]. A group of int4 is even, or the
// depth.
struct PanelQuantize {
  const float* from = nullptr;
  size_t depth = 0, group = 0;
  void* scales = nullptr;
  size_t group_stride = 0;
  uint8_t* to = nullptr;
};

struct QuantizeKernels {
  // n elements that lie side by side, each `group` of them with a scale of its own (the last group
  // may be shorter): one scale a group, and one code a byte.
  void (*int8_row)(const float* x, size_t n, size_t group, float* scales, int8_t* codes);
  void (*int4_row)(const float* x, size_t n, size_t group, f16* scales, int8_t* codes);
  void (*int8_panel)(const PanelQuantize&);
  void (*int4_panel)(const PanelQuantize&);
  // The same in two steps, where a column with one scale is too long to be held as floats: largest
  // magnitudes, taken together with those that `largest` has, as the integers that their bits are
  // (those of infinity and NaN are larger than a number's); then codes by given scales.
  void (*panel_magnitudes)(const float* panel, size_t depth, int32_t* largest);
  void (*int8_panel_codes)(const float* panel, size_t depth, const float* scales, uint8_t* to);
};

template <>
const QuantizeKernels& KernelsOf<QuantizeKernels>(int64_t target);

}  // namespace heed::inline v1
