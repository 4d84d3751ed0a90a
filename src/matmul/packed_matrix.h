// What a PackedMatrix holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/matmul.hpp"
#include "src/base/context.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// Where panels and scales lie, from the first panel on.
struct PackedLayout {
  static constexpr size_t kAlignment = 64;  // of the panels, and of the scales behind them

  DType dtype = DType::kF32;
  size_t in = 0, out = 0;
  size_t group = 0;  // as in PackOptions

  size_t num_panels() const { return RoundUp(out, kColumnPad) / kPanel; }
  size_t panel_bytes() const { return BytesOfPanel(dtype, in); }
  // Scales are [panel][group][16].
  DType scale_dtype() const { return ScaleType(dtype); }
  size_t group_steps() const { return group == 0 ? in : group; }
  size_t groups() const { return HasScales(dtype) && in > 0 ? CeilDiv(in, group_steps()) : 0; }
  size_t num_scales() const { return num_panels() * groups() * kPanel; }
  size_t scales_at() const { return RoundUp(num_panels() * panel_bytes(), kAlignment); }
  size_t bytes() const { return scales_at() + num_scales() * size_of(scale_dtype()); }
  size_t scale_index(size_t panel, size_t k) const {
    return (panel * groups() + k / group_steps()) * kPanel;
  }

  // Whether bytes() and what it is made of can be computed, and be a size of memory. To be asked
  // first.
  bool Fits() const;
};

// Whether there are such groups of the type, which is one that is stored.
bool HasGroup(DType dtype, size_t group);
Status CheckPackOptions(const PackOptions& options);

struct PackedMatrix::Impl : PackedLayout {
  Floats memory;  // null: the data are the caller's
  const uint8_t* data = nullptr;

  // Null for a matrix that was moved from.
  static const Impl* Of(const PackedMatrix& matrix) { return matrix.impl_.get(); }

  const void* scales() const { return data + scales_at(); }
  Panels panels() const {
    if (!HasScales(dtype)) return {data, dtype};
    return {data, dtype, {scales(), ScaleAxis::kColumn, group_steps(), groups() * kPanel, kPanel}};
  }

  // From matrices of floats, and from quantized ones.
  Status Pack(const TensorView* b, size_t count, WeightLayout layout, const PackOptions& options,
              Context::Impl& context);
  Status PackQuantized(const QuantizedView* b, size_t count, WeightLayout layout,
                       const PackOptions& options, Context::Impl& context);

 private:
  // Memory for in x out, which are set.
  Status Allocate(const PackOptions& options);
  uint8_t* mutable_data() const { return reinterpret_cast<uint8_t*>(memory.get()); }
  uint8_t* mutable_scales() const { return mutable_data() + scales_at(); }
  // Of row `row`, which is even.
  uint8_t* CodesAt(size_t panel, size_t row) const {
    return mutable_data() + panel * panel_bytes() + row * BytesOfStep(dtype);
  }
  void StoreCodes(size_t panel, size_t row, size_t rows, const int8_t* codes) const;
  void StoreScales(size_t panel, size_t row, const float* scales) const;
  class Quantizer;
};

}  // namespace heed::inline v1
