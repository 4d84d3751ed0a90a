#include "test/support/layer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "test/support/compare.h"
#include "test/support/float16.h"
#include "test/support/layer_reference.h"

namespace heed::test {
namespace {

// Weights as a checkpoint stores them, kept alive until the layer has packed them.
class Stored {
 public:
  explicit Stored(const LayerForm& form) : form_(form) {}

  // A random map; `linear` gets the same numbers for the specification.
  LinearWeights Make(size_t in, size_t out, Random& random, spec::Linear* linear) {
    switch (form_.dtype) {
      case DType::kF16:
        return Make<f16>(in, out, random, linear);
      case DType::kBF16:
        return Make<bf16>(in, out, random, linear);
      default:
        return Make<float>(in, out, random, linear);
    }
  }

  // A random vector; `values` gets the same numbers. Absent unless `present`.
  TensorView Vector(bool present, size_t size, Random& random, std::vector<float>* values) {
    if (!present) return TensorView();
    switch (form_.dtype) {
      case DType::kF16:
        return MakeVector<f16>(size, random, values);
      case DType::kBF16:
        return MakeVector<bf16>(size, random, values);
      default:
        return MakeVector<float>(size, random, values);
    }
  }

 private:
  static float Wide(float x) { return x; }
  static float Wide(f16 x) { return Widen(x); }
  static float Wide(bf16 x) { return Widen(x); }

  static void Draw(float* x, Random& random, float scale) { *x = random.Normal() * scale; }
  // Any sign and mantissa, with exponents from 2^-7 to 1.
  static void Draw(f16* x, Random& random, float) {
    x->bits = static_cast<uint16_t>((random.Bits() & 0x83FF) | ((8 + random.Below(7)) << 10));
  }
  static void Draw(bf16* x, Random& random, float) {
    x->bits = static_cast<uint16_t>((random.Bits() & 0x807F) | ((120 + random.Below(7)) << 7));
  }

  template <class T>
  std::vector<Tensor<T>>& All() {
    if constexpr (sizeof(T) == 4) {
      return f32_;
    } else if constexpr (std::is_same_v<T, f16>) {
      return f16_;
    } else {
      return bf16_;
    }
  }

  template <class T>
  LinearWeights Make(size_t in, size_t out, Random& random, spec::Linear* linear) {
    const bool in_out = form_.layout == WeightLayout::kInOut;
    Tensor<T> weight(in_out ? std::vector<size_t>{in, out} : std::vector<size_t>{out, in},
                     form_.weight_layout);
    Tensor<T> bias({form_.bias ? out : 0}, form_.weight_layout);
    const float scale = 1.0f / std::sqrt(static_cast<float>(in));
    linear->in = in;
    linear->out = out;
    linear->weight.resize(in * out);
    for (size_t i = 0; i < in * out; ++i) {
      Draw(&weight[i], random, scale);
      linear->weight[in_out ? i : i % in * out + i / in] = Wide(weight[i]);
    }
    for (size_t i = 0; i < bias.size(); ++i) {
      Draw(&bias[i], random, 1.0f);
      linear->bias.push_back(Wide(bias[i]));
    }
    LinearWeights views;
    All<T>().push_back(std::move(weight));
    views.weight = All<T>().back().view();
    if (!form_.bias) return views;
    All<T>().push_back(std::move(bias));
    views.bias = All<T>().back().view();
    return views;
  }

  template <class T>
  TensorView MakeVector(size_t size, Random& random, std::vector<float>* values) {
    Tensor<T> vector({size}, form_.weight_layout);
    for (size_t i = 0; i < size; ++i) {
      Draw(&vector[i], random, 1.0f);
      values->push_back(Wide(vector[i]));
    }
    All<T>().push_back(std::move(vector));
    return All<T>().back().view();
  }

  const LayerForm& form_;
  std::vector<Tensor<float>> f32_;
  std::vector<Tensor<f16>> f16_;
  std::vector<Tensor<bf16>> bf16_;
};

// Columns [begin, end) of a map.
spec::Linear Columns(const spec::Linear& all, size_t begin, size_t end) {
  spec::Linear part;
  part.in = all.in;
  part.out = end - begin;
  for (size_t i = 0; i < all.in; ++i) {
    for (size_t j = begin; j < end; ++j) part.weight.push_back(all.weight[i * all.out + j]);
  }
  for (size_t j = begin; j < end && !all.bias.empty(); ++j) part.bias.push_back(all.bias[j]);
  return part;
}

constexpr float kNormEps = 0.01f;  // large enough to matter

MultiHeadAttentionConfig ConfigOf(const LayerForm& form) {
  MultiHeadAttentionConfig config;
  config.d_in = form.d_in;
  config.num_heads = form.num_heads;
  config.num_kv_heads = form.num_kv_heads;
  config.head_dim = form.head_dim;
  config.v_head_dim = form.v_head_dim;
  config.causal = form.causal;
  config.scale = form.scale;
  config.rope = form.rope;
  config.window = form.window;
  config.sink_tokens = form.sink_tokens;
  config.logits_soft_cap = form.logits_soft_cap;
  config.norm_eps = kNormEps;
  config.norm_weight_offset = form.norm_weight_offset;
  return config;
}

spec::Layer SpecOf(const LayerForm& form) {
  spec::Layer layer;
  layer.num_heads = form.num_heads;
  layer.num_kv_heads = form.num_kv_heads == 0 ? form.num_heads : form.num_kv_heads;
  layer.head_dim = form.head_dim;
  layer.v_head_dim = form.v_head_dim == 0 ? form.head_dim : form.v_head_dim;
  layer.scale = form.scale.value_or(1.0f / std::sqrt(static_cast<float>(form.head_dim)));
  layer.causal = form.causal;
  layer.rope = form.rope;
  layer.window = form.window;
  layer.sink_tokens = form.sink_tokens;
  layer.logits_soft_cap = form.logits_soft_cap;
  layer.norm_eps = kNormEps;
  layer.norm_weight_offset = form.norm_weight_offset;
  return layer;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const LayerForm& f) {
  return out << (f.fused ? "fused " : "separate ")
             << (f.layout == WeightLayout::kInOut ? "[in, out] " : "[out, in] ") << name_of(f.dtype)
             << (f.bias ? ", bias" : "") << (f.rope ? ", rope" : "")
             << (f.has_output ? "" : ", no output projection") << (f.q_norm ? ", q_norm" : "")
             << (f.k_norm ? ", k_norm" : "") << ", window " << f.window << "/" << f.sink_tokens
             << ", soft cap " << f.logits_soft_cap << (f.sinks ? ", sinks" : "")
             << (f.alibi_slopes ? ", ALiBi" : "") << (f.kv_lens ? ", kv_lens" : "")
             << (f.key_mask ? ", key_mask" : "") << ", heads " << f.num_heads << "/"
             << f.num_kv_heads << ", head_dim " << f.head_dim << "/" << f.v_head_dim;
}

LayerProblem::LayerProblem(const LayerForm& f, size_t b, size_t s)
    : form(f),
      batch(b),
      seq(s),
      x({b, s, f.d_in}, f.x_layout),
      spec_(SpecOf(f)),
      mask_(f.mask ? std::vector<size_t>{b, f.num_heads, s, s} : std::vector<size_t>{0}) {
  Random random(s * 31 + b);
  x.FillNormal(random);
  for (size_t i = 0; i < mask_.size(); ++i) mask_[i] = random.Below(4) == 0 ? 0.0f : 1.25f;
  for (size_t i = 0; i < b * s; ++i) positions.push_back(static_cast<int32_t>(i % s));

  for (size_t i = 0; i < b && f.kv_lens; ++i) {
    kv_lens_.push_back(static_cast<int32_t>(i * s / b));
  }
  for (size_t i = 0; i < b * s && f.key_mask; ++i) key_mask_.push_back(random.Below(4) != 0);

  const size_t q_out = spec_.num_heads * spec_.head_dim;
  const size_t k_out = spec_.num_kv_heads * spec_.head_dim;
  const size_t v_out = spec_.num_kv_heads * spec_.v_head_dim;
  Stored stored(form);
  MultiHeadAttentionWeights weights;
  weights.layout = form.layout;
  if (form.fused) {
    spec::Linear qkv;
    weights.qkv = stored.Make(form.d_in, q_out + k_out + v_out, random, &qkv);
    spec_.q = Columns(qkv, 0, q_out);
    spec_.k = Columns(qkv, q_out, q_out + k_out);
    spec_.v = Columns(qkv, q_out + k_out, qkv.out);
  } else {
    weights.q = stored.Make(form.d_in, q_out, random, &spec_.q);
    weights.k = stored.Make(form.d_in, k_out, random, &spec_.k);
    weights.v = stored.Make(form.d_in, v_out, random, &spec_.v);
  }
  if (form.has_output) {
    weights.out =
        stored.Make(spec_.num_heads * spec_.v_head_dim, form.d_out, random, &spec_.output);
  }
  weights.q_norm = stored.Vector(form.q_norm, form.head_dim, random, &spec_.q_norm);
  weights.k_norm = stored.Vector(form.k_norm, form.head_dim, random, &spec_.k_norm);
  weights.sinks = stored.Vector(form.sinks, form.num_heads, random, &spec_.sinks);
  weights.alibi_slopes =
      stored.Vector(form.alibi_slopes, form.num_heads, random, &spec_.alibi_slopes);
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(ConfigOf(form), weights);
  REQUIRE(std::string(layer.status().message()) == "");
  layer_.emplace(std::move(*layer));
}

size_t LayerProblem::d_out() const {
  return form.has_output ? form.d_out : spec_.num_heads * spec_.v_head_dim;
}

spec::LayerResult LayerProblem::Expected(Family family) const {
  std::vector<float> multiplier;
  if (form.mask) multiplier = mask_.Dense();
  if (form.dropout > 0.0f) {
    for (size_t row = 0; row < batch * form.num_heads * seq; ++row) {
      for (size_t j = 0; j < seq; ++j) {
        multiplier.push_back(spec::DropoutMultiplier(form.dropout, 0, row / seq / form.num_heads,
                                                     row / seq % form.num_heads, row % seq, j, seq,
                                                     seq));
      }
    }
  }
  const spec::LayerOptions options = {
      .multiplier = multiplier.empty() ? nullptr : multiplier.data(),
      .kv_lens = kv_lens_.empty() ? nullptr : kv_lens_.data(),
      .key_mask = key_mask_.empty() ? nullptr : key_mask_.data()};
  return family == Family::kFma
             ? spec::RunLayer<Family::kFma>(spec_, x.Dense(), batch, seq, positions, options)
             : spec::RunLayer<Family::kMultiplyAdd>(spec_, x.Dense(), batch, seq, positions,
                                                    options);
}

std::string LayerProblem::FaultOf(const spec::LayerResult& want, Context& context) const {
  Tensor<float> y({batch, seq, d_out()}, Layout::kPadded);
  Tensor<float> heads({batch, seq, form.num_heads * spec_.v_head_dim}, Layout::kPadded);
  Tensor<float> lse({batch, form.num_heads, seq}), weights({batch, form.num_heads, seq, seq});
  Tensor<int32_t> at({batch, seq}, Layout::kPadded);
  at.Assign(positions);
  ForwardOptions options;
  options.lse = lse.mutable_view();
  options.weights = weights.mutable_view();
  options.context = heads.mutable_view();
  options.dropout.probability = form.dropout;
  if (form.mask) options.dropout.mask = mask_.view();
  if (give_positions) options.positions = at.view();
  if (form.kv_lens) options.kv_lens = TensorView(kv_lens_.data(), {batch});
  if (form.key_mask) options.key_mask = TensorView(key_mask_.data(), {batch, seq});
  const Status status = layer_->forward(x.view(), y.mutable_view(), options, context);
  if (!status.ok()) return status.message();
  if (!y.GapsIntact() || !heads.GapsIntact()) return "wrote outside a result";
  if (std::string d = Difference(heads.Dense(), want.context); !d.empty()) return "context: " + d;
  if (std::string d = Difference(lse.Dense(), want.lse); !d.empty()) return "lse: " + d;
  if (std::string d = Difference(weights.Dense(), want.weights); !d.empty()) return "weights: " + d;
  if (std::string d = Difference(y.Dense(), want.y); !d.empty()) return "y: " + d;

  // Without the optional results the same y.
  y.Reset();
  options.lse = options.weights = options.context = {};
  const Status plain = layer_->forward(x.view(), y.mutable_view(), options, context);
  if (!plain.ok()) return plain.message();
  if (std::string d = Difference(y.Dense(), want.y); !d.empty()) return "y alone: " + d;
  return "";
}

std::string LayerProblem::Fault() const {
  const PerFamily<spec::LayerResult> want([this](Family family) { return Expected(family); });
  for (Runner& runner : Runners()) {
    const std::string fault = FaultOf(want[runner.family], *runner.context);
    if (!fault.empty()) return runner.name + ": " + fault;
  }
  return "";
}

std::vector<float> LayerProblem::RunWithCache(size_t chunk, Context& context) const {
  Result<KvCache> cache = layer_->create_cache(batch, seq);
  REQUIRE(cache.ok());
  Tensor<float> y({batch, seq, d_out()});
  for (size_t begin = 0; begin < seq; begin += chunk) {
    const size_t end = std::min(seq, begin + chunk);
    const Status status = layer_->forward(x.view().slice(1, begin, end),
                                          y.mutable_view().slice(1, begin, end), *cache, context);
    REQUIRE(std::string(status.message()) == "");
    REQUIRE(cache->length() == end);
  }
  return y.Dense();
}

std::vector<double> LayerProblem::Reference() const {
  return LayerReference(spec_, x.Dense(), batch, seq, positions);
}

}  // namespace heed::test
