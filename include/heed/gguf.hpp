// Quantized weights as GGUF files hold them: see heed/c/gguf.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/matmul.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_gguf_type.
enum class GgufType : int32_t { kQ4_0 = 2, kQ8_0 = 8, kQ4_K = 12, kQ6_K = 14 };

// heed_gguf_matrix.
struct GgufMatrix {
  const void* blocks = nullptr;
  size_t bytes = 0;
  GgufType type = GgufType::kQ8_0;
  size_t out = 0, in = 0;
};

// heed_dequantize_gguf.
HEED_API Status dequantize_gguf(const GgufMatrix& matrix, const MutableTensorView& y,
                                Context& context);

// heed_pack_gguf.
HEED_API Result<PackedMatrix> pack_gguf(const GgufMatrix* matrices, size_t count, Context& context);
HEED_API Result<PackedMatrix> pack_gguf(const GgufMatrix& matrix, Context& context);
HEED_API Result<PackedMatrix> pack_gguf(const GgufMatrix* matrices, size_t count,
                                        const Memory& memory, Context& context);

}  // namespace heed::inline v1
