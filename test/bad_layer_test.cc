// MultiHeadAttention refuses bad configurations, weights and inputs, names them and changes
// nothing.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "test/support/compare.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
constexpr size_t kHuge = SIZE_MAX;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A valid layer to be spoiled: d_in 10, heads 4/2, head_dim 8, v_head_dim 6, d_out 12, RoPE.
struct Parts {
  Parts() {
    Random random(1);
    for (Tensor<float>* t : {&q, &k, &v, &out, &qkv, &bias}) t->FillNormal(random);
    config.d_in = 10;
    config.num_heads = 4;
    config.num_kv_heads = 2;
    config.head_dim = 8;
    config.v_head_dim = 6;
    config.rope = RopeOptions{};
    weights.layout = WeightLayout::kOutIn;
    weights.q.weight = q.view();
    weights.q.bias = bias.view();
    weights.k.weight = k.view();
    weights.v.weight = v.view();
    weights.out.weight = out.view();
  }
  Tensor<float> q{{32, 10}}, k{{16, 10}}, v{{12, 10}}, out{{12, 24}}, qkv{{60, 10}}, bias{{32}};
  MultiHeadAttentionConfig config;
  MultiHeadAttentionWeights weights;
};

struct BadParts {
  const char* what;
  StatusCode code;
  const char* argument;
  void (*spoil)(Parts&);
};

const BadParts kBadParts[] = {
    {"d_in 0", kInvalid, "d_in", [](Parts& p) { p.config.d_in = 0; }},
    {"num_heads 0", kInvalid, "num_heads", [](Parts& p) { p.config.num_heads = 0; }},
    {"head_dim 0", kInvalid, "head_dim", [](Parts& p) { p.config.head_dim = 0; }},
    {"heads do not divide", kInvalid, "num_heads", [](Parts& p) { p.config.num_kv_heads = 3; }},
    {"more kv heads than heads", kInvalid, "num_heads",
     [](Parts& p) { p.config.num_kv_heads = 8; }},
    {"negative num_heads", kInvalid, "num_heads", [](Parts& p) { p.config.num_heads = kHuge - 1; }},
    {"negative d_in", kInvalid, "d_in", [](Parts& p) { p.config.d_in = kHuge; }},
    {"head_dim that overflows", kInvalid, "head_dim",
     [](Parts& p) { p.config.head_dim = kHuge / 4 + 2; }},
    {"v_head_dim that overflows", kInvalid, "v_head_dim",
     [](Parts& p) { p.config.v_head_dim = kHuge / 4 + 2; }},
    {"scale NaN", kInvalid, "scale", [](Parts& p) { p.config.scale = kNaN; }},
    {"rope_dim odd", kInvalid, "rope_dim", [](Parts& p) { p.config.rope->rope_dim = 5; }},
    {"rope_dim above head_dim", kInvalid, "rope_dim",
     [](Parts& p) { p.config.rope->rope_dim = 10; }},
    {"theta 0", kInvalid, "theta", [](Parts& p) { p.config.rope->theta = 0.0; }},
    {"q missing", kInvalid, "q", [](Parts& p) { p.weights.q = {}; }},
    {"k missing", kInvalid, "k", [](Parts& p) { p.weights.k = {}; }},
    {"v missing", kInvalid, "v", [](Parts& p) { p.weights.v = {}; }},
    {"v beside values in keys", kInvalid, "v", [](Parts& p) { p.config.values_in_keys = true; }},
    {"a bias of v beside values in keys", kInvalid, "v",
     [](Parts& p) {
       p.config.values_in_keys = true;
       p.weights.v = {.weight = {}, .bias = p.bias.view().slice(0, 0, 12)};
     }},
    {"a fused v beside values in keys", kInvalid, "qkv",
     [](Parts& p) {
       p.config.values_in_keys = true;
       p.weights.q = p.weights.k = p.weights.v = {};
       p.weights.qkv.weight = p.qkv.view();
     }},
    {"values wider than the keys they lie in", kInvalid, "v_head_dim",
     [](Parts& p) { p.config.values_in_keys = true, p.config.v_head_dim = 9, p.weights.v = {}; }},
    {"int16 of keys and values in floats", kInvalid, "config.attention_compute",
     [](Parts& p) {
       p.config.attention_compute = Compute::kInt16;
       p.config.k_cache_dtype = DType::kF16;
     }},
    {"a compute that there is not", kInvalid, "config.attention_compute",
     [](Parts& p) {
       p.config.attention_compute = static_cast<Compute>(2);
       p.config.k_cache_dtype = DType::kInt8;
     }},
    {"no projections", kInvalid, "q",
     [](Parts& p) { p.weights.q = p.weights.k = p.weights.v = {}; }},
    {"separate and fused", kInvalid, "qkv", [](Parts& p) { p.weights.qkv.weight = p.qkv.view(); }},
    {"q null", kInvalid, "q", [](Parts& p) { p.weights.q.weight.data = nullptr; }},
    {"q in i32", kUnsupported, "q", [](Parts& p) { p.weights.q.weight.dtype = DType::kI32; }},
    {"k in another layout", kInvalid, "k",
     [](Parts& p) { p.weights.k.weight = p.weights.k.weight.transpose(0, 1); }},
    {"q with too few outputs", kInvalid, "q",
     [](Parts& p) { p.weights.q.weight = p.weights.q.weight.slice(0, 0, 31); }},
    {"v of rank 1", kInvalid, "v", [](Parts& p) { p.weights.v.weight.rank = 1; }},
    {"v with other inputs", kInvalid, "v",
     [](Parts& p) { p.weights.v.weight = p.weights.v.weight.slice(1, 0, 9); }},
    {"bias of another size", kInvalid, "q",
     [](Parts& p) { p.weights.q.bias = p.weights.q.bias.slice(0, 0, 31); }},
    {"bias null", kInvalid, "q", [](Parts& p) { p.weights.q.bias.data = nullptr; }},
    {"bias in u8", kUnsupported, "q", [](Parts& p) { p.weights.q.bias.dtype = DType::kU8; }},
    {"bias without a weight", kInvalid, "out",
     [](Parts& p) { p.weights.out = {.weight = {}, .bias = p.bias.view()}; }},
    {"out with other inputs", kInvalid, "out",
     [](Parts& p) { p.weights.out.weight = p.weights.out.weight.slice(1, 0, 23); }},
    {"fused with too few outputs", kInvalid, "qkv",
     [](Parts& p) {
       p.weights.q = p.weights.k = p.weights.v = {};
       p.weights.qkv.weight = p.qkv.view().slice(0, 0, 59);
     }},
    {"a factor of RoPE below 1", kInvalid, "factor",
     [](Parts& p) {
       p.config.rope->scaling.type = RopeScalingType::kLinear;
       p.config.rope->scaling.factor = 0.5;
     }},
    {"a window without causal", kInvalid, "window",
     [](Parts& p) { p.config.window = 4, p.config.causal = false; }},
    {"sink tokens without a window", kInvalid, "sink_tokens",
     [](Parts& p) { p.config.sink_tokens = 4; }},
    {"a negative soft cap", kInvalid, "logits_soft_cap",
     [](Parts& p) { p.config.logits_soft_cap = -1.0f; }},
    {"eps NaN", kInvalid, "norm_eps", [](Parts& p) { p.config.norm_eps = kNaN; }},
    {"an infinite offset", kInvalid, "norm_weight_offset",
     [](Parts& p) { p.config.norm_weight_offset = HUGE_VALF; }},
    {"q_norm of another size", kInvalid, "q_norm",
     [](Parts& p) { p.weights.q_norm = p.bias.view().slice(0, 0, 7); }},
    {"k_norm of rank 2", kInvalid, "k_norm", [](Parts& p) { p.weights.k_norm = p.k.view(); }},
    {"sinks null", kInvalid, "sinks",
     [](Parts& p) {
       p.weights.sinks = p.bias.view().slice(0, 0, 4), p.weights.sinks.data = nullptr;
     }},
    {"slopes in i32", kUnsupported, "alibi_slopes",
     [](Parts& p) {
       p.weights.alibi_slopes = p.bias.view().slice(0, 0, 4);
       p.weights.alibi_slopes.dtype = DType::kI32;
     }},
    {"int4 without groups", kInvalid, "q.weight",
     [](Parts& p) { p.weights.q.storage.dtype = DType::kInt4; }},
    {"groups that are no multiple of 16", kInvalid, "k.weight",
     [](Parts& p) {
       p.weights.k.storage = {DType::kInt8, 24};
     }},
    {"groups of what is not quantized", kInvalid, "v.weight",
     [](Parts& p) {
       p.weights.v.storage = {DType::kBF16, 32};
     }},
    {"storage that is none", kUnsupported, "out.weight",
     [](Parts& p) { p.weights.out.storage.dtype = DType::kU8; }},
    {"a fused weight in groups of 0", kInvalid, "qkv.weight",
     [](Parts& p) {
       p.weights.q = p.weights.k = p.weights.v = {};
       p.weights.qkv = {.weight = p.qkv.view(), .storage = {DType::kInt4, 0}};
     }},
    {"a NaN that is to be quantized", kInvalid, "v.weight",
     [](Parts& p) {
       p.v[17] = kNaN;
       p.weights.q.storage = p.weights.k.storage = p.weights.v.storage = {DType::kInt8};
     }},
    {"a weight of absurd size", kInvalid, "out",
     [](Parts& p) { p.weights.out.weight.shape[0] = kHuge; }},
};

TEST_CASE("a layer refuses bad configurations and weights, and names them") {
  Parts good;
  Context context;
  const Result<MultiHeadAttention> layer =
      MultiHeadAttention::create(good.config, good.weights, context);
  CHECK(std::string(layer.status().message()) == "");
  for (const BadParts& bad : kBadParts) {
    INFO(std::string(bad.what));
    Parts parts;
    bad.spoil(parts);
    const Result<MultiHeadAttention> spoiled =
        MultiHeadAttention::create(parts.config, parts.weights, context);
    CHECK(WrongRefusal(spoiled.status(), bad.code, bad.argument) == "");
  }
}

// A valid call to be spoiled: batch 2, seq 3, a cache of 5 tokens that holds 1.
struct Call {
  Call() : layer(MakeLayer()), cache(MakeCache()) {
    Random random(2);
    x_data.FillNormal(random);
    for (size_t i = 0; i < 6; ++i) at_data[i] = static_cast<int32_t>(i);
    k_data.FillNormal(random);
    v_data.FillNormal(random);
    Context context;
    REQUIRE(cache.append(k_data.view(), v_data.view(), context).ok());
    options.cache = &cache;
  }
  static MultiHeadAttention MakeLayer(bool has_output = true) {
    Parts parts;
    if (!has_output) parts.weights.out = {};
    Context context;
    return std::move(*MultiHeadAttention::create(parts.config, parts.weights, context));
  }
  KvCache MakeCache() const { return std::move(*layer.create_cache(2, 5)); }

  Status Run(Context& context) { return layer.forward(x, y, options, context); }
  bool Untouched() const {
    return y_data.AllUntouched() && lse_data.AllUntouched() && weights_data.AllUntouched() &&
           context_data.AllUntouched() && joined_data.AllUntouched() && cache.length() == 1;
  }

  MultiHeadAttention layer;
  KvCache cache;
  Tensor<float> x_data{{2, 3, 10}}, k_data{{2, 1, 2, 8}}, v_data{{2, 1, 2, 6}};
  Tensor<int32_t> at_data{{2, 3}};
  Tensor<float> y_data{{2, 3, 12}}, lse_data{{2, 4, 3}}, weights_data{{2, 4, 3, 4}};
  Tensor<float> context_data{{2, 3, 24}}, joined_data{{2, 3, 24}}, mask_data{{2, 4, 3, 4}};
  TensorView x = x_data.view();
  MutableTensorView y = y_data.mutable_view();
  ForwardOptions options;
};

struct BadCall {
  const char* what;
  StatusCode code;
  const char* argument;
  void (*spoil)(Call&);
};

const BadCall kBadCalls[] = {
    {"x absent", kInvalid, "x", [](Call& c) { c.x = {}; }},
    {"x null", kInvalid, "x", [](Call& c) { c.x.data = nullptr; }},
    {"y absent", kInvalid, "y", [](Call& c) { c.y = {}; }},
    {"y null", kInvalid, "y", [](Call& c) { c.y.data = nullptr; }},
    {"x of rank 1", kInvalid, "x", [](Call& c) { c.x = TensorView(&c.x_data[0], {10}); }},
    {"x of another width", kInvalid, "x", [](Call& c) { c.x.shape[2] = 9; }},
    {"x in i32", kUnsupported, "x", [](Call& c) { c.x.dtype = DType::kI32; }},
    {"x of endless length", kInvalid, "x", [](Call& c) { c.x.shape[1] = kHuge; }},
    {"y of another length", kInvalid, "y", [](Call& c) { c.y.shape[1] = 2; }},
    {"y of another width", kInvalid, "y", [](Call& c) { c.y.shape[2] = 11; }},
    {"y of another rank", kInvalid, "y",
     [](Call& c) {
       c.y = MutableTensorView(&c.y_data[0], {6, 12});
     }},
    {"y in int8", kUnsupported, "y", [](Call& c) { c.y.dtype = DType::kInt8; }},
    {"y's rows share memory", kInvalid, "y", [](Call& c) { c.y.strides[1] = 0; }},
    {"y without unit stride", kInvalid, "y",
     [](Call& c) {
       c.y = MutableTensorView(&c.y_data[0], {2, 3, 12}, {1, 24, 2});
     }},
    {"y overlaps x", kInvalid, "y",
     [](Call& c) {
       c.y = MutableTensorView(&c.x_data[0], {2, 3, 12}, {30, 12, 1});
     }},
    {"a batch that is not the cache's", kInvalid, "cache",
     [](Call& c) { c.x.shape[0] = c.y.shape[0] = 1; }},
    {"positions of another shape", kInvalid, "positions",
     [](Call& c) { c.options.positions = c.at_data.view().slice(1, 0, 2); }},
    {"positions in f32", kUnsupported, "positions",
     [](Call& c) {
       c.options.positions = TensorView(&c.x_data[0], {2, 3});
     }},
    {"a negative position", kInvalid, "positions",
     [](Call& c) { c.at_data[4] = -7, c.options.positions = c.at_data.view(); }},
    {"dropout 1", kInvalid, "dropout", [](Call& c) { c.options.dropout.probability = 1.0f; }},
    {"a mask without the past", kInvalid, "mask",
     [](Call& c) { c.options.dropout.mask = c.mask_data.view().slice(3, 0, 3); }},
    {"lse of another shape", kInvalid, "lse",
     [](Call& c) { c.options.lse = c.lse_data.mutable_view().slice(2, 0, 2); }},
    {"weights without the past", kInvalid, "weights",
     [](Call& c) { c.options.weights = c.weights_data.mutable_view().slice(3, 0, 3); }},
    {"context of another width", kInvalid, "context",
     [](Call& c) { c.options.context = c.context_data.mutable_view().slice(2, 0, 23); }},
    {"context overlaps y", kInvalid, "context",
     [](Call& c) {
       c.options.context = MutableTensorView(&c.y_data[70], {2, 3, 24});
     }},
    {"lengths with a cache", kInvalid, "kv_lens",
     [](Call& c) { c.options.kv_lens = TensorView(&c.at_data[0], {2}); }},
    {"a negative length", kInvalid, "kv_lens",
     [](Call& c) {
       c.at_data[1] = -1;
       c.options.kv_lens = TensorView(&c.at_data[0], {2});
       c.options.cache = nullptr;
     }},
    {"a length beyond the tokens", kInvalid, "kv_lens",
     [](Call& c) {
       c.at_data[1] = 4;
       c.options.kv_lens = TensorView(&c.at_data[0], {2});
       c.options.cache = nullptr;
     }},
    {"a key mask without the past", kInvalid, "key_mask",
     [](Call& c) {
       static const uint8_t mask[6] = {};
       c.options.key_mask = TensorView(mask, {2, 3});
     }},
    {"lse overlaps x", kInvalid, "lse",
     [](Call& c) {
       c.options.lse = MutableTensorView(&c.x_data[0], {2, 4, 3});
     }},
    {"lse overlaps y", kInvalid, "lse",
     [](Call& c) {
       c.options.lse = MutableTensorView(&c.y_data[71], {2, 4, 3});
     }},
    {"lse overlaps context", kInvalid, "lse",
     [](Call& c) {
       c.options.context = c.context_data.mutable_view();
       c.options.lse = MutableTensorView(&c.context_data[143], {2, 4, 3});
     }},
    {"lse overlaps context, without an output projection", kInvalid, "lse",
     [](Call& c) {
       c.layer = Call::MakeLayer(/*has_output=*/false);
       c.y = c.joined_data.mutable_view();
       c.options.context = c.context_data.mutable_view();
       c.options.lse = MutableTensorView(&c.context_data[143], {2, 4, 3});
     }},
    {"weights overlap context", kInvalid, "weights",
     [](Call& c) {
       c.options.context = c.context_data.mutable_view();
       c.options.weights = MutableTensorView(&c.context_data[143], {2, 4, 3, 4});
     }},
};

TEST_CASE("forward refuses bad arguments, names them and leaves y and the cache as they were") {
  Context context;
  Call good;
  good.options.lse = good.lse_data.mutable_view();
  good.options.weights = good.weights_data.mutable_view();
  good.options.context = good.context_data.mutable_view();
  good.options.positions = good.at_data.view();
  CHECK(std::string(good.Run(context).message()) == "");
  CHECK(good.cache.length() == 4);
  for (const BadCall& bad : kBadCalls) {
    INFO(std::string(bad.what));
    Call call;
    const std::vector<float> x = call.x_data.Dense();
    bad.spoil(call);
    CHECK(WrongRefusal(call.Run(context), bad.code, bad.argument) == "");
    CHECK(call.Untouched());
    CHECK(Difference(call.x_data.Dense(), x) == "");
  }
}

TEST_CASE("forward refuses tokens that do not fit the cache, and caches of another layer") {
  Context context;
  Call call;
  REQUIRE(call.Run(context).ok());
  call.y_data.Reset();
  CHECK(call.Run(context).code() == StatusCode::kCapacityExceeded);
  CHECK(call.cache.length() == 4);
  CHECK(call.y_data.AllUntouched());

  KvCacheConfig config;
  config.batch = 2;
  config.num_kv_heads = 4;
  config.head_dim = 8;
  config.v_head_dim = 6;
  config.capacity = 10;
  Result<KvCache> other = KvCache::create(config);
  REQUIRE(other.ok());
  call.options.cache = &*other;
  CHECK(WrongRefusal(call.Run(context), kInvalid, "cache") == "");
  CHECK(other->length() == 0);
  CHECK(call.y_data.AllUntouched());
}

TEST_CASE(
    "forward refuses a ring that forgets what the layer sees, and values that lie elsewhere") {
  Context context;
  Call call;
  KvCacheConfig ring = call.cache.config(), shared = ring;
  ring.window = 4;
  shared.values_in_keys = true;
  for (const KvCacheConfig& config : {ring, shared}) {
    INFO("window " << config.window);
    Result<KvCache> cache = KvCache::create(config);
    REQUIRE(cache.ok());
    call.options.cache = &*cache;
    CHECK(WrongRefusal(call.Run(context), kInvalid, "cache") == "");
    CHECK(cache->length() == 0);
    CHECK(call.y_data.AllUntouched());
  }
}

TEST_CASE("forward refuses a cache that holds values apart where the layer has them in keys") {
  Parts parts;
  parts.config.values_in_keys = true;
  parts.weights.v = {};
  Context context;
  const auto layer = MultiHeadAttention::create(parts.config, parts.weights, context);
  REQUIRE(layer.ok());
  CHECK(layer->config().v_cache_dtype == DType::kF32);
  KvCacheConfig config = layer->create_cache(1, 4)->config();
  CHECK(config.values_in_keys);
  config.values_in_keys = false;
  Result<KvCache> apart = KvCache::create(config);
  REQUIRE(apart.ok());
  Tensor<float> x({1, 3, 10}), y({1, 3, 12});
  const Status status = layer->forward(x.view(), y.mutable_view(), *apart, context);
  CHECK(WrongRefusal(status, kInvalid, "cache") == "");
  CHECK(apart->length() == 0);
  CHECK(y.AllUntouched());
}

TEST_CASE("forward in int16 refuses to go without a cache of int8 or int4") {
  Parts parts;
  parts.config.attention_compute = Compute::kInt16;
  parts.config.v_cache_dtype = DType::kInt4;
  Context context;
  const auto layer = MultiHeadAttention::create(parts.config, parts.weights, context);
  REQUIRE(std::string(layer.status().message()) == "");
  CHECK(layer->config().attention_compute == Compute::kInt16);
  KvCacheConfig config = layer->cache_config(1, 4);
  CHECK(config.v_dtype == DType::kInt4);
  config.v_dtype = DType::kBF16;
  Result<KvCache> floats = KvCache::create(config);
  REQUIRE(floats.ok());
  Tensor<float> x({1, 3, 10}), y({1, 3, 12});
  CHECK(WrongRefusal(layer->forward(x.view(), y.mutable_view(), *floats, context), kInvalid,
                     "cache") == "");
  CHECK(WrongRefusal(layer->forward(x.view(), y.mutable_view(), {}, context), kInvalid, "cache") ==
        "");
  CHECK(floats->length() == 0);
  CHECK(y.AllUntouched());
}

TEST_CASE("create_cache refuses what KvCache refuses") {
  const MultiHeadAttention layer = Call::MakeLayer();
  CHECK(layer.create_cache(0, 5).status().code() == kInvalid);
  CHECK(layer.create_cache(1, 0).status().code() == kInvalid);
  CHECK(layer.create_cache(kHuge, kHuge).status().code() == kInvalid);
}

TEST_CASE("forward of no tokens does nothing") {
  Context context;
  Call call;
  call.x = call.x.slice(1, 1, 1);
  call.y = call.y.slice(1, 1, 1);
  CHECK(std::string(call.Run(context).message()) == "");
  CHECK(call.Untouched());
}

}  // namespace
}  // namespace heed::test
