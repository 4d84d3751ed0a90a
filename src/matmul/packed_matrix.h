// What a PackedMatrix holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/gguf.hpp"
#include "heed/matmul.hpp"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/hidden.h"
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
Status CheckLayout(WeightLayout layout);

constexpr size_t kLeastGroup = 16;

struct HEED_HIDDEN PackedMatrix::Impl : PackedLayout, Placed {
  uint8_t* own = nullptr;  // behind this; null: the data are another's
  const uint8_t* data = nullptr;

  // Null for a matrix that was moved from.
  static const Impl* Of(const PackedMatrix& matrix) { return matrix.impl_.get(); }

  const void* scales() const { return data + scales_at(); }
  Panels panels() const {
    if (!HasScales(dtype)) return {data, dtype};
    return {data, dtype, {scales(), ScaleAxis::kColumn, group_steps(), groups() * kPanel, kPanel}};
  }

  // Checks matrices of floats, or quantized ones, and finds the layout.
  Status Describe(const TensorView* b, size_t count, WeightLayout layout,
                  const PackOptions& options);
  Status Describe(const QuantizedView* b, size_t count, WeightLayout layout,
                  const PackOptions& options);
  Status Describe(const GgufMatrix* matrices, size_t count, WeightLayout layout,
                  const PackOptions& options);
  // Takes the sizes of matrix i into those of all.
  Status AddWidth(const char* name, size_t i, size_t of_in, size_t of_out);
  Status SetOptions(const PackOptions& options);  // of a matrix of in x out
  // Of workspace.
  size_t WorkBytes(const TensorView* b, const Context::Impl& context) const;
  template <class View>
  size_t WorkBytes(const View*, const Context::Impl&) const {
    return 0;
  }
  // The memory of a matrix: this, then its data.
  uint8_t* LayOut(Arena* arena) const;
  // Fills `own`, described and laid out.
  Status Pack(const TensorView* b, size_t count, WeightLayout layout, Arena arena,
              const Context::Impl& context);
  Status Pack(const QuantizedView* b, size_t count, WeightLayout layout, Arena arena,
              const Context::Impl& context);

  Status Pack(const GgufMatrix* matrices, size_t count, WeightLayout layout, Arena arena,
              const Context::Impl& context);

  // In `memory`, or without any on the heap; as `described`. Null: there is no memory.
  static Result<PackedMatrix> Make(const Impl& described, const Memory& memory);
  template <class View>
  static Result<PackedMatrix> MakePacked(const View* b, size_t count, WeightLayout layout,
                                         const PackOptions& options, const Memory& memory,
                                         Context& context);
  // What describes a matrix whose data are `of`'s.
  static Impl Borrowed(const PackedMatrix& of) {
    Impl described = *Of(of);
    described.own = nullptr;
    return described;
  }

 private:
  struct Tasks {
    size_t width, height, stripes, count, workers, scratch_floats;
  };
  Tasks TasksFor(const Context::Impl& context) const;
  uint8_t* mutable_data() const { return own; }
  uint8_t* mutable_scales() const { return mutable_data() + scales_at(); }
  // Of row `row`, which is even.
  uint8_t* CodesAt(size_t panel, size_t row) const {
    return mutable_data() + panel * panel_bytes() + row * BytesOfStep(dtype);
  }
  void StoreCodes(size_t panel, size_t row, size_t rows, const int8_t* codes) const;
  void StoreScales(size_t panel, size_t row, const float* scales) const;
  class Quantizer;
};

template <class View>
Result<PackedMatrix> PackedMatrix::Impl::MakePacked(const View* b, size_t count,
                                                    WeightLayout layout, const PackOptions& options,
                                                    const Memory& memory, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckLayout(layout));
  Impl described;
  HEED_RETURN_IF_ERROR(described.Describe(b, count, layout, options));
  Context::Impl& of_context = *Context::Impl::Of(context);
  Arena arena;
  HEED_RETURN_IF_ERROR(of_context.Reserve(described.WorkBytes(b, of_context), &arena));
  Result<PackedMatrix> packed = Make(described, memory);
  HEED_RETURN_IF_ERROR(packed.status());
  HEED_RETURN_IF_ERROR(packed->impl_->Pack(b, count, layout, arena, of_context));
  return packed;
}

}  // namespace heed::inline v1
