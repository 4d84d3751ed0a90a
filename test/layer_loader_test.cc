// Attention layers out of checkpoints.
#include "tools/checkpoint/layer_loader.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "test/support/compare.h"
#include "test/support/layer_reference.h"
#include "test/support/model_files.h"

namespace heed::test {
namespace {

using tools::LayerConfig;

constexpr size_t kSeq = 5;
constexpr size_t kWidth = 24;

std::vector<float> Forward(const MultiHeadAttention& layer) {
  const Array x = RandomArray("x", {kSeq, kWidth});
  std::vector<float> y(kSeq * layer.d_out());
  Context context;
  const Status s =
      layer.forward(TensorView(x.values.data(), {kSeq, kWidth}),
                    MutableTensorView(y.data(), {kSeq, layer.d_out()}), ForwardOptions(), context);
  REQUIRE_MESSAGE(s.ok(), s.message());
  return y;
}

Result<MultiHeadAttention> Load(const std::string& path, const json& config, size_t layer) {
  Result<tools::Checkpoint> checkpoint = tools::Checkpoint::open(path);
  if (!checkpoint.ok()) return checkpoint.status();
  Context context;
  return tools::load_layer(*checkpoint, Configured(config, layer), layer, context);
}

TEST_CASE("a Llama-style layer is the library's layer of the same weights, however it is stored") {
  const Folder folder;
  const std::vector<Array> a = LlamaArrays("layers.1.self_attn.");
  const LayerConfig config = Configured(LlamaConfig());
  MultiHeadAttentionWeights weights;
  weights.q.weight = TensorView(a[0].values.data(), {32, 24});
  weights.k.weight = TensorView(a[1].values.data(), {16, 24});
  weights.v.weight = TensorView(a[2].values.data(), {16, 24});
  weights.out.weight = TensorView(a[3].values.data(), {24, 32});
  Context context;
  const auto direct = MultiHeadAttention::create(config.attention, weights, context);
  REQUIRE(direct.ok());
  const std::vector<float> want = Forward(*direct);

  Save(folder / "plain.safetensors", a);
  const auto plain = Load(folder / "plain.safetensors", LlamaConfig(), 1);
  REQUIRE_MESSAGE(plain.ok(), plain.status().message());
  CHECK(Difference(Forward(*plain), want) == "");

  std::vector<Array> fused = {{"model.layers.1.self_attn.qkv_proj.weight", {64, 24}, {}}, a[3]};
  fused[1].name = "model.layers.1.self_attn.o_proj.weight";
  for (size_t i = 0; i < 3; ++i) {
    fused[0].values.insert(fused[0].values.end(), a[i].values.begin(), a[i].values.end());
  }
  Save(folder / "one.safetensors", {fused[0]});
  Save(folder / "two.safetensors", {fused[1]});
  Write(
      folder / "model.safetensors.index.json",
      json{{"weight_map", {{fused[0].name, "one.safetensors"}, {fused[1].name, "two.safetensors"}}}}
          .dump());
  const auto sharded = Load(folder.path.string(), With(LlamaConfig(), {{"model_type", "phi3"}}), 1);
  REQUIRE_MESSAGE(sharded.ok(), sharded.status().message());
  CHECK(Difference(Forward(*sharded), want) == "");
}

TEST_CASE("a GPT-2-style layer is the library's fused layer of the same weights") {
  const Folder folder;
  const LayerConfig config = Configured(Gpt2Config());
  for (const char* prefix : {"h.0.attn.", "transformer.h.0.attn."}) {
    const std::vector<Array> a = Gpt2Arrays(prefix);
    MultiHeadAttentionWeights weights;
    weights.layout = WeightLayout::kInOut;
    weights.qkv = {TensorView(a[0].values.data(), {24, 72}), TensorView(a[1].values.data(), {72})};
    weights.out = {TensorView(a[2].values.data(), {24, 24}), TensorView(a[3].values.data(), {24})};
    Context context;
    const auto direct = MultiHeadAttention::create(config.attention, weights, context);
    REQUIRE(direct.ok());
    Save(folder / "model.safetensors", a);
    const auto loaded = Load(folder.path.string(), Gpt2Config(), 0);
    REQUIRE_MESSAGE(loaded.ok(), loaded.status().message());
    CHECK(Difference(Forward(*loaded), Forward(*direct)) == "");
  }
}

// The layer of arrays as float64 computes it: projections [out, in] by name, what `form` says.
std::vector<double> InDouble(spec::Layer form, const std::vector<Array>& arrays,
                             const std::string& prefix) {
  const auto find = [&](const std::string& name) {
    for (const Array& array : arrays) {
      if (array.name == prefix + name) return array;
    }
    return Array();
  };
  const auto linear = [&](const std::string& name, spec::Linear* map) {
    const Array weight = find(name + ".weight");
    map->out = weight.shape[0];
    map->in = weight.shape[1];
    map->weight.resize(weight.values.size());
    for (size_t i = 0; i < weight.values.size(); ++i) {
      map->weight[i % map->in * map->out + i / map->in] = weight.values[i];
    }
    map->bias = find(name + ".bias").values;
  };
  form.num_heads = 4;
  form.num_kv_heads = 2;
  form.head_dim = form.v_head_dim = 8;
  linear("q_proj", &form.q);
  linear("k_proj", &form.k);
  linear("v_proj", &form.v);
  linear("o_proj", &form.output);
  form.q_norm = find("q_norm.weight").values;
  form.k_norm = find("k_norm.weight").values;
  form.sinks = find("sinks").values;
  return LayerReference(form, RandomArray("x", {kSeq, kWidth}).values, 1, kSeq, {0, 1, 2, 3, 4});
}

TEST_CASE("layers of today's families are what float64 makes of their configuration by hand") {
  const std::string even = "model.layers.0.self_attn.", odd = "model.layers.1.self_attn.";
  spec::Layer gemma2, gemma3, global, gpt_oss, qwen3, encoder, seeing_all;
  qwen3.scale = gpt_oss.scale = 0.35355339f;
  gemma2.scale = gemma3.scale = 0.5f;
  gemma2.window = gemma3.window = gpt_oss.window = 3;
  gemma2.logits_soft_cap = 0.5f;
  qwen3.norm_eps = gemma3.norm_eps = 1e-6f;
  gemma3.norm_weight_offset = 1.0f;
  qwen3.rope = gemma2.rope = gpt_oss.rope = RopeOptions{.theta = 500.0};
  gemma3.rope = RopeOptions{.theta = 10000.0};
  gpt_oss.rope->scaling = {.type = RopeScalingType::kYarn,
                           .factor = 8.0,
                           .original_max_position_embeddings = 64,
                           .truncate = false};
  global = gemma3;
  global.window = 0;
  global.rope = RopeOptions{.theta = 500.0};
  global.rope->scaling = {.type = RopeScalingType::kLinear, .factor = 8.0};
  encoder = qwen3;
  seeing_all = global;
  encoder.causal = seeing_all.causal = false;
  const json is_encoder = {{"is_causal", false}};
  const json both_ways = {{"use_bidirectional_attention", true}};

  struct Case {
    json config;
    size_t layer;
    std::vector<Array> arrays;
    spec::Layer form;
  };
  const Case cases[] = {
      {FamilyConfig("qwen3"), 0, With(LlamaArrays(even), NormArrays(even)), qwen3},
      {Gemma2Config(), 0, LlamaArrays(even), gemma2},
      {Gemma3Config(), 0, With(LlamaArrays(even), NormArrays(even)), gemma3},
      {Gemma3Config(), 1, With(LlamaArrays(odd), NormArrays(odd)), global},
      {GptOssConfig(), 0, GptOssArrays(even), gpt_oss},
      {FamilyConfig("qwen3", is_encoder), 0, With(LlamaArrays(even), NormArrays(even)), encoder},
      {With(Gemma3Config(), both_ways), 1, With(LlamaArrays(odd), NormArrays(odd)), seeing_all},
  };
  const Folder folder;
  for (const Case& c : cases) {
    INFO(c.config.dump());
    std::vector<Array> file = c.arrays;  // beside tensors of other layers and kinds
    file.push_back(RandomArray("model.layers.2.self_attn.strange", {3}));
    file.push_back(RandomArray("model.layers.0.mlp.experts.down_proj", {2, 3, 2}));
    Save(folder / "model.safetensors", file);
    const auto layer = Load(folder.path.string(), c.config, c.layer);
    REQUIRE_MESSAGE(layer.ok(), layer.status().message());
    const std::string& prefix = c.layer == 0 ? even : odd;
    CHECK(WorstError(Forward(*layer), InDouble(c.form, c.arrays, prefix)) < 1e-5);
  }
}

TEST_CASE("weights that are missing, wrong or not computed are refused by name") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  const std::string prefix = "model.layers.0.self_attn.";
  const auto refusal = [&](const std::vector<Array>& arrays, const json& changes = json::object()) {
    Save(path, arrays);
    const auto layer = Load(path, With(LlamaConfig(), changes), 0);
    return layer.ok() ? std::string("accepted") : std::string(layer.status().message());
  };
  const auto plus = [&](std::vector<Array> arrays, const char* name, std::vector<uint64_t> shape) {
    arrays.push_back(RandomArray(prefix + name, shape));
    return arrays;
  };
  const std::vector<Array> good = LlamaArrays(prefix);
  CHECK(refusal(good) == "accepted");
  CHECK(refusal(plus(good, "rotary_emb.inv_freq", {4})) == "accepted");

  CHECK(Contains(refusal({good[0], good[1], good[2]}), "no tensor '" + prefix + "o_proj.weight'"));
  CHECK(Contains(refusal(plus(good, "q_norm.weight", {8})), "no such part"));
  CHECK(Contains(refusal(plus(good, "sinks", {4})), "no such part"));
  CHECK(Contains(refusal(plus(good, "g_proj.weight", {8})), "g_proj.weight' belongs"));
  CHECK(Contains(refusal(good, {{"model_type", "qwen3"}}), "no tensor '" + prefix + "q_norm"));
  CHECK(Contains(
      refusal(good, {{"model_type", "gpt_oss"}, {"attention_bias", false}, {"sliding_window", 4}}),
      "no tensor '" + prefix + "sinks"));
  CHECK(Contains(refusal(plus(good, "q_proj.bias", {32})), "no such bias"));
  CHECK(
      Contains(refusal(good, {{"attention_bias", true}}), "no tensor '" + prefix + "q_proj.bias"));
  CHECK(Contains(refusal(plus(good, "qkv_proj.weight", {64, 24})), "both a fused qkv_proj"));
  CHECK(Contains(refusal(good, {{"num_key_value_heads", 4}}),
                 "is [16, 24], and the configuration needs [32, 24]"));
  CHECK(Contains(refusal(LlamaArrays("model.layers.1.self_attn.")), "no attention of layer 0"));
  std::vector<Array> twice = good;
  for (const Array& array : LlamaArrays("layers.0.self_attn.")) twice.push_back(array);
  CHECK(Contains(refusal(twice), "there twice"));
}

TEST_CASE("a directory that holds two models, or none, is refused by the names of its files") {
  const Folder folder;
  const std::vector<Array> arrays = LlamaArrays("layers.0.self_attn.");
  const auto refusal = [&] {
    const auto checkpoint = tools::Checkpoint::open(folder.path.string());
    return checkpoint.ok() ? std::string("accepted") : std::string(checkpoint.status().message());
  };
  const auto index = [&](const char* file) {
    json map;
    for (const Array& array : arrays) map[array.name] = file;
    Write(folder / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
  };
  CHECK(Contains(refusal(), "neither model.safetensors nor model.safetensors.index.json"));
  Write(folder / "pytorch_model.bin", "x");
  CHECK(Contains(refusal(), "only pytorch_model.bin, a checkpoint of pickles"));
  Save(folder / "shard.safetensors", arrays);
  index("shard.safetensors");
  CHECK(refusal() == "accepted");
  Save(folder / "model.safetensors", arrays);
  CHECK(Contains(refusal(), "both model.safetensors and model.safetensors.index.json"));
  CHECK(tools::Checkpoint::open(folder / "model.safetensors").ok());
  CHECK(tools::Checkpoint::open(folder / "model.safetensors.index.json").ok());
  index("model.safetensors");
  CHECK(refusal() == "accepted");
}

TEST_CASE("an index of shards can name only files beside it that hold what it says") {
  const Folder folder;
  const std::string index = folder / "model.safetensors.index.json";
  Save(folder / "shard.safetensors", LlamaArrays("layers.0.self_attn."));
  const auto refusal = [&](const json& content) {
    Write(index, content.dump());
    const auto layer = Load(index, LlamaConfig(), 0);
    return layer.ok() ? std::string("accepted") : std::string(layer.status().message());
  };
  const auto map = [](const std::string& file) {
    json weights;
    for (const Array& array : LlamaArrays("layers.0.self_attn.")) weights[array.name] = file;
    return json{{"weight_map", weights}};
  };
  CHECK(refusal(map("shard.safetensors")) == "accepted");
  CHECK(Contains(refusal(map("../shard.safetensors")), "not the name of a file beside it"));
  CHECK(Contains(refusal(map("..")), "not the name of a file beside it"));
  CHECK(Contains(refusal(map("none.safetensors")), "cannot open"));
  CHECK(Contains(refusal({{"weight_map", 3}}), "has no object weight_map"));
  CHECK(Contains(refusal({{"weight_map", {{"a", 3}}}}), "not the name of a file"));
  json more = map("shard.safetensors");
  more["weight_map"]["layers.0.self_attn.inv"] = "shard.safetensors";
  CHECK(Contains(refusal(more), "belongs to this attention"));
  json missing = map("shard.safetensors");
  Save(folder / "shard.safetensors", {});
  CHECK(Contains(refusal(missing), "there is no tensor"));
}

}  // namespace
}  // namespace heed::test
