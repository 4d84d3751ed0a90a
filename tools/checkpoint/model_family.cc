#include "tools/checkpoint/model_family.h"

#include <algorithm>
#include <string>

#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

constexpr Family kFamilies[] = {
    {.model_type = "gpt2", .style = WeightStyle::kGpt2, .bias = BiasRule::kAlways},
    {.model_type = "llama"},
    {.model_type = "mistral",
     .bias = BiasRule::kNever,
     .window = WindowRule::kAll,
     .kv_heads_required = true,
     .sliding_window = 4096},
    {.model_type = "qwen2",
     .bias = BiasRule::kOnQkv,
     .window = WindowRule::kUpper,
     .kv_heads_required = true},
    {.model_type = "qwen3",
     .window = WindowRule::kUpper,
     .qk_norm = true,
     .kv_heads_required = true,
     .head_dim = 128},
    {.model_type = "phi3", .bias = BiasRule::kNever, .window = WindowRule::kAll},
    {.model_type = "gemma2",
     .window = WindowRule::kEven,
     .gemma = true,
     .kv_heads_required = true,
     .head_dim = 256,
     .sliding_window = 4096,
     .soft_cap = 50.0},
    {.model_type = "gemma3_text",
     .window = WindowRule::kPattern,
     .qk_norm = true,
     .gemma = true,
     .num_heads = 8,
     .num_kv_heads = 4,
     .head_dim = 256,
     .sliding_window = 4096,
     .rope_theta = 1e6},
    {.model_type = "gpt_oss",
     .bias = BiasRule::kUnlessConfigured,
     .window = WindowRule::kEven,
     .sinks = true,
     .kv_heads_required = true,
     .head_dim = 64,
     .sliding_window = 128,
     .rope_theta = 150000.0},
};

// Settings that are read, and those that do not change what attention computes at inference.
constexpr std::string_view kKnownSettings[] = {
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "n_head",
    "attention_bias",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "attention_dropout",
    "attn_pdrop",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "reorder_and_upcast_attn",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "_attn_implementation_autoset",
    "output_attentions",
    "mask_token_id",
    "chunk_size_feed_forward",
};
constexpr std::string_view kGemmaSettings[] = {
    "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar",
    "sliding_window_size",  // a copy of sliding_window in early Gemma 2 files
};
constexpr std::string_view kGemma3Settings[] = {"rope_local_base_freq", "sliding_window_pattern",
                                                "_sliding_window_pattern"};

// Parts of names of settings that are about attention: alibi, attention_sinks, no_rope_layers,
// qk_norm...
constexpr std::string_view kSuspicious[] = {
    "attn",
    "attention",
    "rope",
    "rotary",
    "window",
    "alibi",
    "softcap",
    "sink",
    "qk",
    "q_norm",
    "k_norm",
    "query",
    "key_value",
    "head",
    "chunk",
    "mask",
    "causal",
    "sparse",
    "position_embedding",
    "quantization_config",
};

template <size_t n>
bool lists(const std::string_view (&names)[n], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_known(const Family& family, const std::string& key) {
  return lists(kKnownSettings, key) || (family.gemma && lists(kGemmaSettings, key)) ||
         (family.window == WindowRule::kPattern && lists(kGemma3Settings, key));
}

// As GPT-OSS, which quantizes only its experts.
bool spares_attention(const json& quantization) {
  if (!quantization.is_object()) return false;
  const auto it = quantization.find("modules_to_not_convert");
  return it != quantization.end() && it->is_array() &&
         std::find(it->begin(), it->end(), "model.layers.*.self_attn") != it->end();
}

}  // namespace

const Family* find_family(ConfigReader* reader) {
  const std::string type = reader->text("model_type").value_or("");
  std::string names;
  for (const Family& family : kFamilies) {
    if (family.model_type == type) return &family;
    names += std::string(names.empty() ? "" : ", ") + std::string(family.model_type);
  }
  reader->refuse(type.empty()
                     ? "model_type is missing"
                     : "model_type " + quote(type) + " is not one that heed computes: " + names);
  return nullptr;
}

void refuse_unknown(const json& config, const Family& family, ConfigReader* reader) {
  for (const auto& [key, value] : config.items()) {
    const auto in_key = [&name = key](std::string_view part) {
      return name.find(part) != std::string::npos;
    };
    if (is_known(family, key) ||
        std::none_of(std::begin(kSuspicious), std::end(kSuspicious), in_key) || !asks(value) ||
        (key == "quantization_config" && spares_attention(value))) {
      continue;
    }
    reader->refuse(quote(key) + " is " + value_text(value) + ", which heed does not compute for " +
                   "model_type " + quote(std::string(family.model_type)));
  }
}

}  // namespace heed::tools
