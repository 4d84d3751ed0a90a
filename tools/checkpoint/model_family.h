// The families of models whose attention heed computes, as Hugging Face's code defines them.
#pragma once

#include <cstddef>
#include <string_view>

#include "tools/checkpoint/config_reader.h"

namespace heed::tools {

// How a family names and stores the weights of a layer.
enum class WeightStyle {
  kLlama,  // self_attn.{q,k,v,o}_proj or qkv_proj, [out, in]
  kGpt2,   // attn.c_attn, attn.c_proj, [in, out]
};

enum class BiasRule { kNever, kOnQkv, kAlways, kAsConfigured, kUnlessConfigured };

// Which layers have a sliding window, when layer_types does not say so.
enum class WindowRule {
  kNone,
  kAll,      // when sliding_window is set
  kUpper,    // with use_sliding_window, those from max_window_layers on
  kEven,     // 0, 2, 4...
  kPattern,  // all but every sliding_window_pattern-th
};

struct Family {
  std::string_view model_type;
  std::string_view class_name;  // what the names of its classes begin with
  WeightStyle style = WeightStyle::kLlama;
  BiasRule bias = BiasRule::kAsConfigured;
  WindowRule window = WindowRule::kNone;
  bool qk_norm = false;            // RMSNorm of query and key heads
  bool sinks = false;              // a tensor of logits
  bool gemma = false;              // soft cap, own scale, norm weights stored minus 1
  bool kv_heads_required = false;  // the family's own default is not num_attention_heads

  // What a missing setting means; 0: it is required, or follows from others.
  size_t num_heads = 0, num_kv_heads = 0, head_dim = 0, sliding_window = 0;
  double rope_theta = 10000.0;
  double soft_cap = 0.0;
};

// Null, and the reader says why, when model_type is missing or another one.
const Family* find_family(ConfigReader* reader);

}  // namespace heed::tools
