#include "tools/model_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/config_reader.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

enum class Bias { kNever, kOnQkv, kAlways, kAsConfigured };

struct FamilyRow {
  std::string_view model_type;
  WeightStyle style;
  Bias bias;
  bool kv_heads_required;  // the family's own default is not num_attention_heads
};
constexpr FamilyRow kFamilies[] = {
    {"llama", WeightStyle::kLlama, Bias::kAsConfigured, false},
    {"mistral", WeightStyle::kLlama, Bias::kNever, true},
    {"qwen2", WeightStyle::kLlama, Bias::kOnQkv, true},
    {"phi3", WeightStyle::kLlama, Bias::kNever, false},
    {"gpt2", WeightStyle::kGpt2, Bias::kAlways, false},
};

// Settings that this file reads, and those that do not change what attention computes at inference.
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
    "query_pre_attn_scalar",
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

// Parts of names of settings that are about attention. Such a setting outside the list above is
// refused when it asks for something: attn_logit_softcapping, alibi, attention_sinks,
// no_rope_layers, qk_norm...
constexpr std::string_view kSuspicious[] = {
    "attn",      "attention",
    "rope",      "rotary",
    "window",    "alibi",
    "softcap",   "sink",
    "qk",        "q_norm",
    "k_norm",    "query",
    "key_value", "head",
    "chunk",     "position_embedding",
    "mask",      "causal",

    "sparse",    "quantization_config",
};

void refuse_unknown(const json& config, ConfigReader* reader) {
  for (const auto& [key, value] : config.items()) {
    const auto in_key = [&name = key](std::string_view part) {
      return name.find(part) != std::string::npos;
    };
    if (std::find(std::begin(kKnownSettings), std::end(kKnownSettings), key) !=
            std::end(kKnownSettings) ||
        std::none_of(std::begin(kSuspicious), std::end(kSuspicious), in_key) || !asks(value)) {
      continue;
    }
    reader->refuse(quote(key) + " is " + value_text(value) + ", which heed does not compute yet");
  }
}

void refuse_window(const json& config, size_t layer, ConfigReader* reader) {
  const json* types = reader->find("layer_types");
  if (types != nullptr) {
    if (!types->is_array() || layer >= types->size() || !(*types)[layer].is_string()) {
      return reader->refuse("layer_types has no name for layer " + std::to_string(layer));
    }
    if ((*types)[layer] != "full_attention") {
      reader->refuse("layer " + std::to_string(layer) + " is " + value_text((*types)[layer]) +
                     ", and heed computes only full_attention yet");
    }
    return;  // the list decides, whatever window the other layers have
  }
  const bool may_slide = reader->flag("use_sliding_window", true);
  const json* window = reader->find("sliding_window");
  if (may_slide && window != nullptr) {
    reader->refuse("sliding_window is " + value_text(*window) +
                   ", and heed does not compute a window yet");
  } else if (may_slide && config.contains("use_sliding_window") && window == nullptr) {
    reader->refuse("use_sliding_window is true without a sliding_window");
  }
}

// One of rope_scaling and rope_parameters, or the configuration itself for the settings on top.
void read_rope_settings(const json& settings, const char* key, ConfigReader* top, double* theta,
                        double* fraction) {
  if (!settings.is_object()) {
    return top->refuse(std::string(key) + " is " + value_text(settings) +
                       ", and must be an object");
  }
  for (const auto& [name, value] : settings.items()) {
    const bool is_type = name == "rope_type" || name == "type";
    if (is_type ? value != "default" : name != "rope_theta" && name != "partial_rotary_factor") {
      return top->refuse(std::string(key) + " asks for " + quote(name) + " " + value_text(value) +
                         ", and heed computes only unscaled RoPE (type 'default') yet");
    }
  }
  ConfigReader reader(settings, key);
  const auto take = [&](const char* name, double* into) {
    const std::optional<double> value = reader.number(name);
    if (!reader.ok()) return top->refuse(reader.status().message());
    if (!value.has_value()) return;
    if (top->find(name) != nullptr && *value != *into) {
      top->refuse(std::string(name) + " has two values, one of them in " + key);
    }
    *into = *value;
  };
  take("rope_theta", theta);
  take("partial_rotary_factor", fraction);
}

RopeOptions read_rope(size_t head_dim, ConfigReader* reader) {
  RopeOptions rope;
  rope.theta = reader->number("rope_theta").value_or(10000.0);
  double fraction = reader->number("partial_rotary_factor").value_or(1.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const json* settings = reader->find(key)) {
      read_rope_settings(*settings, key, reader, &rope.theta, &fraction);
    }
  }
  if (fraction > 1) reader->refuse("partial_rotary_factor is above 1");
  // Truncated as the families' own code does.
  rope.rope_dim = static_cast<size_t>(static_cast<double>(head_dim) * std::min(fraction, 1.0));
  if (rope.rope_dim == 0 || rope.rope_dim % 2 != 0) {
    reader->refuse("RoPE would rotate " + std::to_string(rope.rope_dim) + " channels of head_dim " +
                   std::to_string(head_dim) + ", and the number must be even and > 0");
  }
  return rope;
}

void read_bias(Bias rule, ConfigReader* reader, LayerConfig* layer) {
  const bool family_has = rule == Bias::kOnQkv || rule == Bias::kAlways;
  const bool asked = reader->flag("attention_bias", family_has);
  if (rule != Bias::kAsConfigured && asked != family_has) {
    reader->refuse("attention_bias is " + std::string(asked ? "true" : "false") +
                   ", which model_type " + quote(layer->model_type) + " does not have");
  }
  layer->qkv_bias = asked;
  layer->out_bias = asked && rule != Bias::kOnQkv;
}

void read_llama(const FamilyRow& family, ConfigReader* reader,
                MultiHeadAttentionConfig* attention) {
  attention->d_in = reader->required_size("hidden_size");
  attention->num_heads = reader->required_size("num_attention_heads");
  attention->num_kv_heads =
      family.kv_heads_required ? reader->required_size("num_key_value_heads")
                               : reader->size("num_key_value_heads").value_or(attention->num_heads);
  const std::optional<size_t> head_dim = reader->size("head_dim");
  if (!head_dim.has_value() && attention->d_in % attention->num_heads != 0) {
    reader->refuse("hidden_size " + std::to_string(attention->d_in) +
                   " is not a multiple of num_attention_heads " +
                   std::to_string(attention->num_heads) + ", and there is no head_dim");
  }
  attention->head_dim =
      head_dim.value_or(std::max<size_t>(1, attention->d_in / attention->num_heads));
  if (attention->num_heads % attention->num_kv_heads != 0) {
    reader->refuse("num_attention_heads " + std::to_string(attention->num_heads) +
                   " is not a multiple of num_key_value_heads " +
                   std::to_string(attention->num_kv_heads));
  }
  for (const char* key : {"scale_attn_weights", "scale_attn_by_inverse_layer_idx"}) {
    if (reader->find(key) != nullptr) reader->refuse(std::string(key) + " is only for 'gpt2'");
  }
  if (const std::optional<double> scalar = reader->number("query_pre_attn_scalar")) {
    attention->scale = static_cast<float>(1.0 / std::sqrt(*scalar));
  }
  attention->rope = read_rope(attention->head_dim, reader);
}

void read_gpt2(size_t layer, ConfigReader* reader, MultiHeadAttentionConfig* attention) {
  attention->d_in = reader->required_size("n_embd");
  attention->num_heads = reader->required_size("n_head");
  attention->num_kv_heads = attention->num_heads;
  if (attention->d_in % attention->num_heads != 0) {
    reader->refuse("n_embd " + std::to_string(attention->d_in) + " is not a multiple of n_head " +
                   std::to_string(attention->num_heads));
  }
  attention->head_dim = std::max<size_t>(1, attention->d_in / attention->num_heads);
  for (const char* key : {"rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor",
                          "query_pre_attn_scalar", "num_key_value_heads", "head_dim"}) {
    if (reader->find(key) != nullptr) {
      reader->refuse(std::string(key) + " is set, which model_type 'gpt2' does not have");
    }
  }
  const bool by_head_dim = reader->flag("scale_attn_weights", true);
  const bool by_layer = reader->flag("scale_attn_by_inverse_layer_idx", false);
  if (by_head_dim && !by_layer) return;  // the library's own scale
  double scale = by_head_dim ? 1.0 / std::sqrt(static_cast<double>(attention->head_dim)) : 1.0;
  if (by_layer) scale /= static_cast<double>(layer) + 1.0;
  attention->scale = static_cast<float>(scale);
}

const FamilyRow* find_family(ConfigReader* reader) {
  const std::string type = reader->text("model_type").value_or("");
  for (const FamilyRow& row : kFamilies) {
    if (row.model_type == type) return &row;
  }
  reader->refuse(type.empty()
                     ? "model_type is missing"
                     : "model_type " + quote(type) +
                           " is not one that heed computes: llama, mistral, qwen2, phi3, gpt2");
  return nullptr;
}

}  // namespace

Result<LayerConfig> parse_layer_config(std::string_view text, size_t layer,
                                       const std::string& name) {
  const Result<json> config = parse_json(text, name);
  if (!config.ok()) return config.status();
  if (!config->is_object()) return refuse(name, "the configuration is not an object");
  ConfigReader reader(*config, name);
  const FamilyRow* family = find_family(&reader);
  if (family == nullptr) return reader.status();

  const bool gpt2 = family->style == WeightStyle::kGpt2;
  LayerConfig result;
  result.model_type = family->model_type;
  result.style = family->style;
  result.attention.causal = true;
  const char* layers_key = gpt2 ? "n_layer" : "num_hidden_layers";
  if (const std::optional<size_t> layers = reader.size(layers_key); layers && layer >= *layers) {
    reader.refuse("there is no layer " + std::to_string(layer) + ": " + layers_key + " is " +
                  std::to_string(*layers) + ", counted from 0");
  }
  refuse_window(*config, layer, &reader);
  refuse_unknown(*config, &reader);
  if (gpt2) {
    read_gpt2(layer, &reader, &result.attention);
  } else {
    read_llama(*family, &reader, &result.attention);
  }
  read_bias(family->bias, &reader, &result);
  if (!reader.ok()) return reader.status();
  return result;
}

Result<LayerConfig> load_layer_config(const std::string& path, size_t layer) {
  constexpr size_t kLargest = 16 << 20;  // configurations are a few kilobytes
  const Result<std::string> text = read_text(path, kLargest);
  if (!text.ok()) return text.status();
  return parse_layer_config(*text, layer, path);
}

}  // namespace heed::tools
