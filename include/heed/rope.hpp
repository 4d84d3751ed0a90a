// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// How a model that was trained on short sequences stretches the frequencies theta^(-2t / rope_dim)
// for long ones, computed as Hugging Face's "rope_scaling" of the same name.
enum class RopeScalingType : int32_t {
  kNone,
  kLinear,  // all divided by factor (Chen et al., arXiv 2306.15595)
  kLlama3,  // only the low ones, with a transition (Llama 3.1, arXiv 2407.21783)
  kYarn,    // only the low ones, and cos and sin are multiplied (Peng et al., arXiv 2309.00071)
};

// What the type does not use is ignored.
struct RopeScaling {
  RopeScalingType type = RopeScalingType::kNone;
  double factor = 1.0;  // of the longer context to the original one; at least 1
  size_t original_max_position_embeddings = 0;  // kLlama3, kYarn: the length trained on

  // kLlama3, with n = original_max_position_embeddings / wavelength: n < low_freq_factor is divided
  // by factor, n > high_freq_factor is kept. 0 < low_freq_factor < high_freq_factor.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;

  // kYarn: pairs that turn more than beta_fast times over the original length are kept, those that
  // turn less than beta_slow times are divided by factor. 0 < beta_slow <= beta_fast.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;  // the transition begins and ends at whole pairs (GPT-OSS: false)
  // kYarn: multiplies cos and sin; > 0. Unset: m(mscale) / m(mscale_all_dim) when neither is 0,
  // else m(1), where m(s) = 0.1 s ln(factor) + 1.
  std::optional<double> attention_factor = {};
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
};

struct RopeOptions {
  // Channels that rotate, the first of each head; even, at most head_dim. The rest pass through.
  // 0: all of them.
  size_t rope_dim = 0;
  double theta = 10000.0;  // base of the frequencies, in [1, 1e30]
  // Which channels form a pair. false ("half", GPT-NeoX and Llama in Hugging Face's order):
  // (t, t + rope_dim / 2). true (GPT-J, original Llama): (2t, 2t + 1).
  bool interleaved = false;
  RopeScaling scaling = {};
};

// Rotates channel pairs (a, b) of every head of every token by angle = position * theta^(-2t /
// rope_dim): (a, b) -> (a cos - b sin, b cos + a sin). options.scaling changes the frequencies.
//   x, y       [batch, seq, heads, head_dim] or [seq, heads, head_dim], unit stride along head_dim;
//              f32, f16 or bf16, each its own. y may be x itself; otherwise they must not overlap.
//              16-bit numbers are widened exactly, and y is rounded once, to nearest, ties to even.
//   positions  i32 [batch, seq] or [seq] (the same for the whole batch), each >= 0, any strides
// Angles, sines and cosines are computed in double with heed's own code (no libm) and rounded once
// to f32, so they stay within 1 ulp at any position below 2^31.
// Errors: kInvalidArgument (also a negative position, or a scaling that is not as above),
// kUnsupported (dtype), kOutOfMemory.
HEED_API Status rope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
                     const RopeOptions& options, Context& context);

}  // namespace heed::inline v1
