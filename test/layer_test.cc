// MultiHeadAttention against the specification of a layer.
#include "test/support/layer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "test/support/compare.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

std::vector<LayerForm> Forms() {
  std::vector<LayerForm> forms;
  for (bool fused : {false, true}) {
    for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
      for (bool bias : {false, true}) {
        LayerForm form;
        form.fused = fused;
        form.layout = layout;
        form.bias = bias;
        form.weight_layout = bias ? Layout::kPadded : Layout::kContiguous;
        forms.push_back(form);
      }
    }
  }
  forms[1].rope = RopeOptions{};
  forms[2].rope = RopeOptions{8, 500.0, true};
  forms[3].num_kv_heads = 1;
  forms[4].v_head_dim = 9;
  forms[5].num_kv_heads = 2, forms[5].v_head_dim = 40, forms[5].rope = RopeOptions{6, 1e4, false};
  forms[6].has_output = false;
  forms[7].causal = false, forms[7].scale = 0.3f;
  return forms;
}

std::vector<LayerForm> NormForms() {
  LayerForm qwen3, gemma3, keys, wide;
  qwen3.q_norm = qwen3.k_norm = true;
  qwen3.num_kv_heads = 2;
  qwen3.rope = RopeOptions{};
  gemma3 = qwen3;
  gemma3.num_heads = 6, gemma3.num_kv_heads = 1, gemma3.head_dim = 34;
  gemma3.norm_weight_offset = 1.0f;
  gemma3.fused = true;
  gemma3.bias = true;
  keys.k_norm = true, keys.num_heads = 5, keys.dtype = DType::kBF16;
  keys.weight_layout = Layout::kScattered;
  wide.q_norm = true, wide.num_heads = 2, wide.head_dim = 300;  // longer than a chunk of a sum
  return {qwen3, gemma3, keys, wide};
}

std::vector<LayerForm> ScalingForms() {
  RopeScaling linear, llama3, yarn;
  linear.type = RopeScalingType::kLinear;
  llama3.type = RopeScalingType::kLlama3;
  yarn.type = RopeScalingType::kYarn;
  std::vector<LayerForm> forms;
  for (RopeScaling scaling : {linear, llama3, yarn}) {
    scaling.factor = 4.0;
    scaling.original_max_position_embeddings = 64;
    LayerForm form;
    form.head_dim = 32;
    form.rope = RopeOptions{.scaling = scaling};
    forms.push_back(form);
  }
  return forms;
}

std::vector<LayerForm> ScoreForms() {
  LayerForm mistral, gemma2, gpt_oss, alibi, streaming;
  mistral.window = 5;
  mistral.num_kv_heads = 2;
  mistral.rope = RopeOptions{};
  gemma2 = mistral;
  gemma2.logits_soft_cap = 1.5f;  // low enough to bend scores
  gemma2.scale = 0.5f;
  gpt_oss = ScalingForms()[2];
  gpt_oss.window = 6;
  gpt_oss.sinks = true;
  gpt_oss.bias = true;
  gpt_oss.dtype = DType::kBF16;
  alibi.alibi_slopes = true;
  streaming.window = 3;
  streaming.sink_tokens = 2;
  streaming.q_norm = streaming.k_norm = true;
  return {mistral, gemma2, gpt_oss, alibi, streaming};
}

TEST_CASE("a layer equals its specification bit for bit in every form of its weights") {
  for (const LayerForm& form : Forms()) {
    for (size_t batch : {size_t{1}, size_t{2}}) {
      for (size_t seq : {size_t{1}, size_t{19}}) {
        INFO(form << "; batch " << batch << ", seq " << seq);
        CHECK(LayerProblem(form, batch, seq).Fault() == "");
      }
    }
  }
}

TEST_CASE("a layer wider than a chunk of the sum and longer than a block of keys is no exception") {
  LayerForm form;
  form.d_in = Quick() ? 260 : 530;
  form.num_kv_heads = 2;
  form.head_dim = 34;
  form.v_head_dim = Quick() ? 40 : 80;
  form.d_out = 70;
  form.rope = RopeOptions{};
  form.bias = true;
  form.x_layout = Layout::kLastFirst;
  CHECK(LayerProblem(form, Quick() ? 1 : 2, 150).Fault() == "");
}

TEST_CASE("dropout in a layer is that of attention, by generator or mask") {
  LayerForm form;
  form.dropout = 0.25f;
  CHECK(LayerProblem(form, 2, 33).Fault() == "");
  form.dropout = 0.0f;
  form.mask = true;
  CHECK(LayerProblem(form, 2, 33).Fault() == "");
}

TEST_CASE("stored weights and biases of f16 and bf16 are widened exactly") {
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    for (bool fused : {false, true}) {
      LayerForm form;
      form.bias = true;
      form.fused = fused;
      form.dtype = dtype;
      INFO(form);
      CHECK(LayerProblem(form, 1, 9).Fault() == "");
    }
  }
}

TEST_CASE("a layer's cache gives the same bits for a sequence, its chunks and its tokens") {
  std::vector<LayerForm> forms = Forms();
  forms.push_back(NormForms()[0]);
  for (const LayerForm& form : ScoreForms()) forms.push_back(form);
  for (const LayerForm& form : forms) {
    if (!form.causal) continue;
    const size_t batch = 2, seq = Quick() ? 30 : 140;
    const LayerProblem p(form, batch, seq);
    const PerFamily<spec::LayerResult> want([&](Family family) { return p.Expected(family); });
    for (Runner& runner : Runners()) {
      for (size_t chunk : {seq, size_t{48}, size_t{1}}) {
        INFO(form << "; chunks of " << chunk << "; " << runner.name);
        CHECK(Difference(p.RunWithCache(chunk, *runner.context), want[runner.family].y) == "");
      }
    }
  }
}

TEST_CASE("a sequence gives the same bits in a batch and alone") {
  LayerForm form;
  form.rope = RopeOptions{};
  const LayerProblem p(form, 3, 25);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> together({3, 25, p.d_out()}), alone({3, 25, p.d_out()});
    REQUIRE(p.layer().forward(p.x.view(), together.mutable_view(), {}, *runner.context).ok());
    for (size_t b = 0; b < 3; ++b) {
      const TensorView x(&p.x[b * 25 * form.d_in], {25, form.d_in});
      const MutableTensorView y(&alone[b * 25 * p.d_out()], {25, p.d_out()});
      REQUIRE(p.layer().forward(x, y, {}, *runner.context).ok());
    }
    CHECK(Difference(alone.Dense(), together.Dense()) == "");
  }
}

TEST_CASE("positions are counted from the cache unless given, and given ones are used") {
  LayerForm form;
  form.rope = RopeOptions{};
  LayerProblem p(form, 2, 11);
  p.positions = {0, 5, 9, 9, 2, 1000000, 7, 8, 1, 30, 31, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  p.give_positions = true;
  CHECK(p.Fault() == "");
  const spec::LayerResult other = p.Expected(Families()[0]);
  p.positions = LayerProblem(form, 2, 11).positions;
  CHECK(p.Fault() == "");
  CHECK(Difference(other.y, p.Expected(Families()[0]).y) != "");
}

TEST_CASE("a layer reports its sizes, with defaults filled in") {
  const LayerProblem p(LayerForm{}, 1, 1);
  CHECK(p.layer().config().num_kv_heads == 4);
  CHECK(p.layer().config().v_head_dim == p.layer().config().head_dim);
  CHECK(p.layer().d_out() == p.d_out());
  CHECK(p.layer().bytes() > 0);
  const Result<KvCache> cache = p.layer().create_cache(3, 50);
  REQUIRE(cache.ok());
  CHECK(cache->config().batch == 3);
  CHECK(cache->config().num_kv_heads == 4);
  CHECK(cache->config().capacity >= 50);
}

TEST_CASE("windows, soft caps, sinks and ALiBi in a layer are those of attention") {
  for (const LayerForm& form : ScoreForms()) {
    for (size_t seq : {size_t{1}, size_t{19}}) {
      INFO(form << "; seq " << seq);
      CHECK(LayerProblem(form, 2, seq).Fault() == "");
    }
  }
}

TEST_CASE("padding is hidden, and does not move the queries before it") {
  for (bool causal : {false, true}) {
    LayerForm lens, mask;
    lens.causal = mask.causal = causal;
    lens.kv_lens = true;
    mask.key_mask = true;
    mask.sinks = true;
    for (const LayerForm& form : {lens, mask}) {
      INFO(form << "; causal " << causal);
      CHECK(LayerProblem(form, 3, 20).Fault() == "");
    }
  }
  LayerForm form;
  form.rope = RopeOptions{};
  form.window = 4;
  const LayerProblem p(form, 1, 12);
  const int32_t length = 7;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> padded({1, 12, p.d_out()}), alone({1, 7, p.d_out()});
    ForwardOptions options;
    options.kv_lens = TensorView(&length, {1});
    REQUIRE(p.layer().forward(p.x.view(), padded.mutable_view(), options, *runner.context).ok());
    REQUIRE(p.layer()
                .forward(p.x.view().slice(1, 0, 7), alone.mutable_view(), {}, *runner.context)
                .ok());
    std::vector<float> first = padded.Dense();
    first.resize(alone.size());
    CHECK(Difference(first, alone.Dense()) == "");
  }
}

TEST_CASE("a ring serves a layer with a window token by token, with the same bits") {
  LayerForm form;
  form.window = 5;
  form.sink_tokens = 2;
  form.rope = RopeOptions{};
  const size_t seq = 300;  // more than the ring holds
  const LayerProblem p(form, 1, seq);
  KvCacheConfig config = p.layer().create_cache(1, 8)->config();
  config.window = 5;
  config.sink_tokens = 2;
  const PerFamily<spec::LayerResult> want([&](Family family) { return p.Expected(family); });
  for (Runner& runner : Runners()) {
    if (!runner.first_of_target) continue;
    INFO(runner.name);
    Result<KvCache> ring = KvCache::create(config);
    REQUIRE(ring.ok());
    Tensor<float> y({1, seq, p.d_out()});
    for (size_t i = 0; i < seq; ++i) {
      REQUIRE(p.layer()
                  .forward(p.x.view().slice(1, i, i + 1), y.mutable_view().slice(1, i, i + 1),
                           *ring, *runner.context)
                  .ok());
    }
    CHECK(Difference(y.Dense(), want[runner.family].y) == "");
  }
}

TEST_CASE("norms of queries and keys, and scaled RoPE, equal the specification bit for bit") {
  for (const std::vector<LayerForm>& forms : {NormForms(), ScalingForms()}) {
    for (const LayerForm& form : forms) {
      for (size_t seq : {size_t{1}, size_t{19}}) {
        INFO(form << "; seq " << seq);
        CHECK(LayerProblem(form, 2, seq).Fault() == "");
      }
    }
  }
}

TEST_CASE("a layer in float64 by its definition agrees with the specification") {
  std::vector<LayerForm> forms(1);
  forms[0].bias = true;
  forms[0].causal = false;
  for (const std::vector<LayerForm>& more : {NormForms(), ScalingForms(), ScoreForms()}) {
    forms.insert(forms.end(), more.begin(), more.end());
  }
  for (const LayerForm& form : forms) {
    INFO(form);
    const LayerProblem p(form, 2, 40);
    const std::vector<double> want = p.Reference();
    for (Family family : Families()) {
      // Sums of 30 to 64 products of size 1 lose about 1e-6; the layer has three of them in a row.
      CHECK(WorstError(p.Expected(family).y, want) < 2e-5);
    }
  }
}

}  // namespace
}  // namespace heed::test
