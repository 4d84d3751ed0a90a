// attention and KvCache refuse bad arguments with a message that names them, and write nothing.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "heed/attention.hpp"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
constexpr size_t kHuge = SIZE_MAX;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
const float* const kNull = nullptr;

// A valid call, to be spoiled: batch 2, q_len 3, kv_len 5, heads 4/2, head_dim 8, v_head_dim 6.
struct Call {
  Call() {
    Random random(1);
    for (Tensor<float>* t : {&q_data, &k_data, &v_data, &mask_data}) t->FillNormal(random);
    options.lse = lse_data.mutable_view();
    options.weights = weights_data.mutable_view();
  }
  Status Run(Context& context) { return attention(q, k, v, out, options, context); }
  bool Untouched() const {
    return out_data.AllUntouched() && lse_data.AllUntouched() && weights_data.AllUntouched();
  }

  Tensor<float> q_data{{2, 3, 4, 8}}, k_data{{2, 5, 2, 8}}, v_data{{2, 5, 2, 6}};
  Tensor<float> mask_data{{2, 4, 3, 5}};
  Tensor<float> out_data{{2, 3, 4, 6}}, lse_data{{2, 4, 3}}, weights_data{{2, 4, 3, 5}};
  TensorView q = q_data.view(), k = k_data.view(), v = v_data.view();
  MutableTensorView out = out_data.mutable_view();
  AttentionOptions options;
};

struct BadCall {
  const char* what;
  StatusCode code;
  const char* argument;
  void (*spoil)(Call&);
};

const BadCall kBadCalls[] = {
    {"q absent", kInvalid, "q", [](Call& c) { c.q = {}; }},
    {"k absent", kInvalid, "k", [](Call& c) { c.k = {}; }},
    {"v absent", kInvalid, "v", [](Call& c) { c.v = {}; }},
    {"out absent", kInvalid, "out", [](Call& c) { c.out = {}; }},
    {"q null", kInvalid, "q", [](Call& c) { c.q.data = nullptr; }},
    {"k null", kInvalid, "k", [](Call& c) { c.k.data = nullptr; }},
    {"v null", kInvalid, "v", [](Call& c) { c.v.data = nullptr; }},
    {"out null", kInvalid, "out", [](Call& c) { c.out.data = nullptr; }},
    {"q of rank 2", kInvalid, "q", [](Call& c) { c.q.rank = 2; }},
    {"q of an invalid slice", kInvalid, "q", [](Call& c) { c.q = c.q.slice(1, 2, 9); }},
    {"k of another rank", kInvalid, "k",
     [](Call& c) {
       c.k = TensorView(&c.k_data[0], {5, 2, 8});
     }},
    {"absurd rank", kInvalid, "v", [](Call& c) { c.v.rank = 5; }},
    {"q in u8", kUnsupported, "q", [](Call& c) { c.q.dtype = DType::kU8; }},
    {"k in int8 without scales", kInvalid, "k_scales", [](Call& c) { c.k.dtype = DType::kInt8; }},
    {"v in int4, a byte a code", kInvalid, "v", [](Call& c) { c.v.dtype = DType::kInt4; }},
    {"v in i32", kUnsupported, "v", [](Call& c) { c.v.dtype = DType::kI32; }},
    {"out in int8", kUnsupported, "out", [](Call& c) { c.out.dtype = DType::kInt8; }},
    {"out in i32", kUnsupported, "out", [](Call& c) { c.out.dtype = DType::kI32; }},
    {"a dtype that does not exist", kUnsupported, "k",
     [](Call& c) { c.k.dtype = static_cast<DType>(99); }},
    {"head_dim 0", kInvalid, "head_dim", [](Call& c) { c.q.shape[3] = c.k.shape[3] = 0; }},
    {"head_dims differ", kInvalid, "k", [](Call& c) { c.k.shape[3] = 7; }},
    {"k with a head_dim of 0", kInvalid, "k: head_dim is 0, must be at least 1",
     [](Call& c) { c.k.shape[3] = 0; }},
    {"q of rank 2", kInvalid, "q: rank is 2, must be 3 to 4", [](Call& c) { c.q.rank = 2; }},
    {"kv_len differs", kInvalid, "v", [](Call& c) { c.v.shape[1] = 4; }},
    {"k has another batch", kInvalid, "k", [](Call& c) { c.k.shape[0] = 1; }},
    {"v has another batch", kInvalid, "v", [](Call& c) { c.v.shape[0] = 1; }},
    {"v has other heads", kInvalid, "v", [](Call& c) { c.v.shape[2] = 1; }},
    {"out has another batch", kInvalid, "out", [](Call& c) { c.out.shape[0] = 1; }},
    {"out has other rows", kInvalid, "out", [](Call& c) { c.out.shape[1] = 2; }},
    {"out has other heads", kInvalid, "out", [](Call& c) { c.out.shape[2] = 2; }},
    {"out has another v_head_dim", kInvalid, "out", [](Call& c) { c.out.shape[3] = 5; }},
    {"heads do not divide", kInvalid, "num_heads",
     [](Call& c) { c.q = c.q.slice(2, 0, 3), c.out = c.out.slice(2, 0, 3), c.options = {}; }},
    {"no kv heads", kInvalid, "num_kv_heads: is 0, must be at least 1",
     [](Call& c) { c.k.shape[2] = c.v.shape[2] = 0; }},
    {"a negative size", kInvalid, "q", [](Call& c) { c.q.shape[1] = kHuge; }},
    {"sizes that overflow", kInvalid, "k",
     [](Call& c) { c.k.shape[1] = c.v.shape[1] = kHuge / 8; }},
    {"strides that overflow", kInvalid, "v", [](Call& c) { c.v.strides[1] = PTRDIFF_MAX; }},
    {"strides below address 0", kInvalid, "k", [](Call& c) { c.k.strides[1] = PTRDIFF_MIN / 32; }},
    {"out's rows share memory", kInvalid, "out", [](Call& c) { c.out.strides[1] = 0; }},
    {"out's heads overlap", kInvalid, "out", [](Call& c) { c.out.strides[2] = 3; }},
    {"out has no unit stride", kInvalid, "out",
     [](Call& c) {
       c.out = MutableTensorView(&c.out_data[0], {2, 1, 1, 6}, {72, 72, 72, 2});
     }},
    {"scale NaN", kInvalid, "scale", [](Call& c) { c.options.scale = kNaN; }},
    {"scale infinite", kInvalid, "scale", [](Call& c) { c.options.scale = -kInf; }},
    {"dropout negative", kInvalid, "dropout",
     [](Call& c) { c.options.dropout.probability = -0.1f; }},
    {"dropout 1", kInvalid, "dropout", [](Call& c) { c.options.dropout.probability = 1.0f; }},
    {"dropout NaN", kInvalid, "dropout", [](Call& c) { c.options.dropout.probability = kNaN; }},
    {"mask of another shape", kInvalid, "mask",
     [](Call& c) { c.options.dropout.mask = c.mask_data.view().slice(3, 0, 4); }},
    {"mask null", kInvalid, "mask",
     [](Call& c) {
       c.options.dropout.mask = TensorView(kNull, {2, 4, 3, 5});
     }},
    {"mask in u8", kUnsupported, "mask",
     [](Call& c) {
       c.options.dropout.mask = c.mask_data.view();
       c.options.dropout.mask.dtype = DType::kU8;
     }},
    {"lse of another shape", kInvalid, "lse", [](Call& c) { c.options.lse.shape[2] = 2; }},
    {"lse null", kInvalid, "lse", [](Call& c) { c.options.lse.data = nullptr; }},
    {"lse's heads share memory", kInvalid, "lse", [](Call& c) { c.options.lse.strides[1] = 0; }},
    {"lse in f16", kUnsupported, "lse", [](Call& c) { c.options.lse.dtype = DType::kF16; }},
    {"weights of another shape", kInvalid, "weights",
     [](Call& c) { c.options.weights.shape[3] = 4; }},
    {"weights without unit stride", kInvalid, "weights",
     [](Call& c) { c.options.weights.strides[3] = 2; }},
    {"weights' rows share memory", kInvalid, "weights",
     [](Call& c) { c.options.weights.strides[2] = 0; }},
    {"out is q", kInvalid, "out",
     [](Call& c) {
       c.out = MutableTensorView(&c.q_data[0], {2, 3, 4, 6});
     }},
    {"out is k", kInvalid, "out",
     [](Call& c) {
       c.out = MutableTensorView(&c.k_data[3], {2, 3, 4, 6}, {72, 24, 6, 1});
     }},
    {"out overlaps v's end", kInvalid, "out",
     [](Call& c) {
       c.v = TensorView(&c.out_data[143], {2, 5, 2, 6}, {0, 0, 0, 0});
     }},
    {"out overlaps the mask", kInvalid, "out",
     [](Call& c) {
       c.options.dropout.mask = TensorView(&c.out_data[0], {2, 4, 3, 5});
     }},
    {"lse overlaps out", kInvalid, "lse",
     [](Call& c) {
       c.options.lse = MutableTensorView(&c.out_data[5], {2, 4, 3});
     }},
    {"weights overlap q", kInvalid, "weights",
     [](Call& c) {
       c.options.weights = MutableTensorView(&c.q_data[0], {2, 4, 3, 5});
     }},
    {"weights overlap lse", kInvalid, "weights",
     [](Call& c) {
       c.options.lse = MutableTensorView(&c.weights_data[119], {2, 4, 3});
       c.options.weights = c.weights_data.mutable_view();
     }},
};

TEST_CASE("attention refuses bad arguments, names them and writes nothing") {
  Context context;
  REQUIRE(context.status().ok());
  CHECK(Call().Run(context).ok());
  for (const BadCall& bad : kBadCalls) {
    INFO(std::string(bad.what));
    Call call;
    const std::vector<float> q = call.q_data.Dense(), k = call.k_data.Dense();
    bad.spoil(call);
    CHECK(WrongRefusal(call.Run(context), bad.code, bad.argument) == "");
    CHECK(call.Untouched());
    CHECK(Difference(call.q_data.Dense(), q) == "");
    CHECK(Difference(call.k_data.Dense(), k) == "");
  }
}

TEST_CASE("attention takes disjoint slices of one buffer: q, k, v and even out side by side") {
  Random random(2);
  const size_t len = 6, width = 4 * 8 + 2 * 8 + 2 * 8 + 4 * 8;  // q, k, v and out of one token
  Tensor<float> fused = Normal({len, width}, random), copy = fused;
  const auto part = [&](Tensor<float>& t, size_t begin, size_t heads) {
    return MutableTensorView(&t[begin], {len, heads, 8}, {static_cast<ptrdiff_t>(width), 8, 1});
  };
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> out({len, 4, 8});
    REQUIRE(attention(part(copy, 0, 4), part(copy, 32, 2), part(copy, 48, 2), out.mutable_view(),
                      {}, *runner.context)
                .ok());
    const Status status = attention(part(fused, 0, 4), part(fused, 32, 2), part(fused, 48, 2),
                                    part(fused, 64, 4), {}, *runner.context);
    REQUIRE(std::string(status.message()) == "");
    std::vector<float> want = copy.Dense();
    for (size_t i = 0; i < out.size(); ++i) want[i / 32 * width + 64 + i % 32] = out[i];
    CHECK(Difference(fused.Dense(), want) == "");
  }
}

TEST_CASE("k and v may be the same memory, and inputs may repeat elements through strides of 0") {
  Context context;
  Random random(3);
  Tensor<float> q = Normal({3, 2, 8}, random), k = Normal({5, 1, 8}, random), out({3, 2, 8});
  const TensorView every_head(&k[0], {5, 2, 8}, {8, 0, 1});
  CHECK(attention(q.view(), every_head, every_head, out.mutable_view(), {}, context).ok());
}

TEST_CASE("attention refuses a context that was refused, or moved from") {
  ContextOptions options;
  options.target = "AVX9";
  Context unknown(options), good;
  CHECK(WrongRefusal(unknown.status(), kInvalid, "AVX9") == "");
  Call call;
  CHECK(WrongRefusal(call.Run(unknown), kInvalid, "AVX9") == "");
  const Context taken = std::move(good);
  CHECK(call.Run(good).code() == kInvalid);  // NOLINT: what moving leaves behind is the test
  CHECK(call.Untouched());
}

KvCacheConfig CacheConfig() {
  KvCacheConfig config;
  config.batch = 2;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.v_head_dim = 6;
  config.capacity = 7;
  return config;
}

TEST_CASE("KvCache::create refuses sizes of 0 and sizes that overflow or do not fit memory") {
  for (size_t KvCacheConfig::*field : {&KvCacheConfig::batch, &KvCacheConfig::num_kv_heads,
                                       &KvCacheConfig::head_dim, &KvCacheConfig::capacity}) {
    for (size_t size : {size_t{0}, kHuge, kHuge / 2, kHuge / 64}) {
      KvCacheConfig config = CacheConfig();
      config.*field = size;
      CHECK(KvCache::create(config).status().code() == kInvalid);
    }
  }
  KvCacheConfig config = CacheConfig();
  config.v_head_dim = kHuge;
  CHECK(KvCache::create(config).status().code() == kInvalid);
  config = CacheConfig();
  config.capacity = 0;
  CHECK(WrongRefusal(KvCache::create(config).status(), kInvalid, "capacity") == "");
  config.capacity = size_t{1} << 48;
  CHECK(KvCache::create(config).status().code() == StatusCode::kOutOfMemory);
}

TEST_CASE("KvCache::append refuses what does not fit, and truncate what is not there") {
  Result<KvCache> cache = KvCache::create(CacheConfig());
  REQUIRE(cache.ok());
  Random random(4);
  const Tensor<float> k_data = Normal({2, 5, 2, 8}, random), v_data = Normal({2, 5, 2, 6}, random);
  const TensorView k = k_data.view(), v = v_data.view();
  Context context;
  REQUIRE(cache->append(k, v, context).ok());
  const auto with = [](TensorView view, auto change) {
    change(view);
    return view;
  };
  const auto null = with(k, [](TensorView& t) { t.data = nullptr; });
  const auto codes = with(v, [](TensorView& t) { t.dtype = DType::kInt8; });
  const auto endless = with(k, [](TensorView& t) { t.shape[1] = kHuge; });
  CHECK(WrongRefusal(cache->append(null, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache->append({}, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache->append(k, {}, context), kInvalid, "v") == "");
  CHECK(WrongRefusal(cache->append(k, codes, context), kUnsupported, "v") == "");
  CHECK(WrongRefusal(cache->append(k, v.slice(1, 0, 4), context), kInvalid, "v") == "");
  CHECK(WrongRefusal(cache->append(k.slice(0, 0, 1), v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache->append(k.slice(2, 0, 1), v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache->append(v, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache->append(endless, v, context), kInvalid, "k") == "");
  CHECK(cache->append(k, v, context).code() == StatusCode::kCapacityExceeded);
  CHECK(cache->length() == 5);
  CHECK(WrongRefusal(cache->truncate(6), kInvalid, "length") == "");
  CHECK(WrongRefusal(cache->truncate(kHuge), kInvalid, "length") == "");
  CHECK(cache->length() == 5);
  CHECK(cache->append(k.slice(1, 0, 2), v.slice(1, 0, 2), context).ok());
  CHECK(cache->append(k.slice(1, 0, 1), v.slice(1, 0, 1), context).code() ==
        StatusCode::kCapacityExceeded);
}

TEST_CASE("attention against a cache refuses queries that do not match the cache") {
  Result<KvCache> cache = KvCache::create(CacheConfig());
  REQUIRE(cache.ok());
  Context context;
  Random random(5);
  const Tensor<float> q_data = Normal({2, 3, 4, 8}, random);
  Tensor<float> out_data({2, 3, 4, 6});
  const TensorView q = q_data.view();
  const MutableTensorView out = out_data.mutable_view();
  const auto run = [&](const TensorView& queries, const MutableTensorView& result) {
    return attention(queries, *cache, result, {}, context);
  };
  CHECK(WrongRefusal(run({}, out), kInvalid, "q") == "");
  CHECK(WrongRefusal(run(q, {}), kInvalid, "out") == "");
  CHECK(WrongRefusal(run(q.slice(0, 0, 1), out.slice(0, 0, 1)), kInvalid, "q") == "");
  CHECK(WrongRefusal(run(q.slice(3, 0, 7), out), kInvalid, "q") == "");
  CHECK(WrongRefusal(run(q, out.slice(3, 0, 5)), kInvalid, "out") == "");
  CHECK(WrongRefusal(run(q.slice(2, 0, 3), out.slice(2, 0, 3)), kInvalid, "num_heads") == "");
  CHECK(out_data.AllUntouched());
}

}  // namespace
}  // namespace heed::test
