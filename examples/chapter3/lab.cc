#include "examples/chapter3/lab.h"

#include <functional>
#include <numeric>
#include <stdexcept>

namespace chapter3 {

using heed::MutableTensorView;
using heed::Status;
using heed::TensorView;

Array Array::zeros(const std::vector<size_t>& shape) {
  const size_t size =
      std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<size_t>());
  return {shape, std::vector<float>(size, 0.0f)};
}

void Lab::check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

Array Lab::input(const std::string& name) {
  inputs_.insert(name);
  const heed::tools::StoredTensor* stored = book_.find(name);
  if (stored == nullptr) throw std::runtime_error(book_.name() + ": no tensor " + name);
  Array array;
  array.shape.assign(stored->shape.begin(), stored->shape.end());
  if (stored->type == heed::tools::StoredType::kF32) {
    auto values = book_.read_f32(name);
    check(values.status());
    array.values = std::move(*values);
  } else {
    const auto integers = book_.read_i32(name);
    check(integers.status());
    array.values.assign(integers->begin(), integers->end());
  }
  return array;
}

void Lab::result(const std::string& name, const std::string& what, const Array& value) {
  sections_.back().entries.push_back({name, what, value});
}

Array Lab::matmul(const TensorView& a, const TensorView& b, const TensorView& bias) {
  Array c = Array::zeros({a.shape[0], b.shape[1]});
  check(heed::matmul(a, b, c.view(), {.bias = bias}, context_));
  return c;
}

Array Lab::softmax(Array x, float scale) {
  check(heed::softmax(x.view(), x.view(), {.scale = scale}, context_));
  return x;
}

Attended Lab::attention(const Array& q, const Array& k, const Array& v,
                        const heed::AttentionOptions& options) {
  const size_t q_len = q.shape[0], kv_len = k.shape[0];
  Attended result;
  result.y = Array::zeros({1, q_len, 1, v.shape[1]});
  result.weights = Array::zeros({1, 1, q_len, kv_len});
  heed::AttentionOptions with_weights = options;
  with_weights.weights = result.weights.view();
  check(heed::attention(q.view({1, q_len, 1, q.shape[1]}), k.view({1, kv_len, 1, k.shape[1]}),
                        v.view({1, kv_len, 1, v.shape[1]}), result.y.view(), with_weights,
                        context_));
  return result;
}

Attended Lab::layer(const heed::MultiHeadAttentionConfig& config,
                    const heed::MultiHeadAttentionWeights& weights, const Array& x,
                    const heed::DropoutOptions& dropout) {
  const auto layer = heed::MultiHeadAttention::create(config, weights, context_);
  check(layer.status());
  const size_t batch = x.shape.size() == 3 ? x.shape[0] : 1;
  const size_t tokens = x.shape[x.shape.size() - 2];
  const size_t width = layer->config().num_heads * layer->config().v_head_dim;
  Attended result;
  result.y = Array::zeros({batch, tokens, layer->d_out()});
  result.weights = Array::zeros({batch, layer->config().num_heads, tokens, tokens});
  result.context = Array::zeros({batch, tokens, width});
  heed::ForwardOptions options;
  options.dropout = dropout;
  options.weights = result.weights.view();
  options.context = result.context.view();
  check(layer->forward(x.view({batch, tokens, config.d_in}), result.y.view(), options, context_));
  return result;
}

Array Lab::stacked_heads(const std::vector<heed::MultiHeadAttentionWeights>& heads,
                         const Array& x) {
  const size_t batch = x.shape[0], tokens = x.shape[1];
  const size_t head_dim = heads[0].q.weight.shape[0];
  const size_t width = heads.size() * head_dim;
  Array joined = Array::zeros({batch, tokens, width});
  heed::MultiHeadAttentionConfig config;
  config.d_in = x.shape[2];
  config.num_heads = 1;
  config.head_dim = head_dim;
  for (size_t h = 0; h < heads.size(); ++h) {
    const auto layer = heed::MultiHeadAttention::create(config, heads[h], context_);
    check(layer.status());
    const MutableTensorView columns =
        joined.view().slice(2, h * head_dim, (h + 1) * head_dim);  // no copy: strides do it
    check(layer->forward(x.view(), columns, heed::ForwardOptions(), context_));
  }
  return joined;
}

heed::MultiHeadAttentionWeights Projections::weights(heed::WeightLayout layout) const {
  heed::MultiHeadAttentionWeights w;
  w.layout = layout;
  w.q.weight = q.view();
  w.k.weight = k.view();
  w.v.weight = v.view();
  return w;
}

heed::MultiHeadAttentionConfig layer_config(size_t d_in, size_t num_heads, size_t head_dim,
                                            bool causal) {
  heed::MultiHeadAttentionConfig config;
  config.d_in = d_in;
  config.num_heads = num_heads;
  config.head_dim = head_dim;
  config.causal = causal;
  return config;
}

}  // namespace chapter3
