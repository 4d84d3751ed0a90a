#include "test/support/layer_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "test/cases/attention_reference.h"

namespace heed::test {
namespace {

using Doubles = std::vector<double>;

Doubles Project(const spec::Linear& map, const Doubles& in) {
  Doubles out;
  for (size_t token = 0; token < in.size() / map.in; ++token) {
    for (size_t j = 0; j < map.out; ++j) {
      double sum = map.bias.empty() ? 0.0 : double{map.bias[j]};
      for (size_t i = 0; i < map.in; ++i) {
        sum += in[token * map.in + i] * double{map.weight[i * map.out + j]};
      }
      out.push_back(sum);
    }
  }
  return out;
}

void Norm(const spec::Layer& layer, const std::vector<float>& weight, double* x) {
  double mean = 0.0;
  for (size_t i = 0; i < layer.head_dim; ++i) mean += x[i] * x[i];
  mean /= static_cast<double>(layer.head_dim);
  for (size_t i = 0; i < layer.head_dim; ++i) {
    x[i] *= (double{layer.norm_weight_offset} + double{weight[i]}) /
            std::sqrt(mean + double{layer.norm_eps});
  }
}

void Rotate(const RopeOptions& rope, size_t head_dim, int32_t position, double* x) {
  const size_t dim = rope.rope_dim == 0 ? head_dim : rope.rope_dim;
  for (size_t t = 0; t < dim / 2; ++t) {
    const double angle = position * RopeFrequency(rope, dim, t);
    const double cos = RopeFactor(rope.scaling) * std::cos(angle);
    const double sin = RopeFactor(rope.scaling) * std::sin(angle);
    double& a = x[rope.interleaved ? 2 * t : t];
    double& b = x[rope.interleaved ? 2 * t + 1 : t + dim / 2];
    const double rotated = a * cos - b * sin;
    b = b * cos + a * sin;
    a = rotated;
  }
}

struct Head {
  const double* q;  // of query i at q + i * q_step
  const double* k;
  const double* v;
  size_t q_step, k_step, v_step;
};

void Attend(const spec::Layer& layer, const Head& head, size_t h, size_t seq, double* out,
            size_t out_step) {
  ReferenceRule<double> rule = {layer.causal, layer.window, layer.sink_tokens};
  rule.scale = layer.scale;
  rule.soft_cap = double{layer.logits_soft_cap};
  if (!layer.alibi_slopes.empty()) rule.slope = double{layer.alibi_slopes[h]};
  if (!layer.sinks.empty()) rule.sink = double{layer.sinks[h]};
  for (size_t i = 0; i < seq; ++i) {
    Doubles weight(seq, -std::numeric_limits<double>::infinity());
    for (size_t j = 0; j < seq; ++j) {
      const auto position = static_cast<int64_t>(i);
      if (!rule.Sees(position, j)) continue;
      double dot = 0.0;
      for (size_t d = 0; d < layer.head_dim; ++d) {
        dot += head.q[i * head.q_step + d] * head.k[j * head.k_step + d];
      }
      weight[j] = rule.Score(dot, position, j);
    }
    SoftmaxOf(&weight, rule.sink);
    for (size_t j = 0; j < seq; ++j) {
      for (size_t d = 0; d < layer.v_head_dim; ++d) {
        out[i * out_step + d] += weight[j] * head.v[j * head.v_step + d];
      }
    }
  }
}

}  // namespace

double RopeFrequency(const RopeOptions& options, size_t rope_dim, size_t t) {
  const RopeScaling& s = options.scaling;
  const double dim = static_cast<double>(rope_dim), pair = static_cast<double>(t);
  const double f = std::pow(options.theta, -2.0 * pair / dim), pi = std::acos(-1.0);
  const double length = static_cast<double>(s.original_max_position_embeddings);
  if (s.type == RopeScalingType::kLinear) return f / s.factor;
  if (s.type == RopeScalingType::kLlama3) {
    const double wavelength = 2 * pi / f;
    if (wavelength < length / s.high_freq_factor) return f;
    if (wavelength > length / s.low_freq_factor) return f / s.factor;
    const double smooth =
        (length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return (1 - smooth) * f / s.factor + smooth * f;
  }
  if (s.type != RopeScalingType::kYarn) return f;
  const auto bound = [&](double turns) {
    return dim * std::log(length / (turns * 2 * pi)) / (2 * std::log(options.theta));
  };
  double low = bound(s.beta_fast), high = bound(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const double kept = 1 - std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return f / s.factor * (1 - kept) + f * kept;
}

double RopeFactor(const RopeScaling& s) {
  if (s.type != RopeScalingType::kYarn) return 1.0;
  if (s.attention_factor) return *s.attention_factor;
  const auto m = [&](double scale) { return 0.1 * scale * std::log(s.factor) + 1; };
  return s.mscale != 0 && s.mscale_all_dim != 0 ? m(s.mscale) / m(s.mscale_all_dim) : m(1);
}

std::vector<double> LayerReference(const spec::Layer& layer, const std::vector<float>& x,
                                   size_t batch, size_t seq,
                                   const std::vector<int32_t>& positions) {
  const Doubles wide(x.begin(), x.end());
  Doubles q = Project(layer.q, wide), k = Project(layer.k, wide);
  const auto prepare = [&](const std::vector<float>& norm, size_t heads, Doubles* rows) {
    for (size_t row = 0; row < batch * seq * heads; ++row) {
      double* head = rows->data() + row * layer.head_dim;
      if (!norm.empty()) Norm(layer, norm, head);
      if (layer.rope) Rotate(*layer.rope, layer.head_dim, positions[row / heads], head);
    }
  };
  prepare(layer.q_norm, layer.num_heads, &q);
  prepare(layer.k_norm, layer.num_kv_heads, &k);
  Doubles v;
  if (!layer.values_in_keys) v = Project(layer.v, wide);
  for (size_t i = 0; layer.values_in_keys && i < k.size(); ++i) {
    if (i % layer.head_dim < layer.v_head_dim) v.push_back(k[i]);
  }
  const size_t group = layer.num_heads / layer.num_kv_heads;
  const size_t joined = layer.num_heads * layer.v_head_dim;
  Doubles context(batch * seq * joined);
  for (size_t b = 0; b < batch; ++b) {
    for (size_t h = 0; h < layer.num_heads; ++h) {
      const Head head = {q.data() + (b * seq * layer.num_heads + h) * layer.head_dim,
                         k.data() + (b * seq * layer.num_kv_heads + h / group) * layer.head_dim,
                         v.data() + (b * seq * layer.num_kv_heads + h / group) * layer.v_head_dim,
                         layer.num_heads * layer.head_dim,
                         layer.num_kv_heads * layer.head_dim,
                         layer.num_kv_heads * layer.v_head_dim};
      Attend(layer, head, h, seq, context.data() + b * seq * joined + h * layer.v_head_dim, joined);
    }
  }
  return layer.output.in == 0 ? context : Project(layer.output, context);
}

}  // namespace heed::test
