// What 8-bit keys lose when queries stay in f32, beside what is lost when queries are rounded to 8
// bits too, as other libraries do so that they can multiply integers. On the queries, keys and
// values that tiny-lm computes from its validation text.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "examples/tiny-lm/model.h"
#include "heed/quantize.hpp"
#include "test/support/placements.h"
#include "tools/checkpoint/safetensors.h"
#include "tools/conformance/tensor.h"
#include "tools/file.h"

namespace heed::test {
namespace {

constexpr size_t kTokens = 512;

struct Heads {
  Tensor<float> q, k, v;
};

// What layer `layer` attends to.
Heads HeadsOf(const tiny_lm::Model& model, const tools::Safetensors& file, size_t layer,
              const std::vector<int32_t>& tokens, Context& context) {
  auto session = model.start_session();
  REQUIRE(session.ok());
  std::vector<float> logits;
  tiny_lm::Trace trace;
  trace.layer = layer;
  RequireOk(model.forward(tokens, *session, logits, &trace, context));
  const tiny_lm::Config& config = model.config();
  const TensorView x(trace.in.data(), {tokens.size(), config.hidden_size});
  std::vector<int32_t> positions(tokens.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  const auto project = [&](const char* name, size_t heads, bool turned) {
    const auto weight = file.read_f32("model.layers." + std::to_string(layer) + ".self_attn." +
                                      name + "_proj.weight");
    REQUIRE(weight.ok());
    Tensor<float> y({1, tokens.size(), heads, config.head_dim});
    const size_t out = heads * config.head_dim;
    const TensorView w(weight->data(), {out, config.hidden_size});
    float* data = &y[0];
    RequireOk(
        matmul(x, w.transpose(0, 1), MutableTensorView(data, {tokens.size(), out}), {}, context));
    RopeOptions options;
    options.theta = config.rope_theta;
    if (turned) {
      const TensorView at(positions.data(), {positions.size()});
      RequireOk(rope(y.view(), at, y.mutable_view(), options, context));
    }
    return y;
  };
  return {project("q", config.num_attention_heads, true),
          project("k", config.num_key_value_heads, true),
          project("v", config.num_key_value_heads, false)};
}

// Each row of the last dimension in 8 bits, and back.
Tensor<float> Rounded(const Tensor<float>& x, Context& context) {
  std::vector<size_t> of_scales = x.shape();
  of_scales.back() = 1;
  Tensor<float> scales(of_scales), y(x.shape());
  std::vector<int8_t> codes(x.size());
  const MutableTensorView code(codes.data(), DType::kInt8, x.shape().data(), x.shape().size());
  RequireOk(quantize(x.view(), DType::kInt8, 0, code, scales.mutable_view(), {}, context).status());
  RequireOk(dequantize(code, scales.view(), 0, y.mutable_view(), context));
  return y;
}

std::vector<float> Attended(const Tensor<float>& q, const Tensor<float>& k, const Tensor<float>& v,
                            Context& context) {
  AttentionOptions options;
  options.causal = true;
  Tensor<float> out(q.shape());
  RequireOk(attention(q.view(), k.view(), v.view(), out.mutable_view(), options, context));
  return out.Dense();
}

// Sums of squares of what 8-bit keys change alone, and together with 8-bit queries.
struct Loss {
  double keys = 0.0, both = 0.0;
  void Add(double of_keys, double of_both) {
    keys += of_keys * of_keys;
    both += of_both * of_both;
  }
};

// Of all scores that a causal mask leaves, before they are scaled.
void AddScores(const Heads& heads, const Tensor<float>& k8, const Tensor<float>& q8, Loss* loss) {
  const size_t num_heads = heads.q.shape()[2], num_kv_heads = heads.k.shape()[2];
  const size_t head_dim = heads.q.shape()[3];
  const std::vector<float> q = heads.q.Dense(), k = heads.k.Dense();
  const std::vector<float> rounded_q = q8.Dense(), rounded_k = k8.Dense();
  const auto dot = [&](const float* a, const float* b) {
    double sum = 0.0;
    for (size_t d = 0; d < head_dim; ++d)
      sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
    return sum;
  };
  for (size_t i = 0; i < kTokens; i += 7) {
    for (size_t h = 0; h < num_heads; ++h) {
      const size_t at = (i * num_heads + h) * head_dim;
      for (size_t j = 0; j <= i; ++j) {
        const size_t key = (j * num_kv_heads + h * num_kv_heads / num_heads) * head_dim;
        const double exact = dot(&q[at], &k[key]);
        loss->Add(dot(&q[at], &rounded_k[key]) - exact,
                  dot(&rounded_q[at], &rounded_k[key]) - exact);
      }
    }
  }
}

void AddOutputs(const Heads& heads, const Tensor<float>& k8, const Tensor<float>& q8, Loss* loss,
                Context& context) {
  const std::vector<float> exact = Attended(heads.q, heads.k, heads.v, context);
  const std::vector<float> keys = Attended(heads.q, k8, heads.v, context);
  const std::vector<float> both = Attended(q8, k8, heads.v, context);
  for (size_t i = 0; i < exact.size(); ++i) {
    loss->Add(static_cast<double>(keys[i]) - static_cast<double>(exact[i]),
              static_cast<double>(both[i]) - static_cast<double>(exact[i]));
  }
}

// Of scores 8-bit keys lose less than half of it. Of what attention puts out they lose 0.73: much
// of what a rounded query adds to the scores is the same for all keys, and softmax does not see it.
TEST_CASE("int8 keys lose half of what is lost with int8 queries as well, in squares of scores") {
  Context context;
  const std::string directory = MODEL_DIR;
  const auto model = tiny_lm::Model::load(directory, {}, context);
  const auto file = tools::Safetensors::load(directory + "/model.safetensors");
  const auto text =
      tools::read_text(directory + "/../../test/data/tiny-lm/validation.txt", 1 << 20);
  REQUIRE(model.ok());
  REQUIRE(file.ok());
  REQUIRE(text.ok());
  const auto all = model->vocabulary().encode(*text);
  REQUIRE(all.ok());
  REQUIRE(all->size() >= 2 * kTokens);
  Loss scores, outputs;
  for (size_t layer = 0; layer < model->config().num_hidden_layers; ++layer) {
    for (size_t begin = 0; begin < 2 * kTokens; begin += kTokens) {
      const auto first = all->begin() + static_cast<ptrdiff_t>(begin);
      const std::vector<int32_t> tokens(first, first + kTokens);
      const Heads heads = HeadsOf(*model, *file, layer, tokens, context);
      const Tensor<float> k = Rounded(heads.k, context), q = Rounded(heads.q, context);
      AddScores(heads, k, q, &scores);
      AddOutputs(heads, k, q, &outputs, context);
    }
  }
  MESSAGE("of what 8-bit keys and queries lose, 8-bit keys lose ", scores.keys / scores.both,
          " (scores), ", outputs.keys / outputs.both, " (outputs)");
  CHECK(scores.keys <= 0.5 * scores.both);
  CHECK(outputs.keys <= 0.75 * outputs.both);
  CHECK(outputs.keys > 0.0);
}

}  // namespace
}  // namespace heed::test
