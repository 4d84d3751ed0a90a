#include "tools/checkpoint/model_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/checkpoint/config_keys.h"
#include "tools/checkpoint/config_reader.h"
#include "tools/checkpoint/rope_config.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

bool contains(const json& config, const char* key) { return config.find(key) != config.end(); }

// Whether the family's rule gives `layer` a window.
bool slides_by_rule(const Family& family, size_t layer, bool has_window, ConfigReader* reader) {
  switch (family.window) {
    case WindowRule::kNone:
      return false;
    case WindowRule::kAll:
      return has_window;
    case WindowRule::kUpper:
      return reader->flag("use_sliding_window", false) &&
             layer >= reader->size("max_window_layers", 0).value_or(28);
    case WindowRule::kEven:
      return layer % 2 == 0;
    case WindowRule::kPattern:
      break;
  }
  const char* key = reader->find("sliding_window_pattern") != nullptr ? "sliding_window_pattern"
                                                                      : "_sliding_window_pattern";
  return (layer + 1) % reader->size(key).value_or(6) != 0;
}

// The layer's own entry in layer_types; nothing when there is no such list.
std::optional<bool> slides_by_list(size_t layer, ConfigReader* reader) {
  const json* types = reader->find("layer_types");
  if (types == nullptr) return std::nullopt;
  if (!types->is_array() || layer >= types->size() || !(*types)[layer].is_string()) {
    reader->refuse("layer_types has no name for layer " + std::to_string(layer));
    return std::nullopt;
  }
  const json& type = (*types)[layer];
  if (type != "full_attention" && type != "sliding_attention") {
    reader->refuse("layer " + std::to_string(layer) + " is " + value_text(type) +
                   ", and heed computes full_attention and sliding_attention");
  }
  return type == "sliding_attention";
}

// 0: none. Hugging Face's sliding_window counts keys as the library's window does, the query's own
// included.
size_t read_window(const json& config, const Family& family, size_t layer, ConfigReader* reader) {
  std::optional<size_t> window = reader->size("sliding_window");
  if (!window.has_value() && !contains(config, "sliding_window") && family.sliding_window != 0) {
    window = family.sliding_window;  // null would mean none
  }
  if (const std::optional<size_t> copy = reader->size("sliding_window_size");
      copy.has_value() && copy != window) {  // early Gemma 2 files say it twice
    reader->refuse("sliding_window_size is " + std::to_string(*copy) + ", and sliding_window is " +
                   (window ? std::to_string(*window) : "not set"));
  }
  const bool rule = slides_by_rule(family, layer, window.has_value(), reader);
  const std::optional<bool> listed = slides_by_list(layer, reader);
  const bool slides = listed.value_or(rule);
  const bool fixed = family.window == WindowRule::kNone || family.window == WindowRule::kAll;
  const std::string type = ", which model_type " + quote(std::string(family.model_type)) + " ";
  if (fixed && slides != rule) {  // these families do not read the list
    reader->refuse("layer " + std::to_string(layer) + " is " +
                   (slides ? "\"sliding_attention\"" : "\"full_attention\"") + type +
                   "does not give it");
  }
  const bool may_slide = reader->flag("use_sliding_window", family.window != WindowRule::kUpper);
  if (family.window == WindowRule::kNone && window.has_value() && may_slide && !listed) {
    reader->refuse("sliding_window is " + std::to_string(*window) + type + "does not have");
  }
  if (slides && !may_slide) {
    reader->refuse("layer " + std::to_string(layer) +
                   " has a window, and use_sliding_window is not true");
  }
  if (slides && !window.has_value()) {
    reader->refuse("layer " + std::to_string(layer) +
                   " has a window, and there is no sliding_window");
  }
  return slides ? window.value_or(0) : 0;
}

void read_bias(BiasRule rule, ConfigReader* reader, LayerConfig* layer) {
  const bool configured = rule == BiasRule::kAsConfigured || rule == BiasRule::kUnlessConfigured;
  const bool family_has = rule != BiasRule::kNever && rule != BiasRule::kAsConfigured;
  const bool asked = reader->flag("attention_bias", family_has);
  if (!configured && asked != family_has) {
    reader->refuse("attention_bias is " + std::string(asked ? "true" : "false") +
                   ", which model_type " + quote(layer->model_type) + " does not have");
  }
  layer->qkv_bias = asked;
  layer->out_bias = asked && rule != BiasRule::kOnQkv;
}

size_t size_or(const char* key, size_t otherwise, ConfigReader* reader) {
  return otherwise == 0 ? reader->required_size(key) : reader->size(key).value_or(otherwise);
}

void read_heads(const Family& family, ConfigReader* reader, MultiHeadAttentionConfig* attention) {
  attention->d_in = reader->required_size("hidden_size");
  attention->num_heads = size_or("num_attention_heads", family.num_heads, reader);
  size_t kv_heads = family.num_kv_heads;
  if (kv_heads == 0 && !family.kv_heads_required) kv_heads = attention->num_heads;
  attention->num_kv_heads = size_or("num_key_value_heads", kv_heads, reader);
  const std::optional<size_t> head_dim = reader->size("head_dim");
  const bool divided = !head_dim.has_value() && family.head_dim == 0;
  if (divided && attention->d_in % attention->num_heads != 0) {
    reader->refuse("hidden_size " + std::to_string(attention->d_in) +
                   " is not a multiple of num_attention_heads " +
                   std::to_string(attention->num_heads) + ", and there is no head_dim");
  }
  attention->head_dim = head_dim.value_or(
      divided ? std::max<size_t>(1, attention->d_in / attention->num_heads) : family.head_dim);
  if (attention->num_heads % attention->num_kv_heads != 0) {
    reader->refuse("num_attention_heads " + std::to_string(attention->num_heads) +
                   " is not a multiple of num_key_value_heads " +
                   std::to_string(attention->num_kv_heads));
  }
}

void read_llama(const json& config, const Family& family, size_t layer, ConfigReader* reader,
                MultiHeadAttentionConfig* attention) {
  read_heads(family, reader, attention);
  attention->window = read_window(config, family, layer, reader);
  if (!attention->causal && attention->window != 0) {
    reader->refuse("layer " + std::to_string(layer) + " has a window of " +
                   std::to_string(attention->window) +
                   " and sees later tokens, and heed computes windows of past tokens alone");
  }
  attention->rope = read_rope(family, attention->head_dim, attention->window != 0, reader);
  if (family.qk_norm) {
    attention->norm_eps = static_cast<float>(reader->number("rms_norm_eps").value_or(1e-6));
  }
  if (!family.gemma) return;
  const double scalar = reader->number("query_pre_attn_scalar").value_or(256.0);
  attention->scale = static_cast<float>(1.0 / std::sqrt(scalar));
  attention->norm_weight_offset = 1.0f;
  const char* cap = "attn_logit_softcapping";
  attention->logits_soft_cap = static_cast<float>(
      reader->number(cap).value_or(contains(config, cap) ? 0.0 : family.soft_cap));
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
  const bool by_head_dim = reader->flag("scale_attn_weights", true);
  const bool by_layer = reader->flag("scale_attn_by_inverse_layer_idx", false);
  if (by_head_dim && !by_layer) return;  // the library's own scale
  double scale = by_head_dim ? 1.0 / std::sqrt(static_cast<double>(attention->head_dim)) : 1.0;
  if (by_layer) scale /= static_cast<double>(layer) + 1.0;
  attention->scale = static_cast<float>(scale);
}

// Decoders used as encoders have no causal mask. Gemma 3 has a setting of its own for that.
bool read_causal(const Family& family, ConfigReader* reader) {
  const bool gemma3 = family.window == WindowRule::kPattern;
  const bool causal = reader->flag("is_causal", true);
  return !(gemma3 && reader->flag("use_bidirectional_attention", false)) && causal;
}

// Gemma 3 that also sees keeps the language model's configuration apart.
const json& language_part(const json& config) {
  const auto type = config.find("model_type");
  const auto text = config.find("text_config");
  const bool nested =
      type != config.end() && *type == "gemma3" && text != config.end() && text->is_object();
  return nested ? *text : config;
}

}  // namespace

Result<LayerConfig> parse_layer_config(std::string_view text, size_t layer,
                                       const std::string& name) {
  const Result<json> whole = parse_json(text, name);
  if (!whole.ok()) return whole.status();
  if (!whole->is_object()) return refuse(name, "the configuration is not an object");
  const json& config = language_part(*whole);
  ConfigReader reader(config, name);
  const Family* family = find_family(&reader);
  if (family == nullptr) return reader.status();
  if (&config != &*whole && family->window != WindowRule::kPattern) {
    return refuse(name, "text_config has model_type " + quote(family->model_type) +
                            ", and that of a gemma3 must be 'gemma3_text'");
  }

  const bool gpt2 = family->style == WeightStyle::kGpt2;
  LayerConfig result;
  result.model_type = family->model_type;
  result.style = family->style;
  result.qk_norm = family->qk_norm;
  result.sinks = family->sinks;
  const char* layers_key = gpt2 ? "n_layer" : "num_hidden_layers";
  if (const std::optional<size_t> layers = reader.size(layers_key); layers && layer >= *layers) {
    reader.refuse("there is no layer " + std::to_string(layer) + ": " + layers_key + " is " +
                  std::to_string(*layers) + ", counted from 0");
  }
  if (&config != &*whole) refuse_unknown_around(*whole, *family, &reader);
  refuse_unknown(config, *family, &reader);
  result.attention.causal = read_causal(*family, &reader);
  if (gpt2) {
    read_gpt2(layer, &reader, &result.attention);
  } else {
    read_llama(config, *family, layer, &reader, &result.attention);
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
