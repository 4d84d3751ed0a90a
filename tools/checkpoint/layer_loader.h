// The weights of one attention layer of a checkpoint.
#pragma once

#include <cstddef>

#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"
#include "tools/checkpoint/checkpoint.h"
#include "tools/checkpoint/model_config.h"

namespace heed::tools {

// Views of the weights of `layer`, for MultiHeadAttention::create; they live as long as the
// checkpoint. Llama style: [model.]layers.N.self_attn.{q,k,v,o}_proj or qkv_proj, q_norm, k_norm,
// sinks; GPT-2 style: [transformer.]h.N.attn.{c_attn,c_proj}. Tensors of other layers and kinds do
// not matter. Refused: missing tensors, other shapes than the
// configuration says, biases that it does not have, and tensors of this attention that heed does
// not compute.
Result<MultiHeadAttentionWeights> find_weights(Checkpoint& checkpoint, const LayerConfig& config,
                                               size_t layer);

// find_weights and MultiHeadAttention::create.
Result<MultiHeadAttention> load_layer(Checkpoint& checkpoint, const LayerConfig& config,
                                      size_t layer, Context& context);

}  // namespace heed::tools
