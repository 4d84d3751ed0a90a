// Hugging Face config.json: what one attention layer of the model computes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"

namespace heed::tools {

// How a family names and stores the weights of a layer.
enum class WeightStyle {
  kLlama,  // self_attn.{q,k,v,o}_proj or qkv_proj, [out, in]
  kGpt2,   // attn.c_attn, attn.c_proj, [in, out]
};

struct LayerConfig {
  std::string model_type;
  WeightStyle style = WeightStyle::kLlama;
  bool qkv_bias = false;  // the projections of the family have these biases
  bool out_bias = false;
  MultiHeadAttentionConfig attention;
};

// Reads the configuration of `layer` (from 0). Families: llama, mistral, qwen2, phi3, gpt2.
// Whatever else a configuration asks of attention (a window, scaled RoPE, soft caps, unknown
// settings...) is refused by name: a result that silently differs from the model's would be worse
// than none. `name` stands for the file in messages.
Result<LayerConfig> parse_layer_config(std::string_view text, size_t layer,
                                       const std::string& name);
Result<LayerConfig> load_layer_config(const std::string& path, size_t layer);

}  // namespace heed::tools
