// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864).
#pragma once

#include <cstddef>

#include "heed/context.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

struct RopeOptions {
  // Channels that rotate, the first of each head; even, at most head_dim. The rest pass through.
  // 0: all of them.
  size_t rope_dim = 0;
  double theta = 10000.0;  // base of the frequencies, in [1, 1e30]
  // Which channels form a pair. false ("half", GPT-NeoX and Llama in Hugging Face's order):
  // (t, t + rope_dim / 2). true (GPT-J, original Llama): (2t, 2t + 1).
  bool interleaved = false;
};

// Rotates channel pairs (a, b) of every head of every token by angle = position * theta^(-2t /
// rope_dim): (a, b) -> (a cos - b sin, b cos + a sin).
//   x, y       f32 [batch, seq, heads, head_dim] or [seq, heads, head_dim], unit stride along
//              head_dim. y may be x itself; otherwise they must not overlap.
//   positions  i32 [batch, seq] or [seq] (the same for the whole batch), each >= 0, any strides
// Angles, sines and cosines are computed in double with heed's own code (no libm) and rounded once
// to f32, so they stay within 1 ulp at any position below 2^31.
// Errors: kInvalidArgument (also a negative position), kUnsupported (dtype), kOutOfMemory.
Status rope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
            const RopeOptions& options, Context& context);

}  // namespace heed
