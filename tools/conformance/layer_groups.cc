// Whole layers: projections, norms, rotary embedding, caches.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "heed/convert.hpp"
#include "heed/multi_head_attention.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

// A layer that grows by options, with weights of one dtype.
template <class T>
class LayerProblem {
 public:
  explicit LayerProblem(Run& run) : run_(run) {
    config.d_in = run.Between(1, 30);
    config.num_kv_heads = run.Between(1, 2);
    config.num_heads = config.num_kv_heads * run.Between(1, 3);
    config.head_dim = 2 * run.Between(1, 10);
    config.v_head_dim = run.OneIn(3) ? run.Between(1, 20) : config.head_dim;
    config.causal = !run.OneIn(5);
    weights_.layout = run.OneIn(2) ? WeightLayout::kInOut : WeightLayout::kOutIn;
    const size_t q = config.num_heads * config.head_dim;
    const size_t k = config.num_kv_heads * config.head_dim;
    const size_t v = config.num_kv_heads * config.v_head_dim;
    if (run.OneIn(2)) {
      weights_.qkv = Draw(config.d_in, q + k + v);
    } else {
      weights_.q = Draw(config.d_in, q);
      weights_.k = Draw(config.d_in, k);
      weights_.v = Draw(config.d_in, v);
    }
    if (!run.OneIn(4)) {
      weights_.out = Draw(config.num_heads * config.v_head_dim, run.Between(1, 25));
    }
  }

  void AddNorms() {
    config.norm_eps = 0.01f;
    config.norm_weight_offset = run_.OneIn(2) ? 1.0f : 0.0f;
    if (!run_.OneIn(4)) weights_.q_norm = Stored({config.head_dim}, 1.0f);
    if (!run_.OneIn(4)) weights_.k_norm = Stored({config.head_dim}, 1.0f);
  }

  void AddRope() {
    RopeOptions rope;
    rope.interleaved = run_.OneIn(2);
    if (run_.OneIn(3)) rope.rope_dim = 2 * run_.Between(1, config.head_dim / 2);
    rope.theta = run_.OneOf({10000.0, 1000000.0});
    if (run_.OneIn(4)) rope.scaling = {.type = RopeScalingType::kLinear, .factor = 4.0};
    config.rope = rope;
  }

  void AddOptions() {
    if (config.causal && run_.OneIn(2)) {
      config.window = run_.Between(1, 12);
      if (run_.OneIn(2)) config.sink_tokens = run_.Between(1, 4);
    }
    if (run_.OneIn(2)) config.logits_soft_cap = 5.0f;
    if (run_.OneIn(3)) config.scale = 0.25f;
    if (run_.OneIn(2)) weights_.sinks = Stored({config.num_heads}, 1.0f);
    if (run_.OneIn(3)) weights_.alibi_slopes = Stored({config.num_heads}, 0.05f);
  }

  // Of weights, caches, x and y.
  void AddStorage() {
    for (LinearWeights* linear :
         {&weights_.q, &weights_.k, &weights_.v, &weights_.qkv, &weights_.out}) {
      PackOptions& storage = linear->storage;
      storage.dtype = run_.OneOf(kAllStored);
      if (storage.dtype == DType::kInt4) storage.group = run_.OneOf<size_t>({16, 32, 64});
      if (storage.dtype == DType::kInt8) storage.group = run_.OneOf<size_t>({0, 16, 32});
    }
    config.k_cache_dtype = run_.OneOf(kAllStored);
    config.v_cache_dtype = run_.OneOf(kAllStored);
    x_dtype_ = run_.OneOf(kFloatTypes);
    y_dtype_ = run_.OneOf(kFloatTypes);
  }

  // Weights of int8 or int4, and products with them in integers.
  void AddInt16() {
    for (LinearWeights* linear :
         {&weights_.q, &weights_.k, &weights_.v, &weights_.qkv, &weights_.out}) {
      linear->storage.dtype = run_.OneOf({DType::kInt8, DType::kInt4});
      linear->storage.group = run_.OneOf<size_t>({16, 32, 64});
      linear->compute = Compute::kInt16;
    }
  }

  // A batch of whole sequences, with all optional results.
  void Forward(bool with_call_options = false) {
    const size_t batch = run_.Between(1, 2);
    const size_t seq = run_.Between(1, 24);
    if (!Create()) return;
    const Layout layout = run_.AnyLayout();
    const FloatTensor x =
        run_.Stored(x_dtype_, run_.Normal({batch, seq, config.d_in}, layout), layout);
    FloatTensor y(y_dtype_, {batch, seq, layer_->d_out()});
    Tensor<float> lse({batch, config.num_heads, seq});
    Tensor<float> weights({batch, config.num_heads, seq, seq});
    Tensor<float> heads({batch, seq, config.num_heads * config.v_head_dim});
    ForwardOptions options;
    if (with_call_options) AddCallOptions(batch, seq, &options);
    options.lse = lse.mutable_view();
    options.weights = weights.mutable_view();
    options.context = heads.mutable_view();
    run_.Expect(layer_->forward(x.view(), y.mutable_view(), options, run_.context));
    run_.Add(y);
    for (const Tensor<float>* result : {&lse, &weights, &heads}) run_.Add(*result);
  }

  // A prompt, then chunks and single tokens.
  void ForwardCached() {
    constexpr size_t kTokens = 40;
    config.causal = true;
    if (!Create()) return;
    Result<KvCache> cache = layer_->create_cache(1, kTokens);
    if (!run_.Expect(cache.status())) return;
    const FloatTensor x = run_.Stored(x_dtype_, run_.Normal({kTokens, config.d_in}));
    FloatTensor y(y_dtype_, {kTokens, layer_->d_out()});
    for (size_t begin = 0, end = 17; begin < kTokens; begin = end, end += 1 + end % 4) {
      end = std::min(end, kTokens);
      run_.Expect(layer_->forward(x.view().slice(0, begin, end),
                                  y.mutable_view().slice(0, begin, end), *cache, run_.context));
    }
    run_.Add(y);
  }

  MultiHeadAttentionConfig config;

 private:
  bool Create() {
    Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights_, run_.context);
    if (!run_.Expect(layer.status())) return false;
    layer_.emplace(std::move(*layer));
    return true;
  }

  void AddCallOptions(size_t batch, size_t seq, ForwardOptions* options) {
    if (run_.OneIn(2)) {
      positions_ = Tensor<int32_t>({batch, seq});
      for (size_t i = 0; i < positions_.size(); ++i) {
        positions_[i] = static_cast<int32_t>(run_.Below(100000));
      }
      options->positions = positions_.view();
    }
    if (run_.OneIn(2)) {
      kv_lens_ = Tensor<int32_t>({batch});
      for (size_t b = 0; b < batch; ++b) kv_lens_[b] = static_cast<int32_t>(run_.Between(0, seq));
      options->kv_lens = kv_lens_.view();
    }
    if (run_.OneIn(2)) {
      key_mask_ = run_.Mask(batch * seq, 4);
      options->key_mask = TensorView(key_mask_.data(), {batch, seq});
    }
    if (run_.OneIn(3)) options->dropout = {.probability = 0.2f, .seed = run_.Bits()};
  }

  TensorView Stored(const std::vector<size_t>& shape, float scale) {
    const Tensor<float> values = run_.Normal(shape, Layout::kContiguous, scale);
    stored_.emplace_back(shape);
    run_.Expect(convert(values.view(), stored_.back().mutable_view(), run_.context));
    return stored_.back().view();  // its memory stays where it is when stored_ grows
  }

  LinearWeights Draw(size_t in, size_t out) {
    const bool out_in = weights_.layout == WeightLayout::kOutIn;
    LinearWeights linear;
    linear.weight = Stored(out_in ? std::vector{out, in} : std::vector{in, out}, 0.25f);
    if (run_.OneIn(2)) linear.bias = Stored({out}, 0.5f);
    return linear;
  }

  Run& run_;
  std::vector<Tensor<T>> stored_;
  MultiHeadAttentionWeights weights_;
  std::optional<MultiHeadAttention> layer_;
  Tensor<int32_t> positions_{{0}}, kv_lens_{{0}};
  std::vector<uint8_t> key_mask_;
  DType x_dtype_ = DType::kF32, y_dtype_ = DType::kF32;
};

// use(problem) with weights of each dtype in turn.
template <class Use>
void ForLayers(Run& run, size_t count, Use use) {
  for (size_t i = 0; i < count; ++i) {
    LayerProblem<float> wide(run);
    use(wide);
    LayerProblem<f16> half(run);
    use(half);
    LayerProblem<bf16> brain(run);
    use(brain);
  }
}

}  // namespace

void Layer(Run& run) {
  ForLayers(run, 14, [](auto& layer) { layer.Forward(); });
}

void LayerNorms(Run& run) {
  ForLayers(run, 14, [](auto& layer) {
    layer.AddNorms();
    layer.Forward();
  });
}

void LayerRope(Run& run) {
  ForLayers(run, 14, [](auto& layer) {
    layer.AddRope();
    layer.Forward();
  });
}

void LayerOptions(Run& run) {
  ForLayers(run, 14, [](auto& layer) {
    layer.AddNorms();
    layer.AddRope();
    layer.AddOptions();
    layer.Forward();
  });
}

void LayerCallOptions(Run& run) {
  ForLayers(run, 14, [](auto& layer) {
    layer.AddRope();
    layer.Forward(true);
  });
}

void LayerCache(Run& run) {
  ForLayers(run, 6, [](auto& layer) {
    layer.AddNorms();
    layer.AddRope();
    layer.AddOptions();
    layer.ForwardCached();
  });
}

void StoredLayer(Run& run) {
  ForLayers(run, 6, [](auto& layer) {
    layer.AddNorms();
    layer.AddRope();
    layer.AddOptions();
    layer.AddStorage();
    layer.Forward();
    layer.ForwardCached();
  });
}

void HadamardLayer(Run& run) {
  ForLayers(run, 4, [](auto& layer) {
    layer.AddNorms();
    layer.AddRope();
    layer.AddStorage();
    layer.config.hadamard = true;
    layer.Forward();
    layer.ForwardCached();
  });
}

void Int16Layer(Run& run) {
  ForLayers(run, 4, [](auto& layer) {
    layer.AddRope();
    layer.AddInt16();
    layer.Forward();
    layer.ForwardCached();
  });
}

}  // namespace heed::bits
