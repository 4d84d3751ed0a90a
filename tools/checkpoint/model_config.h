// Hugging Face config.json: what one attention layer of the model computes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"
#include "tools/checkpoint/model_family.h"

namespace heed::tools {

struct LayerConfig {
  std::string model_type;
  WeightStyle style = WeightStyle::kLlama;
  bool qkv_bias = false;  // the projections of the family have these biases
  bool out_bias = false;
  bool qk_norm = false;  // so it has q_norm and k_norm
  bool sinks = false;
  MultiHeadAttentionConfig attention;
};

// Reads the configuration of `layer` (from 0) of the families in model_family.cc: gpt2, llama,
// mistral, qwen2, qwen3, phi3, gemma2, gemma3 (its text part), gpt_oss. Whatever else a
// configuration asks of attention, and every key that settings.cc does not list, is refused by
// name: a result that silently differs from the model's would be worse than none. `name` stands for
// the file in messages.
Result<LayerConfig> parse_layer_config(std::string_view text, size_t layer,
                                       const std::string& name);
Result<LayerConfig> load_layer_config(const std::string& path, size_t layer);

}  // namespace heed::tools
