// Numbers as codes of 8 or 4 bits times a scale, and what that costs: see heed/c/quantize.h.
#pragma once

#include <cstddef>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/matmul.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_quantization_error.
struct QuantizationError {
  float rms = 0.0f;
  float largest = 0.0f;
  float relative = 0.0f;
};

// heed_row_errors.
struct RowErrors {
  MutableTensorView rms = {};
  MutableTensorView largest = {};
  MutableTensorView relative = {};
};

// heed_quantize; the result is its `total`.
HEED_API Result<QuantizationError> quantize(const TensorView& x, DType dtype, size_t group,
                                            const MutableTensorView& codes,
                                            const MutableTensorView& scales,
                                            const RowErrors& errors, Context& context);

// heed_dequantize.
HEED_API Status dequantize(const TensorView& codes, const TensorView& scales, size_t group,
                           const MutableTensorView& y, Context& context);

// heed_storage_error.
HEED_API Result<QuantizationError> storage_error(const TensorView& b, WeightLayout layout,
                                                 const PackOptions& options,
                                                 const RowErrors& channels, Context& context);

}  // namespace heed::inline v1
