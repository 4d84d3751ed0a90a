// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864).
#pragma once

#include "heed/c/context.h"
#include "heed/c/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// How a model that was trained on short sequences stretches the frequencies theta^(-2t / rope_dim)
// for long ones, computed as Hugging Face's "rope_scaling" of the same name.
typedef int32_t heed_rope_scaling_type;
enum {
  HEED_ROPE_SCALING_TYPE_NONE = 0,
  // All divided by factor (Chen et al., arXiv 2306.15595).
  HEED_ROPE_SCALING_TYPE_LINEAR = 1,
  // Only the low ones, with a transition (Llama 3.1, arXiv 2407.21783).
  HEED_ROPE_SCALING_TYPE_LLAMA3 = 2,
  // Only the low ones, and cos and sin are multiplied (Peng et al., arXiv 2309.00071).
  HEED_ROPE_SCALING_TYPE_YARN = 3,
};

// What the type does not use is ignored.
typedef struct heed_rope_scaling {
  size_t struct_size;
  heed_rope_scaling_type type;
  double factor;  // of the longer context to the original one; at least 1, the default
  size_t original_max_position_embeddings;  // llama3, yarn: the length trained on

  // llama3, with n = original_max_position_embeddings / wavelength: n < low_freq_factor is divided
  // by factor, n > high_freq_factor is kept. 0 < low_freq_factor < high_freq_factor; 1 and 4 by
  // default.
  double low_freq_factor;
  double high_freq_factor;

  // yarn: pairs that turn more than beta_fast times over the original length are kept, those that
  // turn less than beta_slow times are divided by factor. 0 < beta_slow <= beta_fast; 32 and 1 by
  // default.
  double beta_fast;
  double beta_slow;
  bool truncate;  // the transition begins and ends at whole pairs, by default (GPT-OSS: false)
  // yarn: multiplies cos and sin; > 0. Without has_attention_factor, which needs one of 0:
  // m(mscale) / m(mscale_all_dim) when neither is 0, else m(1), where m(s) = 0.1 s ln(factor) + 1.
  bool has_attention_factor;
  double attention_factor;
  double mscale;
  double mscale_all_dim;
} heed_rope_scaling;

HEED_API void heed_rope_scaling_init(heed_rope_scaling* scaling, size_t struct_size);

typedef struct heed_rope_options {
  size_t struct_size;
  // Channels that rotate, the first of each head; even, at most head_dim. The rest pass through.
  // 0: all of them.
  size_t rope_dim;
  double theta;  // base of the frequencies, in [1, 1e30]; 10000 by default
  // Which channels form a pair. false ("half", GPT-NeoX and Llama in Hugging Face's order):
  // (t, t + rope_dim / 2). true (GPT-J, original Llama): (2t, 2t + 1).
  bool interleaved;
  const heed_rope_scaling* scaling;  // null: none
} heed_rope_options;

HEED_API void heed_rope_options_init(heed_rope_options* options, size_t struct_size);

// Rotates channel pairs (a, b) of every head of every token by angle = position * theta^(-2t /
// rope_dim): (a, b) -> (a cos - b sin, b cos + a sin). The option scaling changes the frequencies.
//   x, y       [batch, seq, heads, head_dim] or [seq, heads, head_dim], unit stride along head_dim;
//              f32, f16 or bf16, each its own. y may be x itself; otherwise they must not overlap.
//              16-bit numbers are widened exactly, and y is rounded once, to nearest, ties to even.
//   positions  i32 [batch, seq] or [seq] (the same for the whole batch), each >= 0, any strides
// Angles, sines and cosines are computed in double with heed's own code (no libm) and rounded once
// to f32, so they stay within 1 ulp at any position below 2^31.
// Errors: HEED_INVALID_ARGUMENT (also a negative position, or a scaling that is not as above),
// HEED_UNSUPPORTED (dtype), HEED_OUT_OF_MEMORY.
HEED_API heed_status heed_rope(const heed_tensor* x, const heed_tensor* positions,
                               const heed_tensor* y, const heed_rope_options* options,
                               heed_context* context, heed_error* error);

#ifdef __cplusplus
}
#endif
