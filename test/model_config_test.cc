// config.json: what is read of it, and what is refused rather than ignored.
#include "tools/checkpoint/model_config.h"

#include <doctest/doctest.h>

#include <string>

#include "test/support/model_files.h"

namespace heed::test {
namespace {

using tools::LayerConfig;

std::string Refusal(const std::string& config, size_t layer = 0) {
  const Result<LayerConfig> result = tools::parse_layer_config(config, layer, "config");
  return result.ok() ? "accepted" : result.status().message();
}

TEST_CASE("a configuration gives heads, RoPE, biases and scale") {
  const LayerConfig llama = Configured(With(LlamaConfig(), {{"partial_rotary_factor", 0.5}}));
  CHECK(llama.attention.d_in == 24);
  CHECK(llama.attention.num_heads == 4);
  CHECK(llama.attention.num_kv_heads == 2);
  CHECK(llama.attention.head_dim == 8);
  CHECK(llama.attention.causal);
  CHECK_FALSE(llama.attention.scale.has_value());
  CHECK(llama.attention.rope->theta == 500.0);
  CHECK(llama.attention.rope->rope_dim == 4);
  CHECK_FALSE(llama.attention.rope->interleaved);
  CHECK_FALSE(llama.qkv_bias);

  const json no_head_dim = {{"head_dim", nullptr}, {"num_key_value_heads", nullptr}};
  CHECK(Configured(With(LlamaConfig(), no_head_dim)).attention.head_dim == 6);
  CHECK(Configured(With(LlamaConfig(), no_head_dim)).attention.num_kv_heads == 4);
  CHECK(Configured(With(LlamaConfig(), {{"attention_bias", true}})).out_bias);
  const json parameters = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  CHECK(Configured(With(LlamaConfig(), {{"rope_parameters", parameters}})).attention.rope->theta ==
        500.0);

  const json qwen2 = {{"model_type", "qwen2"},
                      {"use_sliding_window", false},
                      {"sliding_window", 4096},
                      {"attention_bias", nullptr}};
  CHECK(Configured(With(LlamaConfig(), qwen2)).qkv_bias);
  CHECK_FALSE(Configured(With(LlamaConfig(), qwen2)).out_bias);
  const json mixed = {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}},
                      {"sliding_window", 8}};
  CHECK(Configured(With(LlamaConfig(), mixed), 2).attention.causal);

  CHECK(Configured(Gpt2Config()).attention.head_dim == 8);
  CHECK_FALSE(Configured(Gpt2Config()).attention.rope.has_value());
  CHECK(Configured(Gpt2Config()).out_bias);
  const json by_layer = {{"scale_attn_weights", false}, {"scale_attn_by_inverse_layer_idx", true}};
  CHECK(Configured(With(Gpt2Config(), by_layer), 1).attention.scale == 0.5f);
}

TEST_CASE("Llama: RoPE scaled by both forms of the settings") {
  const json old_form = {{"type", "linear"}, {"factor", 4.0}};
  RopeScaling scaling =
      Configured(With(LlamaConfig(), {{"rope_scaling", old_form}})).attention.rope->scaling;
  CHECK(scaling.type == RopeScalingType::kLinear);
  CHECK(scaling.factor == 4.0);
  const json llama31 = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  scaling = Configured(With(LlamaConfig(), {{"rope_scaling", llama31}})).attention.rope->scaling;
  CHECK(scaling.type == RopeScalingType::kLlama3);
  CHECK(scaling.factor == 8.0);
  CHECK(scaling.low_freq_factor == 1.0);
  CHECK(scaling.high_freq_factor == 4.0);
  CHECK(scaling.original_max_position_embeddings == 8192);
  const json yarn = {{"rope_type", "yarn"}, {"rope_theta", 1e6},  {"factor", 4.0},
                     {"mscale", 1.0},       {"beta_fast", 16.0},  {"attention_factor", 1.5},
                     {"truncate", false},   {"mscale_all_dim", 2}};
  const json newer = {{"rope_parameters", yarn}, {"rope_theta", nullptr}};
  const RopeOptions rope = *Configured(With(LlamaConfig(), newer)).attention.rope;
  CHECK(rope.theta == 1e6);
  CHECK(rope.scaling.type == RopeScalingType::kYarn);
  CHECK(rope.scaling.original_max_position_embeddings == 64);  // max_position_embeddings
  CHECK(rope.scaling.beta_fast == 16.0);
  CHECK(rope.scaling.beta_slow == 1.0);
  CHECK(rope.scaling.attention_factor == 1.5);
  CHECK(rope.scaling.mscale == 1.0);
  CHECK(rope.scaling.mscale_all_dim == 2.0);
  CHECK_FALSE(rope.scaling.truncate);
  const json beside = With(newer, {{"original_max_position_embeddings", 32}});
  scaling = Configured(With(LlamaConfig(), beside)).attention.rope->scaling;
  CHECK(scaling.original_max_position_embeddings == 32);
}

TEST_CASE("Mistral, Phi-3 and Qwen: windows by the rules of each family") {
  const auto window = [](const json& changes, size_t layer) {
    return Configured(With(LlamaConfig(), changes), layer).attention.window;
  };
  CHECK(window({{"model_type", "mistral"}, {"sliding_window", 8}}, 1) == 8);
  CHECK(window({{"model_type", "mistral"}}, 1) == 0);  // null
  json absent = With(LlamaConfig(), {{"model_type", "mistral"}});
  absent.erase("sliding_window");
  CHECK(Configured(absent).attention.window == 4096);
  CHECK(window({{"model_type", "phi3"}, {"sliding_window", 2047}}, 0) == 2047);
  json qwen = {{"model_type", "qwen3"}, {"sliding_window", 8}, {"max_window_layers", 1}};
  CHECK(window(qwen, 2) == 0);
  qwen["use_sliding_window"] = true;
  CHECK(window(qwen, 0) == 0);
  CHECK(window(qwen, 1) == 8);
  qwen["layer_types"] = {"sliding_attention", "full_attention", "full_attention"};
  CHECK(window(qwen, 0) == 8);
  CHECK(window(qwen, 1) == 0);
}

TEST_CASE("Qwen3 has norms of queries and keys, and biases as configured") {
  const LayerConfig qwen3 =
      Configured(With(LlamaConfig(), {{"model_type", "qwen3"}, {"rms_norm_eps", 1e-5}}));
  CHECK(qwen3.qk_norm);
  CHECK_FALSE(qwen3.qkv_bias);
  CHECK(qwen3.attention.norm_eps == 1e-5f);
  CHECK(qwen3.attention.norm_weight_offset == 0.0f);
  CHECK_FALSE(Configured(LlamaConfig()).qk_norm);
}

TEST_CASE("Gemma 2: soft cap, own scale, a window in every other layer") {
  const json config = {{"model_type", "gemma2"},
                       {"hidden_size", 36},
                       {"num_attention_heads", 4},
                       {"num_key_value_heads", 2},
                       {"head_dim", 16},
                       {"num_hidden_layers", 4},
                       {"query_pre_attn_scalar", 64},
                       {"attn_logit_softcapping", 30.0},
                       {"final_logit_softcapping", 30.0},
                       {"sliding_window", 8},
                       {"sliding_window_size", 8},
                       {"rms_norm_eps", 1e-6}};
  const LayerConfig local = Configured(config, 0), global = Configured(config, 1);
  CHECK(local.attention.window == 8);
  CHECK(global.attention.window == 0);
  CHECK(local.attention.scale == 0.125f);
  CHECK(local.attention.logits_soft_cap == 30.0f);
  CHECK(local.attention.head_dim == 16);
  CHECK_FALSE(local.qk_norm);
  json sparse = config;
  for (const char* key : {"attn_logit_softcapping", "query_pre_attn_scalar", "head_dim"}) {
    sparse.erase(key);
  }
  CHECK(Configured(sparse).attention.logits_soft_cap == 50.0f);
  CHECK(Configured(sparse).attention.scale == 0.0625f);
  CHECK(Configured(sparse).attention.head_dim == 256);
  const json uncapped = {{"attn_logit_softcapping", nullptr}};
  CHECK(Configured(With(config, uncapped)).attention.logits_soft_cap == 0.0f);
}

TEST_CASE("Gemma 3: local and global layers have their own RoPE, and files leave defaults out") {
  const json text = {{"model_type", "gemma3_text"},
                     {"hidden_size", 36},
                     {"num_hidden_layers", 12},
                     {"sliding_window", 8},
                     {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}}};
  const json seeing = {{"model_type", "gemma3"}, {"text_config", text}};
  for (const json& config : {text, seeing}) {
    const LayerConfig local = Configured(config, 4), global = Configured(config, 5);
    CHECK(local.qk_norm);
    CHECK(local.attention.norm_weight_offset == 1.0f);
    CHECK(local.attention.num_heads == 8);
    CHECK(local.attention.num_kv_heads == 4);
    CHECK(local.attention.head_dim == 256);
    CHECK(local.attention.scale == 0.0625f);
    CHECK(local.attention.window == 8);
    CHECK(local.attention.rope->theta == 10000.0);
    CHECK(local.attention.rope->scaling.type == RopeScalingType::kNone);
    CHECK(global.attention.window == 0);
    CHECK(global.attention.rope->theta == 1e6);
    CHECK(global.attention.rope->scaling.type == RopeScalingType::kLinear);
    CHECK(global.attention.logits_soft_cap == 0.0f);
  }
  const json pattern = {{"sliding_window_pattern", 2}, {"rope_local_base_freq", 5000.0}};
  CHECK(Configured(With(text, pattern), 1).attention.window == 0);
  CHECK(Configured(With(text, pattern), 2).attention.rope->theta == 5000.0);
  const json listed = {{"layer_types", {"full_attention", "sliding_attention"}}};
  CHECK(Configured(With(text, listed), 0).attention.window == 0);
  const json parts = {{"full_attention", {{"rope_type", "default"}, {"rope_theta", 7e5}}},
                      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 3e4}}}};
  CHECK(Configured(With(text, {{"rope_parameters", parts}}), 0).attention.rope->theta == 3e4);
  CHECK(Configured(With(text, {{"rope_parameters", parts}}), 5).attention.rope->theta == 7e5);
}

TEST_CASE("Gemma 3: what rope_parameters leaves out is as transformers 5 fills it in") {
  const auto rope = [](const json& changes, size_t layer) {
    return *Configured(With(With(Gemma3Config(), {{"rope_scaling", nullptr}}), changes), layer)
                .attention.rope;
  };
  const json typed = {{"rope_type", "default"}};
  const json parts = {{"full_attention", typed}, {"sliding_attention", typed}};
  const json seven = {{"rope_theta", 7e5}};
  for (const json& parameters : {parts, json::object(), json{{"full_attention", nullptr}}}) {
    INFO(parameters.dump());
    const json given = With({{"rope_parameters", parameters}}, seven);
    CHECK(rope(given, 0).theta == 10000.0);  // not rope_theta, which is the other layers'
    CHECK(rope(With(given, {{"rope_local_base_freq", 5000.0}}), 0).theta == 5000.0);
    CHECK(rope(given, 1).theta == 7e5);
    CHECK(rope(With(given, {{"rope_theta", nullptr}}), 1).theta == 1e6);
    const json scaled = With(given, {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
    CHECK(rope(scaled, 0).scaling.type == RopeScalingType::kNone);
    CHECK(rope(scaled, 1).scaling.type == RopeScalingType::kLinear);
    CHECK(rope(scaled, 1).scaling.factor == 8.0);
    CHECK(rope(scaled, 1).theta == 7e5);
  }
  const json own = {{"sliding_attention", {{"rope_theta", 3e4}}}};
  CHECK(rope({{"rope_parameters", own}, {"rope_theta", 7e5}}, 0).theta == 3e4);
}

TEST_CASE("decoders used as encoders have no causal mask") {
  for (const json& config : {LlamaConfig(), Gpt2Config()}) {
    CHECK(Configured(With(config, {{"is_causal", true}})).attention.causal);
    CHECK(Configured(With(config, {{"is_decoder", false}})).attention.causal);
    CHECK_FALSE(Configured(With(config, {{"is_causal", false}})).attention.causal);
  }
  const json both = {{"use_bidirectional_attention", true}};
  const LayerConfig global = Configured(With(Gemma3Config(), both), 1);
  CHECK_FALSE(global.attention.causal);
  CHECK(global.attention.window == 0);
  const json off = {{"use_bidirectional_attention", false}};
  CHECK(Configured(With(Gemma3Config(), off), 1).attention.causal);
  CHECK(Configured(With(LlamaConfig(), off)).attention.causal);
}

// Configurations with the keys of published models of each family, of old and new programs.
TEST_CASE("what published models say beside attention does not matter") {
  const json common = {{"_name_or_path", "x"},      {"attention_dropout", 0.0},
                       {"bos_token_id", 1},         {"dtype", "bfloat16"},
                       {"eos_token_id", {1, 2}},    {"hidden_act", "silu"},
                       {"initializer_range", 0.02}, {"intermediate_size", 64},
                       {"mlp_bias", false},         {"pad_token_id", nullptr},
                       {"pretraining_tp", 1},       {"tie_word_embeddings", false},
                       {"use_cache", true},         {"transformers_version", "5.2.0"},
                       {"vocab_size", 320},         {"rms_norm_eps", 1e-5}};
  const json dumped = {{"add_cross_attention", false},
                       {"bad_words_ids", nullptr},
                       {"chunk_size_feed_forward", 0},
                       {"cross_attention_hidden_size", nullptr},
                       {"diversity_penalty", 0.0},
                       {"do_sample", false},
                       {"early_stopping", false},
                       {"id2label", {{"0", "LABEL_0"}}},
                       {"is_decoder", false},
                       {"is_encoder_decoder", false},
                       {"length_penalty", 1.0},
                       {"max_length", 20},
                       {"num_beams", 1},
                       {"output_attentions", false},
                       {"output_hidden_states", false},
                       {"pruned_heads", json::object()},
                       {"return_dict", true},
                       {"temperature", 1.0},
                       {"tf_legacy_loss", false},
                       {"top_k", 50},
                       {"torchscript", false},
                       {"use_bfloat16", false}};
  const json gpt2 = {{"activation_function", "gelu_new"},
                     {"architectures", {"GPT2LMHeadModel"}},
                     {"embd_pdrop", 0.1},
                     {"layer_norm_epsilon", 1e-5},
                     {"n_ctx", 64},
                     {"n_inner", nullptr},
                     {"n_special", 0},
                     {"predict_special_tokens", true},
                     {"reorder_and_upcast_attn", false},
                     {"resid_pdrop", 0.1},
                     {"scale_attn_by_inverse_layer_idx", false},
                     {"scale_attn_weights", true},
                     {"summary_first_dropout", 0.1},
                     {"summary_proj_to_labels", true},
                     {"summary_type", "cls_index"},
                     {"summary_use_proj", true},
                     {"task_specific_params", {{"text-generation", {{"max_length", 50}}}}}};
  const json llama = {{"architectures", {"LLaMAForCausalLM"}},
                      {"is_llama_config", true},
                      {"max_sequence_length", 2048},
                      {"rope_interleaved", false},
                      {"use_sliding_window", false}};
  const json phi3 = {{"architectures", {"Phi3ForCausalLM"}},
                     {"auto_map",
                      {{"AutoConfig", "configuration_phi3.Phi3Config"},
                       {"AutoModelForCausalLM", "modeling_phi3.Phi3ForCausalLM"},
                       {"AutoTokenizer", {"tokenization_x.OtherTokenizer", nullptr}}}},
                     {"embd_pdrop", 0.0},
                     {"original_max_position_embeddings", 64},
                     {"resid_pdrop", 0.0}};
  const json qwen2 = {{"architectures", {"Qwen2ForSequenceClassification"}},
                      {"attention_bias", nullptr},
                      {"max_window_layers", 28},
                      {"use_mrope", false},
                      {"use_sliding_window", false}};
  const json gemma2 = {{"architectures", {"Gemma2Model"}},
                       {"cache_implementation", "hybrid"},
                       {"final_logit_softcapping", 30.0},
                       {"hidden_activation", "gelu_pytorch_tanh"},
                       {"sliding_window_size", 3}};
  const json gemma3 = {{"architectures", {"Gemma3TextModel"}},
                       {"attn_logit_softcapping", nullptr},
                       {"final_logit_softcapping", nullptr},
                       {"use_bidirectional_attention", false}};
  const json gpt_oss = {{"architectures", {"GptOssForCausalLM"}},
                        {"experts_per_token", 4},
                        {"initial_context_length", 64},
                        {"num_experts_per_tok", 4},
                        {"num_local_experts", 32},
                        {"output_router_logits", false},
                        {"router_aux_loss_coef", 0.9},
                        {"swiglu_limit", 7.0}};
  const json configs[] = {With(Gpt2Config(), gpt2),
                          With(LlamaConfig(), llama),
                          With(FamilyConfig("mistral"), {{"architectures", {"MistralModel"}}}),
                          With(FamilyConfig("phi3"), phi3),
                          With(FamilyConfig("qwen2"), qwen2),
                          With(FamilyConfig("qwen3"), {{"architectures", {"Qwen3ForCausalLM"}}}),
                          With(Gemma2Config(), gemma2),
                          With(Gemma3Config(), gemma3),
                          With(GptOssConfig(), gpt_oss)};
  for (const json& config : configs) {
    INFO(config.dump());
    const json keys = config.contains("n_head") ? dumped : With(common, dumped);
    CHECK(Refusal(With(config, keys).dump()) == "accepted");
  }
  const json seeing = {{"model_type", "gemma3"},
                       {"architectures", {"Gemma3ForConditionalGeneration"}},
                       {"boi_token_index", 1},
                       {"eoi_token_index", 2},
                       {"image_token_index", 3},
                       {"initializer_range", 0.02},
                       {"mm_tokens_per_image", 256},
                       {"torch_dtype", "bfloat16"},
                       {"vision_config", {{"hidden_size", 16}, {"num_attention_heads", 2}}},
                       {"text_config", Gemma3Config()}};
  CHECK(Refusal(seeing.dump()) == "accepted");
}

TEST_CASE("GPT-OSS: sinks, biases everywhere, YaRN, a window in every other layer") {
  const json yarn = {{"beta_fast", 32.0},   {"beta_slow", 1.0},
                     {"factor", 32.0},      {"original_max_position_embeddings", 4096},
                     {"rope_type", "yarn"}, {"truncate", false}};
  const json kept = {"model.layers.*.self_attn", "model.layers.*.mlp.router"};
  const json config = {
      {"model_type", "gpt_oss"},
      {"hidden_size", 36},
      {"num_attention_heads", 4},
      {"num_key_value_heads", 2},
      {"head_dim", 16},
      {"num_hidden_layers", 2},
      {"attention_bias", true},
      {"sliding_window", 8},
      {"layer_types", {"sliding_attention", "full_attention"}},
      {"rope_theta", 150000},
      {"rope_scaling", yarn},
      {"max_position_embeddings", 131072},
      {"quantization_config", {{"quant_method", "mxfp4"}, {"modules_to_not_convert", kept}}}};
  const LayerConfig local = Configured(config, 0), global = Configured(config, 1);
  CHECK(local.sinks);
  CHECK(local.qkv_bias);
  CHECK(local.out_bias);
  CHECK(local.attention.window == 8);
  CHECK(global.attention.window == 0);
  for (const LayerConfig& layer : {local, global}) {
    CHECK(layer.attention.rope->theta == 150000.0);
    CHECK(layer.attention.rope->scaling.type == RopeScalingType::kYarn);
    CHECK(layer.attention.rope->scaling.factor == 32.0);
    CHECK_FALSE(layer.attention.rope->scaling.truncate);
    CHECK_FALSE(layer.attention.scale.has_value());
  }
}

TEST_CASE("what a configuration asks and heed does not compute is refused by name") {
  const auto scaled = [](const char* type) { return json{{"type", type}, {"factor", 2.0}}; };
  struct Case {
    json changes;
    const char* sentence;
  };
  const Case cases[] = {
      {{{"sliding_window", 4096}}, "sliding_window is 4096"},
      {{{"use_sliding_window", true}, {"sliding_window", 8}}, "sliding_window is 8"},
      {{{"layer_types", {"sliding_attention"}}}, "layer 0 is \"sliding_attention\""},
      {{{"layer_types", {"chunked_attention"}}}, "layer 0 is \"chunked_attention\""},
      {{{"layer_types", json::array()}}, "layer_types has no name for layer 0"},
      {{{"model_type", "mistral"}, {"layer_types", {"full_attention"}}, {"sliding_window", 4}},
       "layer 0 is \"full_attention\""},
      {{{"model_type", "phi3"}, {"use_sliding_window", false}, {"sliding_window", 4}},
       "use_sliding_window is not true"},
      {{{"model_type", "qwen3"}, {"layer_types", {"sliding_attention"}}, {"sliding_window", 4}},
       "use_sliding_window is not true"},
      {{{"model_type", "qwen3"}, {"use_sliding_window", true}, {"max_window_layers", 0}},
       "there is no sliding_window"},
      {{{"model_type", "gpt_oss"}, {"sliding_window", nullptr}}, "there is no sliding_window"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling: factor is missing"},
      {{{"rope_scaling", scaled("default")}}, "asks for 'factor' 2.0"},
      {{{"rope_scaling", scaled("dynamic")}}, "asks for 'type' \"dynamic\""},
      {{{"rope_scaling", scaled("longrope")}}, "asks for 'type' \"longrope\""},
      {{{"rope_scaling", scaled("llama3")}}, "original_max_position_embeddings is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2}, {"beta_fast", 3}}}},
       "asks for 'beta_fast' 3"},
      {{{"rope_scaling", {{"rope_type", "linear"}, {"factor", -2}}}}, "factor is -2"},
      {{{"rope_scaling",
         {{"type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 64}}},
        {"original_max_position_embeddings", 32}},
       "original_max_position_embeddings has two values"},
      {{{"rope_scaling", scaled("linear")}, {"rope_parameters", scaled("linear")}},
       "RoPE is scaled twice"},
      {{{"rope_parameters", {{"rope_type", "yarn"}}}}, "factor is missing"},
      {{{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}, "'full_attention'"},
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"rope_parameters", {{"rope_type", "default"}}}},
       "rope_parameters has 'rope_type'"},
      {{{"model_type", "gemma3_text"}, {"sliding_window", 4}, {"rope_parameters", 3}},
       "rope_parameters is 3, and must be an object"},
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"rope_parameters", {{"sliding_attention", 3}}}},
       "rope_parameters.sliding_attention is 3, and must be an object"},
      {{{"rope_parameters", {{"rope_theta", 7.0}}}}, "rope_theta has two values"},
      {{{"rope_scaling", 3}}, "rope_scaling is 3, and must be an object"},
      {{{"attn_logit_softcapping", 50.0}}, "'attn_logit_softcapping' is 50.0"},
      {{{"alibi", true}}, "'alibi' is true"},
      {{{"attention_sinks", 4}}, "'attention_sinks' is 4"},
      {{{"no_rope_layers", {1, 0}}}, "'no_rope_layers' is [1,0]"},
      {{{"use_qk_norm", true}}, "'use_qk_norm' is true"},
      {{{"add_cross_attention", true}}, "'add_cross_attention' is true"},
      {{{"quantization_config", {{"bits", 4}}}}, "'quantization_config'"},
      {{{"quantization_config", {{"modules_to_not_convert", {"lm_head"}}}}},
       "'quantization_config'"},
      {{{"query_pre_attn_scalar", 16}}, "'query_pre_attn_scalar' is 16"},
      {{{"rope_local_base_freq", 16}}, "'rope_local_base_freq' is 16"},
      {{{"quantization", {{"bits", 4}, {"group_size", 64}}}}, "'quantization' is "},
      {{{"use_bidirectional_attention", true}}, "'use_bidirectional_attention' is true"},
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"use_bidirectional_attention", "vision"}},
       "use_bidirectional_attention is \"vision\""},
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"use_bidirectional_attention", true}},
       "has a window of 4 and sees later tokens"},
      {{{"model_type", "mistral"}, {"sliding_window", 4}, {"is_causal", false}},
       "has a window of 4 and sees later tokens"},
      {{{"is_causal", 0}}, "is_causal is 0, and must be true or false"},
      {{{"model_type", "gemma2"}, {"sliding_window", 4}, {"sliding_window_size", 8}},
       "sliding_window_size is 8, and sliding_window is 4"},
      // What is false, 0 or empty may ask for as much as what is true.
      {{{"use_rope", false}}, "'use_rope' is false, and heed does not know"},
      {{{"causal", false}}, "'causal' is false"},
      {{{"attention_multiplier", 0}}, "'attention_multiplier' is 0"},
      {{{"position_embedding_type", ""}}, "'position_embedding_type' is \"\""},
      {{{"no_rope_layers", json::array()}}, "'no_rope_layers' is []"},
      {{{"per_layer_config", json::object()}}, "'per_layer_config' is {}"},
      {{{"is_encoder_decoder", true}},
       "'is_encoder_decoder' is true, and heed computes only false"},
      {{{"pruned_heads", {{"0", {1}}}}}, "'pruned_heads' is "},
      {{{"auto_map", {{"AutoModel", "modeling_x.LlamaBidirectionalModel"}}}},
       "auto_map names \"modeling_x.LlamaBidirectionalModel\""},
      {{{"auto_map", {{"AutoModelForCausalLM", "a/b--modeling_qwen.Qwen2ForCausalLM"}}}},
       "which is not a class of model_type 'llama'"},
      {{{"auto_map", {{"AutoModel", 3}}}}, "auto_map names 3"},
      {{{"architectures", {"LlamaForCausalLMEagle3"}}},
       "architectures names \"LlamaForCausalLMEagle3\""},
      {{{"model_type", "llama4"}}, "model_type 'llama4' is not one that heed computes"},
      {{{"model_type", nullptr}}, "model_type is missing"},
      {{{"model_type", "mistral"}, {"attention_bias", true}}, "attention_bias is true"},
      {{{"model_type", "qwen2"}}, "attention_bias is false"},
      {{{"model_type", "mistral"}, {"num_key_value_heads", nullptr}},
       "num_key_value_heads is miss"},
      {{{"hidden_size", nullptr}}, "hidden_size is missing"},
      {{{"hidden_size", 0}}, "hidden_size is 0"},
      {{{"hidden_size", -24}}, "hidden_size is -24"},
      {{{"hidden_size", "24"}}, "hidden_size is \"24\""},
      {{{"num_attention_heads", UINT64_MAX}}, "num_attention_heads is 18446744073709551615"},
      {{{"num_key_value_heads", 3}}, "not a multiple of num_key_value_heads 3"},
      {{{"num_attention_heads", 5}, {"head_dim", nullptr}},
       "not a multiple of num_attention_heads"},
      {{{"head_dim", 7}}, "RoPE would rotate 7 channels"},
      {{{"partial_rotary_factor", 1.5}}, "above 1"},
      {{{"partial_rotary_factor", 0.01}}, "RoPE would rotate 0 channels"},
      {{{"rope_theta", 0}}, "rope_theta is 0"},
      {{{"attention_bias", 1}}, "attention_bias is 1, and must be true or false"},
      {{{"scale_attn_weights", false}}, "'scale_attn_weights' is false"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.sentence);
    const std::string got = Refusal(With(LlamaConfig(), c.changes).dump());
    CHECK_MESSAGE(Contains(got, c.sentence), got);
  }
  CHECK(Contains(Refusal(LlamaConfig().dump(), 3), "there is no layer 3"));
  CHECK(Contains(Refusal(With(Gpt2Config(), {{"n_head", 5}}).dump()), "not a multiple of n_head"));
  CHECK(Contains(Refusal(With(Gpt2Config(), {{"rope_theta", 1.0}}).dump()), "'rope_theta' is 1.0"));
  const json llama_inside = {{"model_type", "gemma3"}, {"text_config", LlamaConfig()}};
  CHECK(Contains(Refusal(llama_inside.dump()), "must be 'gemma3_text'"));
  const json outside = {
      {"model_type", "gemma3"}, {"text_config", Gemma3Config()}, {"rope_theta", 1.0}};
  CHECK(Contains(Refusal(outside.dump()), "'rope_theta' is 1.0 beside text_config"));
  CHECK(Contains(Refusal("[]"), "not an object"));
  CHECK(Contains(Refusal("{"), "not valid JSON"));
  CHECK(Contains(Refusal(R"({"model_type":"llama","model_type":"gpt2"})"), "twice"));
}

}  // namespace
}  // namespace heed::test
