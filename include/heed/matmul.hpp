// Matrix product, and matrices packed for it: see heed/c/matmul.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/numerics.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_weight_layout.
enum class WeightLayout : int32_t {
  kInOut,
  kOutIn,
};

// heed_pack_options.
struct PackOptions {
  DType dtype = DType::kF32;
  size_t group = 0;
};

// heed_quantized_view.
struct QuantizedView {
  TensorView codes = {};
  TensorView scales = {};
};

// heed_map_options.
struct MapOptions {
  bool check_data = true;
  Memory memory = {};
};

// heed_packed_matrix, and the functions that begin with it. One that was moved from is 0 x 0, and a
// product with it gives kInvalidArgument.
class HEED_API PackedMatrix {
 public:
  ~PackedMatrix();
  PackedMatrix(PackedMatrix&& other) noexcept;
  PackedMatrix& operator=(PackedMatrix&& other) noexcept;

  // Of one matrix or of `count`, with the defaults or with options, on the heap or in the caller's
  // memory.
  static Result<PackedMatrix> pack(const TensorView& b, WeightLayout layout,
                                   const PackOptions& options, Context& context);
  static Result<PackedMatrix> pack(const TensorView& b, WeightLayout layout, Context& context);

  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   const PackOptions& options, Context& context);
  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   Context& context);

  static Result<PackedMatrix> pack_quantized(const QuantizedView* b, size_t count,
                                             WeightLayout layout, const PackOptions& options,
                                             Context& context);

  static Result<PackedMatrix> pack(const TensorView* b, size_t count, WeightLayout layout,
                                   const PackOptions& options, const Memory& memory,
                                   Context& context);
  static Result<PackedMatrix> pack_quantized(const QuantizedView* b, size_t count,
                                             WeightLayout layout, const PackOptions& options,
                                             const Memory& memory, Context& context);
  static Result<size_t> memory_bytes(size_t in, size_t out, const PackOptions& options);

  size_t saved_bytes() const;
  Status save(void* data, size_t bytes) const;

  static Result<PackedMatrix> map(const void* data, size_t bytes, const MapOptions& options = {});

  PackedMatrix();  // 0 x 0
  size_t in() const;
  size_t out() const;
  DType dtype() const;
  size_t group() const;
  size_t bytes() const;

  struct Impl;

 private:
  struct HEED_API Destroy {
    void operator()(Impl* impl) const;
  };
  std::unique_ptr<Impl, Destroy> impl_;
};

// heed_matmul_options.
struct MatmulOptions {
  TensorView bias = {};
  Compute compute = Compute::kF32;
};

// heed_matmul and heed_matmul_packed.
HEED_API Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
                       const MatmulOptions& options, Context& context);
HEED_API Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
                       const MatmulOptions& options, Context& context);

}  // namespace heed::inline v1
