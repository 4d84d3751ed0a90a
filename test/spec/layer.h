// The specification of a whole attention layer, on top of spec.h: projections, norms, rotary
// embedding, attention, output projection. All arrays are row-major and contiguous; weights are
// [in, out].
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "test/spec/hadamard.h"
#include "test/spec/rope.h"
#include "test/spec/spec.h"

namespace heed::spec {

struct Linear {
  size_t in = 0, out = 0;
  std::vector<float> weight;  // [in, out]
  std::vector<float> bias;    // [out], or empty
};

struct Layer {
  size_t num_heads = 1, num_kv_heads = 1, head_dim = 1, v_head_dim = 1;
  double scale = 1.0;
  bool causal = true;
  std::vector<float> q_norm, k_norm;  // [head_dim], or empty
  float norm_eps = 0.0f, norm_weight_offset = 0.0f;
  std::optional<RopeOptions> rope;
  bool hadamard = false;
  bool values_in_keys = false;  // v is not used
  size_t window = 0, sink_tokens = 0;
  float logits_soft_cap = 0.0f;
  std::vector<float> sinks, alibi_slopes;  // [num_heads], or empty
  Linear q, k, v;
  Linear output;  // in == 0: the heads joined are the result
};

struct LayerResult {
  std::vector<float> context;  // [batch, seq, num_heads * v_head_dim]
  std::vector<float> y;        // [batch, seq, d_out]
  std::vector<float> lse;      // [batch, num_heads, seq]
  std::vector<float> weights;  // [batch, num_heads, seq, seq]
};

template <Family kFamily>
std::vector<float> Project(const Linear& linear, const std::vector<float>& x, size_t tokens) {
  std::vector<float> y(tokens * linear.out);
  Spec<kFamily>::Matmul(x.data(), linear.weight.data(),
                        linear.bias.empty() ? nullptr : linear.bias.data(), y.data(), tokens,
                        linear.in, linear.out);
  return y;
}

// Norms, rotates, then turns every head of every token of x.
template <Family kFamily>
void Prepare(const Layer& layer, const std::vector<float>& norm,
             const std::vector<int32_t>& positions, size_t heads, std::vector<float>* x) {
  for (size_t token = 0; token < positions.size(); ++token) {
    for (size_t head = 0; head < heads; ++head) {
      float* row = x->data() + (token * heads + head) * layer.head_dim;
      if (!norm.empty()) {
        RmsNorm<kFamily>(row, layer.head_dim, norm.data(), layer.norm_weight_offset,
                         layer.norm_eps);
      }
      if (layer.rope) Rope<kFamily>(row, positions[token], layer.head_dim, *layer.rope);
      if (layer.hadamard) Hadamard(row, layer.head_dim);
    }
  }
}

// The first v_head_dim channels of every key, as they are stored.
inline std::vector<float> ValuesInKeys(const Layer& layer, const std::vector<float>& k) {
  std::vector<float> v;
  for (size_t first = 0; first < k.size(); first += layer.head_dim) {
    for (size_t d = 0; d < layer.v_head_dim; ++d) v.push_back(k[first + d]);
  }
  return v;
}

// Of one call; null: none.
struct LayerOptions {
  const float* multiplier = nullptr;  // of dropout, [batch, num_heads, seq, seq]
  const int32_t* kv_lens = nullptr;   // [batch]
  const uint8_t* key_mask = nullptr;  // [batch, seq]
  // What a cache makes of keys and values [batch, seq, kv heads, dim] that it stores.
  std::function<void(std::vector<float>*)> store_keys, store_values;
};

// x [batch, seq, d_in], positions [batch, seq].
template <Family kFamily>
LayerResult RunLayer(const Layer& layer, const std::vector<float>& x, size_t batch, size_t seq,
                     const std::vector<int32_t>& positions, const LayerOptions& options) {
  const size_t tokens = batch * seq;
  std::vector<float> q = Project<kFamily>(layer.q, x, tokens);
  std::vector<float> k = Project<kFamily>(layer.k, x, tokens);
  Prepare<kFamily>(layer, layer.q_norm, positions, layer.num_heads, &q);
  Prepare<kFamily>(layer, layer.k_norm, positions, layer.num_kv_heads, &k);
  if (options.store_keys) options.store_keys(&k);
  std::vector<float> v =
      layer.values_in_keys ? ValuesInKeys(layer, k) : Project<kFamily>(layer.v, x, tokens);
  if (options.store_values && !layer.values_in_keys) options.store_values(&v);

  LayerResult result;
  result.context.resize(tokens * layer.num_heads * layer.v_head_dim);
  result.lse.resize(tokens * layer.num_heads);
  result.weights.resize(tokens * layer.num_heads * seq);
  Attention attention = {.batch = batch, .q_len = seq, .kv_len = seq};
  attention.num_heads = layer.num_heads;
  attention.num_kv_heads = layer.num_kv_heads;
  attention.head_dim = layer.head_dim;
  attention.v_head_dim = layer.v_head_dim;
  attention.q = q.data();
  attention.k = k.data();
  attention.v = v.data();
  attention.scale = layer.scale;
  attention.logits_soft_cap = layer.logits_soft_cap;
  attention.alibi_slopes = layer.alibi_slopes.empty() ? nullptr : layer.alibi_slopes.data();
  attention.sinks = layer.sinks.empty() ? nullptr : layer.sinks.data();
  attention.causal = layer.causal;
  attention.top_left = true;  // as many keys as queries: padding does not move the diagonal
  attention.window = layer.window;
  attention.sink_tokens = layer.sink_tokens;
  attention.kv_lens = options.kv_lens;
  attention.key_mask = options.key_mask;
  attention.multiplier = options.multiplier;
  attention.out = result.context.data();
  attention.lse = result.lse.data();
  attention.weights = result.weights.data();
  Spec<kFamily>::Attend(attention);

  result.y = layer.output.in == 0 ? result.context
                                  : Project<kFamily>(layer.output, result.context, tokens);
  return result;
}

}  // namespace heed::spec
