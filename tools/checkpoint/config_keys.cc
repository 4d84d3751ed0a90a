#include "tools/checkpoint/config_keys.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string>
#include <string_view>

#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;
using Names = std::string_view;

// Settings that are read.
constexpr Names kReadByGpt2[] = {"n_embd",    "n_head",
                                 "n_layer",   "scale_attn_by_inverse_layer_idx",
                                 "is_causal", "scale_attn_weights"};
constexpr Names kReadByLlama[] = {
    "attention_bias",
    "head_dim",
    "hidden_size",
    "is_causal",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "use_sliding_window",
};
constexpr Names kReadByGemma[] = {"attn_logit_softcapping", "query_pre_attn_scalar",
                                  "sliding_window_size"};
constexpr Names kReadByGemma3[] = {"rope_local_base_freq", "sliding_window_pattern",
                                   "_sliding_window_pattern", "use_bidirectional_attention"};
constexpr Names kReadAround[] = {"text_config"};

// Settings of the families' own configurations that concern embeddings, the MLP, norms, the head
// or training, or that choose how attention is computed and not what.
constexpr Names kOfModels[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_flash_attn_2_enabled",
    "activation_function",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "embd_pdrop",
    "experts_per_token",
    "final_logit_softcapping",
    "gradient_checkpointing",
    "hidden_act",
    "hidden_activation",
    "hidden_dropout",
    "initial_context_length",
    "initializer_range",
    "intermediate_size",
    "is_llama_config",
    "layer_norm_epsilon",
    "line_by_line",
    "max_sequence_length",
    "mlp_bias",
    "mm_tokens_per_image",
    "n_ctx",
    "n_inner",
    "n_positions",
    "n_special",
    "n_vocab",
    "num_experts",
    "num_experts_per_tok",
    "num_local_experts",
    "output_router_logits",
    "predict_special_tokens",
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "router_aux_loss_coef",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "swiglu_limit",
    "tie_word_embeddings",
    "unsloth_fixed",
    "unsloth_version",
    "vision_config",
    "vocab_size",
};

// Settings that any configuration may have: bookkeeping, outputs, tasks, generation of text.
constexpr Names kOfAll[] = {
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    "chunk_size_feed_forward",
    "custom_pipelines",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "id2label",
    "is_decoder",  // encoders become causal by it; these families are decoders without it
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

// Settings of attention of which heed computes one value.
constexpr struct {
  Names key;
  const char* value;
} kOnlyAs[] = {
    {"add_cross_attention", "false"},
    {"alibi", "false"},
    {"is_encoder_decoder", "false"},
    {"pruned_heads", "{}"},
    {"qk_layernorm", "false"},
    {"rope_interleaved", "false"},
    {"use_bidirectional_attention", "false"},
    {"use_mrope", "false"},
    {"use_qk_norm", "false"},
};

// Ends of the names of a family's own classes, after "Llama", "GPT2"...
constexpr Names kClassEnds[] = {
    "Config",
    "DoubleHeadsModel",
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForTokenClassification",
    "LMHeadModel",
    "Model",
    "TextConfig",
    "TextForSequenceClassification",
    "TextModel",
};

template <class Table>
bool lists(const Table& names, Names name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_read(const Family& family, Names key) {
  if (family.style == WeightStyle::kGpt2) return lists(kReadByGpt2, key);
  return lists(kReadByLlama, key) || (family.gemma && lists(kReadByGemma, key)) ||
         (family.window == WindowRule::kPattern && lists(kReadByGemma3, key));
}

bool means_nothing(Names key) {
  return lists(kOfModels, key) || lists(kOfAll, key) || key.ends_with("_token_id") ||
         key.ends_with("_token_index");
}

bool same_letters(Names a, Names b) {  // LLaMAForCausalLM is an old spelling
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

// Whether a class is the family's own: "Phi3ForCausalLM" or "owner/name--file.Phi3ForCausalLM".
bool is_own_class(const Family& family, Names name) {
  const size_t dot = name.rfind('.');
  if (dot != Names::npos) name.remove_prefix(dot + 1);
  const size_t size = family.class_name.size();
  return name.size() > size && same_letters(name.substr(0, size), family.class_name) &&
         lists(kClassEnds, name.substr(size));
}

// architectures: a list of classes. auto_map: a class for each task; a tokenizer's and the like
// do not matter.
void check_classes(const Family& family, const std::string& key, const json& value,
                   ConfigReader* reader) {
  for (const auto& [task, name] : value.items()) {
    const bool of_text = task.rfind("AutoTokenizer", 0) == 0 || task.ends_with("Processor");
    if (key == "auto_map" && of_text) continue;
    if (name.is_string() && is_own_class(family, name.get_ref<const std::string&>())) continue;
    reader->refuse(key + " names " + value_text(name) + ", which is not a class of model_type " +
                   quote(family.model_type) + ": heed computes its own attention alone");
  }
}

// As GPT-OSS, which quantizes only its experts.
bool spares_attention(const json& quantization) {
  if (!quantization.is_object()) return false;
  const auto it = quantization.find("modules_to_not_convert");
  return it != quantization.end() && it->is_array() &&
         std::find(it->begin(), it->end(), "model.layers.*.self_attn") != it->end();
}

// True when `key` was judged here.
bool judge(const Family& family, const std::string& key, const json& value, ConfigReader* reader) {
  if (value.is_null() || means_nothing(key)) return true;
  if (key == "architectures" || key == "auto_map") {
    check_classes(family, key, value, reader);
    return true;
  }
  if (key == "quantization_config" || key == "quantization") {
    if (!spares_attention(value)) {
      reader->refuse(quote(key) + " is " + value_text(value) +
                     ", and heed computes attention only where it spares the weights of attention");
    }
    return true;
  }
  const auto* only = std::find_if(std::begin(kOnlyAs), std::end(kOnlyAs),
                                  [&name = key](const auto& row) { return row.key == name; });
  if (only == std::end(kOnlyAs)) return false;
  if (value != json::parse(only->value)) {
    reader->refuse(quote(key) + " is " + value_text(value) + ", and heed computes only " +
                   only->value + " for model_type " + quote(family.model_type));
  }
  return true;
}

}  // namespace

void refuse_unknown(const json& config, const Family& family, ConfigReader* reader) {
  for (const auto& [key, value] : config.items()) {
    if (is_read(family, key) || judge(family, key, value, reader)) continue;
    reader->refuse(quote(key) + " is " + value_text(value) +
                   ", and heed does not know what that means to the attention of model_type " +
                   quote(family.model_type) +
                   "; if it means nothing, use a copy of the file without it");
  }
}

void refuse_unknown_around(const json& config, const Family& family, ConfigReader* reader) {
  for (const auto& [key, value] : config.items()) {
    if (lists(kReadAround, key) || judge(family, key, value, reader)) continue;
    reader->refuse(quote(key) + " is " + value_text(value) +
                   " beside text_config, which alone says what attention computes");
  }
}

}  // namespace heed::tools
