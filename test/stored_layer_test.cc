// Layers whose weights and caches are stored in fewer bits: the results are bit for bit those of
// f32 layers that have the numbers which are stored.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/hadamard.hpp"
#include "heed/multi_head_attention.hpp"
#include "test/support/compare.h"
#include "test/support/layer.h"
#include "test/support/mode.h"
#include "test/support/placements.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kInt8, DType::kInt4};
constexpr PackOptions kStorages[] = {{DType::kBF16},     {DType::kF16},      {DType::kInt8},
                                     {DType::kInt8, 16}, {DType::kInt8, 64}, {DType::kInt4, 32},
                                     {DType::kInt4, 128}};

// Groups do not divide its widths.
LayerForm Form() {
  LayerForm form;
  form.d_in = 150;
  form.num_kv_heads = 2;
  form.head_dim = 20;
  form.v_head_dim = 36;
  form.rope = RopeOptions{};
  return form;
}

void StoreAs(const PackOptions& q, const PackOptions& k, const PackOptions& v,
             const PackOptions& out, LayerForm* form) {
  form->q_storage = q;
  form->k_storage = k;
  form->v_storage = v;
  form->out_storage = out;
}

void CheckForm(const LayerForm& form) {
  for (size_t seq : {size_t{1}, size_t{4}, size_t{19}}) {  // one row, a few and many
    INFO(form << "; seq " << seq);
    CHECK(LayerProblem(form, 2, seq).Fault() == "");
  }
}

TEST_CASE("projections stored alike give the bits of the f32 numbers that are stored") {
  bool other = false;
  for (const PackOptions& storage : kStorages) {
    for (WeightLayout layout : {WeightLayout::kOutIn, WeightLayout::kInOut}) {
      LayerForm form = Form();
      StoreAs(storage, storage, storage, storage, &form);
      form.layout = layout;
      form.fused = other;
      form.bias = (other = !other);
      CheckForm(form);
    }
  }
}

TEST_CASE("each projection has its own storage, and 16-bit weights may be quantized") {
  LayerForm form = Form();
  form.bias = true;
  StoreAs({DType::kInt4, 32}, {DType::kInt8}, {DType::kBF16}, {DType::kInt8, 64}, &form);
  CheckForm(form);
  form.layout = WeightLayout::kInOut;
  form.weight_layout = Layout::kScattered;
  form.bias = false;
  StoreAs({}, {DType::kInt8, 32}, {DType::kInt8, 32}, {}, &form);
  CheckForm(form);
  form.x_layout = Layout::kPadded;
  form.dtype = DType::kF16;
  StoreAs({DType::kInt8}, {DType::kInt8}, {DType::kInt4, 16}, {DType::kF16}, &form);
  CheckForm(form);
  form.dtype = DType::kBF16;
  form.fused = true;
  form.bias = true;
  StoreAs({DType::kInt4, 64}, {}, {}, {DType::kBF16}, &form);
  CheckForm(form);
}

TEST_CASE("keys and values go through a cache of any types with the bits of what it stores") {
  const size_t batch = 2, seq = Quick() ? 30 : 140;
  for (DType keys : kTypes) {
    for (DType values : kTypes) {
      LayerForm form = Form();
      form.k_cache_dtype = keys;
      form.v_cache_dtype = values;
      if (values == DType::kInt4) form.head_dim = 16, form.v_head_dim = 80;
      if (values == keys) form.window = 11, form.sink_tokens = 2, form.sinks = true;
      const LayerProblem p(form, batch, seq);
      const PerFamily<spec::LayerResult> want(
          [&](Family family) { return p.Expected(family, true); });
      for (Runner& runner : Runners()) {
        for (size_t chunk : {seq, size_t{48}, size_t{7}, size_t{1}}) {
          INFO(form << "; chunks of " << chunk << "; " << runner.name);
          CHECK(Difference(p.RunWithCache(chunk, *runner.context), want[runner.family].y) == "");
        }
      }
    }
  }
}

// 20 is turned in parts of 4, 64 at once, 33 not at all.
TEST_CASE("a layer turns queries and keys after norms and RoPE, before its cache") {
  const size_t batch = 2, seq = 30;
  for (const size_t head_dim : {20u, 64u, 33u}) {
    LayerForm form = Form();
    form.head_dim = head_dim;
    form.q_norm = form.k_norm = true;
    if (head_dim % 2 != 0) form.rope = {};
    form.k_cache_dtype = DType::kInt8;
    form.v_cache_dtype = DType::kF16;
    const LayerProblem plain(form, batch, seq);
    form.hadamard = true;
    CheckForm(form);
    const LayerProblem p(form, batch, seq);
    const PerFamily<spec::LayerResult> want(
        [&](Family family) { return p.Expected(family, true); });
    for (Runner& runner : Runners()) {
      const std::vector<float>& y = want[runner.family].y;
      for (size_t chunk : {seq, size_t{7}, size_t{1}}) {
        INFO(form << "; chunks of " << chunk << "; " << runner.name);
        CHECK(Difference(p.RunWithCache(chunk, *runner.context), y) == "");
      }
      const bool same = Difference(plain.RunWithCache(seq, *runner.context), y).empty();
      CHECK(same == (head_dim == 33));
    }
  }
}

// Queries, keys and values are the input itself, and without an output projection the heads are the
// result.
TEST_CASE("a layer's turn is heed::hadamard's, and changes what its cache stores") {
  constexpr size_t kDim = 64, kSeq = 9;
  std::vector<float> one(kDim * kDim, 0.0f);
  for (size_t i = 0; i < kDim; ++i) one[i * kDim + i] = 1.0f;
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = TensorView(one.data(), {kDim, kDim});
  MultiHeadAttentionConfig config = {.d_in = kDim, .num_heads = 1, .head_dim = kDim};
  config.k_cache_dtype = DType::kInt4;
  Random random(29);
  Tensor<float> x = Normal({1, kSeq, kDim}, random);
  for (size_t i = 3; i < x.size(); i += kDim) x[i] *= 20.0f;  // a channel of outliers
  const TensorView heads(&x[0], {1, kSeq, 1, kDim});
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> turned({1, kSeq, 1, kDim}), want({1, kSeq, 1, kDim});
    RequireOk(hadamard(heads, turned.mutable_view(), *runner.context));
    for (const bool on : {false, true}) {
      config.hadamard = on;
      const auto layer = MultiHeadAttention::create(config, weights, *runner.context);
      REQUIRE(layer.ok());
      Result<KvCache> cache = layer->create_cache(1, kSeq), by_hand = layer->create_cache(1, kSeq);
      REQUIRE(cache.ok());
      REQUIRE(by_hand.ok());
      Tensor<float> y({1, kSeq, kDim});
      RequireOk(layer->forward(x.view(), y.mutable_view(), *cache, *runner.context));
      const TensorView rows = on ? turned.view() : heads;
      RequireOk(by_hand->append(rows, heads, *runner.context));
      const std::vector<float> before = want.Dense();
      RequireOk(attention(rows, *by_hand, want.mutable_view(), {.causal = true}, *runner.context));
      CHECK(Difference(y.Dense(), want.Dense()) == "");
      CHECK(Difference(before, want.Dense()) != "");
    }
  }
}

TEST_CASE("a layer's values are the first channels of its keys, as its cache stores them") {
  struct Dims {
    size_t head_dim, v_head_dim;
  };
  const size_t batch = 2, seq = 30;
  for (const Dims& dims : {Dims{20, 20}, Dims{64, 37}}) {
    for (const DType dtype : kTypes) {
      LayerForm form = Form();
      form.values_in_keys = true;
      form.head_dim = dims.head_dim;
      form.v_head_dim = dims.v_head_dim;
      form.bias = form.fused = dims.head_dim == 20;
      form.q_norm = form.k_norm = form.hadamard = dims.head_dim == 64;
      form.k_cache_dtype = dtype;
      form.v_cache_dtype = DType::kBF16;  // becomes that of keys
      StoreAs({DType::kInt8}, {DType::kInt8}, {}, {}, &form);
      if (dtype == DType::kF32) CheckForm(form);
      const LayerProblem p(form, batch, seq);
      CHECK(p.layer().config().v_cache_dtype == dtype);
      const PerFamily<spec::LayerResult> want(
          [&](Family family) { return p.Expected(family, true); });
      for (Runner& runner : Runners()) {
        for (size_t chunk : {seq, size_t{7}, size_t{1}}) {
          INFO(form << "; chunks of " << chunk << "; " << runner.name);
          CHECK(Difference(p.RunWithCache(chunk, *runner.context), want[runner.family].y) == "");
        }
      }
    }
  }
}

// Queries and keys are the input itself, and without an output projection the heads are the result.
TEST_CASE("a layer with values in keys is attention of keys, and of a cache that has them so") {
  constexpr size_t kDim = 16, kValues = 10, kSeq = 9;
  std::vector<float> one(kDim * kDim, 0.0f);
  for (size_t i = 0; i < kDim; ++i) one[i * kDim + i] = 1.0f;
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = TensorView(one.data(), {kDim, kDim});
  MultiHeadAttentionConfig config = {.d_in = kDim, .num_heads = 1, .head_dim = kDim};
  config.v_head_dim = kValues;
  config.rope = RopeOptions{};
  config.hadamard = config.values_in_keys = true;
  config.k_cache_dtype = DType::kInt8;
  Random random(31);
  const int32_t positions[kSeq] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  const Tensor<float> x = Normal({1, kSeq, kDim}, random);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Context& context = *runner.context;
    const auto layer = MultiHeadAttention::create(config, weights, context);
    REQUIRE(layer.ok());
    Tensor<float> rows({1, kSeq, 1, kDim}), want({1, kSeq, 1, kValues}), y({1, kSeq, kValues});
    rows.Assign(x.Dense());
    RequireOk(rope(rows.view(), TensorView(positions, {kSeq}), rows.mutable_view(), *config.rope,
                   context));
    RequireOk(hadamard(rows.view(), rows.mutable_view(), context));
    RequireOk(attention(rows.view(), rows.view(), rows.view().slice(3, 0, kValues),
                        want.mutable_view(), {.causal = true}, context));
    RequireOk(layer->forward(x.view(), y.mutable_view(), {}, context));
    CHECK(Difference(y.Dense(), want.Dense()) == "");

    Result<KvCache> cache = layer->create_cache(1, kSeq), by_hand = layer->create_cache(1, kSeq);
    REQUIRE(cache.ok());
    REQUIRE(by_hand.ok());
    CHECK(cache->bytes() == kKeyBlock * (kDim + 4));
    RequireOk(by_hand->append(rows.view(), context));
    RequireOk(attention(rows.view(), *by_hand, want.mutable_view(), {.causal = true}, context));
    const std::vector<float> before = y.Dense();
    RequireOk(layer->forward(x.view(), y.mutable_view(), *cache, context));
    CHECK(Difference(y.Dense(), want.Dense()) == "");
    CHECK(Difference(y.Dense(), before) != "");
  }
}

// Projections that choose channels of the input, and no output projection: queries are the input,
// keys and values its halves.
struct Chooser {
  static constexpr size_t kHeads = 4, kKvHeads = 2, kDim = 36, kWidth = kHeads * kDim,
                          kHalf = kKvHeads * kDim, kSeq = 150;

  explicit Chooser(const MultiHeadAttentionConfig& with) : config(with) {
    config.d_in = kWidth;
    config.num_heads = kHeads;
    config.num_kv_heads = kKvHeads;
    config.head_dim = kDim;
    config.rope = RopeOptions{};
    for (size_t i = 0; i < kWidth; ++i) one[i * kWidth + i] = 1.0f;
    weights.q.weight = TensorView(one.data(), {kWidth, kWidth});
    weights.k.weight = TensorView(one.data(), {kHalf, kWidth});
    if (!config.values_in_keys) {
      weights.v.weight = TensorView(one.data() + kHalf * kWidth, {kHalf, kWidth});
    }
    Random random(37);
    x.FillNormal(random);
  }

  MultiHeadAttention Make(Context& context) const {
    Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, context);
    REQUIRE(std::string(layer.status().message()) == "");
    return std::move(*layer);
  }
  std::vector<float> Forward(size_t chunk, Context& context) const {
    const MultiHeadAttention layer = Make(context);
    Result<KvCache> cache = layer.create_cache(1, kSeq);
    REQUIRE(cache.ok());
    Tensor<float> y({kSeq, kWidth});
    for (size_t begin = 0; begin < kSeq; begin += chunk) {
      const size_t end = std::min(kSeq, begin + chunk);
      RequireOk(layer.forward(x.view().slice(0, begin, end), y.mutable_view().slice(0, begin, end),
                              *cache, context));
    }
    return y.Dense();
  }
  // The steps of a layer, attention in `compute`.
  std::vector<float> ByHand(Compute compute, Context& context) const {
    std::vector<int32_t> positions(kSeq);
    for (size_t i = 0; i < kSeq; ++i) positions[i] = static_cast<int32_t>(i);
    const auto heads = [&](size_t first, size_t count) {
      Tensor<float> part({1, kSeq, count, kDim});
      std::vector<float> dense;
      for (size_t i = 0; i < kSeq; ++i) {
        for (size_t d = 0; d < count * kDim; ++d) dense.push_back(x[i * kWidth + first + d]);
      }
      part.Assign(dense);
      return part;
    };
    Tensor<float> q = heads(0, kHeads), k = heads(0, kKvHeads);
    const Tensor<float> v = heads(kHalf, kKvHeads);
    for (Tensor<float>* turned : {&q, &k}) {
      RequireOk(rope(turned->view(), TensorView(positions.data(), {kSeq}), turned->mutable_view(),
                     *config.rope, context));
      if (!config.hadamard) continue;
      RequireOk(hadamard(turned->view(), turned->mutable_view(), context));
    }
    Result<KvCache> cache = Make(context).create_cache(1, kSeq);
    REQUIRE(cache.ok());
    RequireOk(config.values_in_keys ? cache->append(k.view(), context)
                                    : cache->append(k.view(), v.view(), context));
    Tensor<float> out({1, kSeq, kHeads, kDim});
    AttentionOptions options;
    options.causal = true;
    options.window = config.window;
    options.logits_soft_cap = config.logits_soft_cap;
    options.compute = compute;
    RequireOk(attention(q.view(), *cache, out.mutable_view(), options, context));
    return out.Dense();
  }

  MultiHeadAttentionConfig config;
  MultiHeadAttentionWeights weights;
  std::vector<float> one = std::vector<float>(kWidth * kWidth, 0.0f);
  Tensor<float> x{{kSeq, kWidth}};
};

TEST_CASE("a layer in int16 is attention in int16 by hand, in prefill and in decode") {
  MultiHeadAttentionConfig configs[4];
  configs[0].k_cache_dtype = configs[0].v_cache_dtype = DType::kInt8;
  configs[1].k_cache_dtype = configs[1].v_cache_dtype = DType::kInt4;
  configs[1].hadamard = true;
  configs[1].window = 90;
  configs[2].k_cache_dtype = DType::kF16;
  configs[2].v_cache_dtype = DType::kInt8;
  configs[2].logits_soft_cap = 5.0f;
  configs[3].k_cache_dtype = DType::kInt8;
  configs[3].values_in_keys = true;
  for (MultiHeadAttentionConfig& config : configs) {
    config.attention_compute = Compute::kInt16;
    const Chooser layer(config);
    for (Runner& runner : Runners()) {
      const std::vector<float> want = layer.ByHand(Compute::kInt16, *runner.context);
      CHECK(Difference(want, layer.ByHand(Compute::kF32, *runner.context)) != "");
      for (const size_t chunk : {Chooser::kSeq, size_t{40}, size_t{1}}) {
        INFO("keys " << name_of(config.k_cache_dtype) << ", values "
                     << name_of(config.v_cache_dtype) << "; chunks of " << chunk << "; "
                     << runner.name);
        CHECK(Difference(layer.Forward(chunk, *runner.context), want) == "");
      }
    }
  }
}

TEST_CASE("stored weights and a stored cache together") {
  LayerForm form = Form();
  form.q_norm = form.k_norm = true;
  StoreAs({DType::kInt8}, {DType::kInt8}, {DType::kInt4, 32}, {DType::kInt4, 32}, &form);
  form.k_cache_dtype = DType::kBF16;
  form.v_cache_dtype = DType::kInt8;
  const LayerProblem p(form, 1, 40);
  const PerFamily<spec::LayerResult> want([&](Family family) { return p.Expected(family, true); });
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    for (size_t chunk : {40u, 9u, 1u}) {
      CHECK(Difference(p.RunWithCache(chunk, *runner.context), want[runner.family].y) == "");
    }
  }
}

TEST_CASE("a layer's bytes are those of its packed matrices") {
  LayerForm form;
  form.d_in = form.d_out = 256;
  form.num_heads = 4;
  form.head_dim = 64;
  const size_t elements = 4 * 256 * 256, scales = 4 * 256;  // a scale for each output
  const auto bytes = [&](const PackOptions& storage) {
    StoreAs(storage, storage, storage, storage, &form);
    return LayerProblem(form, 1, 1).layer().bytes();
  };
  CHECK(bytes({}) == 4 * elements);
  CHECK(bytes({DType::kBF16}) == 2 * elements);
  CHECK(bytes({DType::kF16}) == 2 * elements);
  CHECK(bytes({DType::kInt8}) == elements + 4 * scales);
  CHECK(bytes({DType::kInt8, 32}) == elements + 4 * elements / 32);
  CHECK(bytes({DType::kInt4, 32}) == elements / 2 + 2 * elements / 32);
  StoreAs({DType::kBF16}, {DType::kInt8}, {}, {DType::kInt4, 32}, &form);
  const size_t each = elements / 4;
  CHECK(LayerProblem(form, 1, 1).layer().bytes() ==
        2 * each + (each + 4 * 256) + 4 * each + (each / 2 + 2 * each / 32));
}

TEST_CASE("a layer makes caches of its types") {
  LayerForm form = Form();
  form.k_cache_dtype = DType::kF16;
  form.v_cache_dtype = DType::kInt4;
  const LayerProblem p(form, 1, 1);
  const Result<KvCache> cache = p.layer().create_cache(3, 200);
  REQUIRE(cache.ok());
  CHECK(cache->config().k_dtype == DType::kF16);
  CHECK(cache->config().v_dtype == DType::kInt4);
  KvCacheConfig f32 = cache->config();
  f32.k_dtype = f32.v_dtype = DType::kF32;
  CHECK(cache->bytes() < KvCache::create(f32)->bytes() / 2);
}

}  // namespace
}  // namespace heed::test
