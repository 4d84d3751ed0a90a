// Rotary position embedding: see heed/c/rope.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_rope_scaling_type.
enum class RopeScalingType : int32_t {
  kNone,
  kLinear,
  kLlama3,
  kYarn,
};

// heed_rope_scaling.
struct RopeScaling {
  RopeScalingType type = RopeScalingType::kNone;
  double factor = 1.0;
  size_t original_max_position_embeddings = 0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;
  std::optional<double> attention_factor = {};
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
};

// heed_rope_options.
struct RopeOptions {
  size_t rope_dim = 0;
  double theta = 10000.0;
  bool interleaved = false;
  RopeScaling scaling = {};
};

// heed_rope.
HEED_API Status rope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
                     const RopeOptions& options, Context& context);

}  // namespace heed::inline v1
