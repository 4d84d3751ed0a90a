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
      {{{"rope_scaling", scaled("linear")}, {"rope_parameters", scaled("linear")}},
       "RoPE is scaled twice"},
      {{{"rope_parameters", {{"rope_type", "yarn"}}}}, "factor is missing"},
      {{{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}, "'full_attention'"},
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"rope_parameters", {{"rope_type", "default"}}}},
       "rope_parameters has no sliding_attention"},
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
      {{{"model_type", "gemma3_text"},
        {"sliding_window", 4},
        {"use_bidirectional_attention", true}},
       "'use_bidirectional_attention' is true"},
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
      {{{"scale_attn_weights", false}}, "scale_attn_weights is only for 'gpt2'"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.sentence);
    const std::string got = Refusal(With(LlamaConfig(), c.changes).dump());
    CHECK_MESSAGE(Contains(got, c.sentence), got);
  }
  CHECK(Contains(Refusal(LlamaConfig().dump(), 3), "there is no layer 3"));
  CHECK(Contains(Refusal(With(Gpt2Config(), {{"n_head", 5}}).dump()), "not a multiple of n_head"));
  CHECK(Contains(Refusal(With(Gpt2Config(), {{"rope_theta", 1.0}}).dump()), "rope_theta is set"));
  CHECK(Contains(Refusal("[]"), "not an object"));
  CHECK(Contains(Refusal("{"), "not valid JSON"));
  CHECK(Contains(Refusal(R"({"model_type":"llama","model_type":"gpt2"})"), "twice"));
}

}  // namespace
}  // namespace heed::test
