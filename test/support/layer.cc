#include "test/support/layer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "test/support/compare.h"
#include "test/support/layer_reference.h"
#include "test/support/stored_numbers.h"
#include "test/support/stored_weights.h"

namespace heed::test {
namespace {

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
  config.hadamard = form.hadamard;
  config.values_in_keys = form.values_in_keys;
  config.window = form.window;
  config.sink_tokens = form.sink_tokens;
  config.logits_soft_cap = form.logits_soft_cap;
  config.norm_eps = kNormEps;
  config.norm_weight_offset = form.norm_weight_offset;
  config.k_cache_dtype = form.k_cache_dtype;
  config.v_cache_dtype = form.v_cache_dtype;
  return config;
}

spec::Layer SpecOf(const LayerForm& form) {
  spec::Layer layer;
  layer.num_heads = form.num_heads;
  layer.num_kv_heads = form.num_kv_heads == 0 ? form.num_heads : form.num_kv_heads;
  layer.head_dim = form.head_dim;
  layer.v_head_dim = form.v_head_dim == 0 ? form.head_dim : form.v_head_dim;
  layer.scale =
      form.scale ? double{*form.scale} : 1.0 / std::sqrt(static_cast<double>(form.head_dim));
  layer.causal = form.causal;
  layer.rope = form.rope;
  layer.hadamard = form.hadamard;
  layer.values_in_keys = form.values_in_keys;
  layer.window = form.window;
  layer.sink_tokens = form.sink_tokens;
  layer.logits_soft_cap = form.logits_soft_cap;
  layer.norm_eps = kNormEps;
  layer.norm_weight_offset = form.norm_weight_offset;
  return layer;
}

std::string NameOf(const PackOptions& storage) {
  return name_of(storage.dtype) + ("/" + std::to_string(storage.group));
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const LayerForm& f) {
  return out << (f.fused ? "fused " : "separate ")
             << (f.layout == WeightLayout::kInOut ? "[in, out] " : "[out, in] ") << name_of(f.dtype)
             << " as " << NameOf(f.q_storage) << " " << NameOf(f.k_storage) << " "
             << NameOf(f.v_storage) << " " << NameOf(f.out_storage) << ", cache "
             << name_of(f.k_cache_dtype) << " " << name_of(f.v_cache_dtype)
             << (f.bias ? ", bias" : "") << (f.rope ? ", rope" : "")
             << (f.hadamard ? ", hadamard" : "") << (f.values_in_keys ? ", values in keys" : "")
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

  kv_lens_.resize(f.kv_lens ? b : 0);
  for (size_t i = 0; i < kv_lens_.size(); ++i) kv_lens_[i] = static_cast<int32_t>(i * s / b);
  key_mask_.resize(f.key_mask ? b * s : 0);
  for (uint8_t& sees : key_mask_) sees = random.Below(4) != 0;

  const size_t q_out = spec_.num_heads * spec_.head_dim;
  const size_t k_out = spec_.num_kv_heads * spec_.head_dim;
  const size_t v_out = f.values_in_keys ? 0 : spec_.num_kv_heads * spec_.v_head_dim;
  Stored stored(form);
  MultiHeadAttentionWeights weights;
  weights.layout = form.layout;
  const auto make = [&](size_t in, size_t out, const PackOptions& storage, spec::Linear* linear) {
    LinearWeights map = stored.Make(in, out, random, linear);
    RoundWeights(storage, in, out, &linear->weight);
    map.storage = storage;
    return map;
  };
  if (form.fused) {
    spec::Linear qkv;
    weights.qkv = make(form.d_in, q_out + k_out + v_out, form.q_storage, &qkv);
    spec_.q = Columns(qkv, 0, q_out);
    spec_.k = Columns(qkv, q_out, q_out + k_out);
    spec_.v = Columns(qkv, q_out + k_out, qkv.out);
  } else {
    weights.q = make(form.d_in, q_out, form.q_storage, &spec_.q);
    weights.k = make(form.d_in, k_out, form.k_storage, &spec_.k);
    if (v_out > 0) weights.v = make(form.d_in, v_out, form.v_storage, &spec_.v);
  }
  if (form.has_output) {
    weights.out =
        make(spec_.num_heads * spec_.v_head_dim, form.d_out, form.out_storage, &spec_.output);
  }
  weights.q_norm = stored.Vector(form.q_norm, form.head_dim, random, &spec_.q_norm);
  weights.k_norm = stored.Vector(form.k_norm, form.head_dim, random, &spec_.k_norm);
  weights.sinks = stored.Vector(form.sinks, form.num_heads, random, &spec_.sinks);
  weights.alibi_slopes =
      stored.Vector(form.alibi_slopes, form.num_heads, random, &spec_.alibi_slopes);
  Context context;
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(ConfigOf(form), weights, context);
  REQUIRE(std::string(layer.status().message()) == "");
  layer_.emplace(std::move(*layer));
}

size_t LayerProblem::d_out() const {
  return form.has_output ? form.d_out : spec_.num_heads * spec_.v_head_dim;
}

spec::LayerResult LayerProblem::Expected(Family family, bool cached) const {
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
  spec::LayerOptions options;
  if (form.mask || form.dropout > 0.0f) options.multiplier = multiplier.data();
  if (form.kv_lens) options.kv_lens = kv_lens_.data();
  if (form.key_mask) options.key_mask = key_mask_.data();
  if (cached) {
    options.store_keys = [this](std::vector<float>* k) {
      RoundTokens(form.k_cache_dtype, spec_.head_dim, k);
    };
    options.store_values = [this](std::vector<float>* v) {
      RoundTokens(form.v_cache_dtype, spec_.v_head_dim, v);
    };
  }
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
