// Made-up models on disk, for the tests of the tools.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/checkpoint/model_config.h"
#include "tools/checkpoint/safetensors.h"
#include "tools/conformance/random.h"

namespace heed::test {

using nlohmann::json;
namespace fs = std::filesystem;

// A folder that goes with the test.
struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "heed-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path path;
  std::string operator/(const char* name) const { return (path / name).string(); }
};

inline void Write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A model of width 24: 4 heads of 8 on 2 kv heads, 3 layers.
inline json LlamaConfig() {
  return {{"model_type", "llama"},
          {"hidden_size", 24},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"num_hidden_layers", 3},
          {"rope_theta", 500.0},
          {"rope_scaling", nullptr},
          {"attention_bias", false},
          {"attention_dropout", 0.1},
          {"sliding_window", nullptr},
          {"torch_dtype", "float32"},
          {"max_position_embeddings", 64}};
}

// Width 24, 3 heads, 2 layers.
inline json Gpt2Config() {
  return {{"model_type", "gpt2"}, {"n_embd", 24},      {"n_head", 3},
          {"n_layer", 2},         {"n_positions", 64}, {"attn_pdrop", 0.1}};
}

// `config` with some settings replaced or added.
inline json With(json config, const json& changes) {
  config.update(changes);
  return config;
}

inline tools::LayerConfig Configured(const json& config, size_t layer = 0) {
  const Result<tools::LayerConfig> result =
      tools::parse_layer_config(config.dump(), layer, "config");
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  return *result;
}

struct Array {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

inline Array RandomArray(const std::string& name, const std::vector<uint64_t>& shape) {
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  Array array{name, shape, std::vector<float>(count)};
  uint64_t seed = 0;
  for (const char c : name) seed = seed * 31 + static_cast<unsigned char>(c);
  Random random(seed);
  for (float& value : array.values) value = 0.3f * random.Normal();
  return array;
}

inline void Save(const std::string& path, const std::vector<Array>& arrays) {
  std::vector<tools::NamedArray> named;
  for (const Array& a : arrays) named.push_back({a.name, a.shape, a.values.data()});
  const Status s = tools::save_safetensors(path, named);
  REQUIRE_MESSAGE(s.ok(), s.message());
}

// The weights of one layer of LlamaConfig().
inline std::vector<Array> LlamaArrays(const std::string& prefix) {
  return {RandomArray(prefix + "q_proj.weight", {32, 24}),
          RandomArray(prefix + "k_proj.weight", {16, 24}),
          RandomArray(prefix + "v_proj.weight", {16, 24}),
          RandomArray(prefix + "o_proj.weight", {24, 32})};
}

// A layer of width 24 with 4 heads of 8 on 2 kv heads, of a family with windows of 3 tokens in some
// layers.
inline json FamilyConfig(const std::string& model_type, const json& changes = json::object()) {
  return With(With(LlamaConfig(), {{"model_type", model_type}, {"sliding_window", 3}}), changes);
}

inline json GptOssConfig() {
  const json yarn = {{"rope_type", "yarn"},
                     {"factor", 8.0},
                     {"truncate", false},
                     {"original_max_position_embeddings", 64}};
  return FamilyConfig("gpt_oss", {{"attention_bias", true}, {"rope_scaling", yarn}});
}

inline json Gemma2Config() {
  return FamilyConfig("gemma2", {{"query_pre_attn_scalar", 4}, {"attn_logit_softcapping", 0.5}});
}

inline json Gemma3Config() {
  return FamilyConfig("gemma3_text", {{"query_pre_attn_scalar", 4},
                                      {"sliding_window_pattern", 2},
                                      {"rope_scaling", {{"type", "linear"}, {"factor", 8.0}}}});
}

inline std::vector<Array> With(std::vector<Array> arrays, const std::vector<Array>& more) {
  arrays.insert(arrays.end(), more.begin(), more.end());
  return arrays;
}

inline std::vector<Array> NormArrays(const std::string& prefix) {
  return {RandomArray(prefix + "q_norm.weight", {8}), RandomArray(prefix + "k_norm.weight", {8})};
}

inline std::vector<Array> GptOssArrays(const std::string& prefix) {
  return With(LlamaArrays(prefix),
              {RandomArray(prefix + "q_proj.bias", {32}), RandomArray(prefix + "k_proj.bias", {16}),
               RandomArray(prefix + "v_proj.bias", {16}), RandomArray(prefix + "o_proj.bias", {24}),
               RandomArray(prefix + "sinks", {4})});
}

inline std::vector<Array> Gpt2Arrays(const std::string& prefix) {
  return {RandomArray(prefix + "c_attn.weight", {24, 72}),
          RandomArray(prefix + "c_attn.bias", {72}),
          RandomArray(prefix + "c_proj.weight", {24, 24}),
          RandomArray(prefix + "c_proj.bias", {24}), RandomArray(prefix + "bias", {1, 1, 4, 4})};
}

}  // namespace heed::test
