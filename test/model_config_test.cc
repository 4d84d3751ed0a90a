// config.json: what is read of it, and what is refused rather than ignored.
#include "tools/model_config.h"

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
  CHECK(Configured(With(LlamaConfig(), {{"query_pre_attn_scalar", 16}})).attention.scale == 0.25f);
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
      {{{"layer_types", json::array()}}, "layer_types has no name for layer 0"},
      {{{"rope_scaling", scaled("linear")}}, "rope_scaling asks for"},
      {{{"rope_scaling", scaled("default")}}, "rope_scaling asks for 'factor' 2.0"},
      {{{"rope_parameters", {{"rope_type", "yarn"}}}}, "'rope_type' \"yarn\""},
      {{{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}, "'full_attention'"},
      {{{"rope_parameters", {{"rope_theta", 7.0}}}}, "rope_theta has two values"},
      {{{"rope_scaling", 3}}, "rope_scaling is 3, and must be an object"},
      {{{"attn_logit_softcapping", 50.0}}, "'attn_logit_softcapping' is 50.0"},
      {{{"alibi", true}}, "'alibi' is true"},
      {{{"attention_sinks", 4}}, "'attention_sinks' is 4"},
      {{{"no_rope_layers", {1, 0}}}, "'no_rope_layers' is [1,0]"},
      {{{"use_qk_norm", true}}, "'use_qk_norm' is true"},
      {{{"add_cross_attention", true}}, "'add_cross_attention' is true"},
      {{{"quantization_config", {{"bits", 4}}}}, "'quantization_config'"},
      {{{"model_type", "gpt_oss"}}, "model_type 'gpt_oss' is not one that heed computes"},
      {{{"model_type", "qwen3"}}, "model_type 'qwen3'"},
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
