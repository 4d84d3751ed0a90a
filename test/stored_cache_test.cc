// Caches of 16, 8 and 4 bits: what is computed from them is f32's result for the numbers that they
// store, bit for bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "test/support/stored_tokens.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

struct Sizes {
  size_t batch, num_kv_heads, group, head_dim, v_head_dim, q_len, kv_len;
};

KvCacheConfig Config(const Sizes& s, size_t capacity) {
  KvCacheConfig config;
  config.batch = s.batch;
  config.num_kv_heads = s.num_kv_heads;
  config.head_dim = s.head_dim;
  config.v_head_dim = s.v_head_dim;
  config.capacity = capacity;
  return config;
}

KvCache Make(const KvCacheConfig& config) {
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(std::string(cache.status().message()) == "");
  return std::move(*cache);
}

// Keys and values as they are given, and as a cache of the two types stores them.
struct Tokens {
  Tensor<float> k, v, stored_k, stored_v;

  Tokens(const Sizes& s, DType k_dtype, DType v_dtype, uint64_t seed)
      : Tokens(s, k_dtype, v_dtype, Random(seed)) {}

 private:
  Tokens(const Sizes& s, DType k_dtype, DType v_dtype, Random random)
      : k(Normal({s.batch, s.kv_len, s.num_kv_heads, s.head_dim}, random, Layout::kScattered)),
        v(Normal({s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim}, random, Layout::kSwapped)),
        stored_k(RoundTokens(k_dtype, k)),
        stored_v(RoundTokens(v_dtype, v)) {}
};

void Append(const Tensor<float>& k, const Tensor<float>& v, size_t begin, size_t end,
            Context& context, KvCache* cache) {
  const Status status =
      cache->append(k.view().slice(1, begin, end), v.view().slice(1, begin, end), context);
  REQUIRE(std::string(status.message()) == "");
}

// All that attention gives for queries against a cache.
std::vector<float> Answer(const Tensor<float>& q, const KvCache& cache, AttentionOptions options,
                          bool with_weights, Context& context) {
  const KvCacheConfig& c = cache.config();
  const size_t q_len = q.shape()[1], heads = q.shape()[2];
  Tensor<float> out({c.batch, q_len, heads, c.v_head_dim}), lse({c.batch, heads, q_len});
  Tensor<float> weights({c.batch, heads, q_len, cache.length()});
  options.lse = lse.mutable_view();
  if (with_weights) options.weights = weights.mutable_view();
  const Status status = attention(q.view(), cache, out.mutable_view(), options, context);
  REQUIRE(std::string(status.message()) == "");
  std::vector<float> all = out.Dense();
  for (const Tensor<float>* more : {&lse, &weights}) {
    if (more == &weights && !with_weights) continue;
    const std::vector<float> dense = more->Dense();
    all.insert(all.end(), dense.begin(), dense.end());
  }
  return all;
}

struct TypePair {
  DType k, v;
};

// Every type beside itself, and the pairs of two types, a few of them in a quick run.
std::vector<TypePair> TypePairs() {
  std::vector<TypePair> pairs;
  size_t i = 0;
  for (const DType k : kAllStored) {
    for (const DType v : kAllStored) {
      if (Quick() && k != v && ++i % 3 != 0) continue;
      pairs.push_back({k, v});
    }
  }
  return pairs;
}

void CheckSizes(const Sizes& s, const AttentionOptions& options, bool with_weights) {
  for (const TypePair& types : TypePairs()) {
    const Tokens tokens(s, types.k, types.v, s.kv_len + s.head_dim);
    Random random(7);
    const Tensor<float> q =
        Normal({s.batch, s.q_len, s.num_kv_heads * s.group, s.head_dim}, random);
    for (Runner& runner : Runners()) {
      if (Quick() && !runner.first_of_target && s.kv_len < 300) continue;
      INFO(name_of(types.k) << " keys, " << name_of(types.v) << " values, head_dim " << s.head_dim
                            << ", v_head_dim " << s.v_head_dim << ", group " << s.group
                            << ", q_len " << s.q_len << ", kv_len " << s.kv_len << ", "
                            << runner.name);
      KvCacheConfig config = Config(s, s.kv_len);
      KvCache f32 = Make(config);
      config.k_dtype = types.k;
      config.v_dtype = types.v;
      KvCache stored = Make(config);
      Append(tokens.stored_k, tokens.stored_v, 0, s.kv_len, *runner.context, &f32);
      Append(tokens.k, tokens.v, 0, s.kv_len, *runner.context, &stored);
      CHECK(Difference(Answer(q, stored, options, with_weights, *runner.context),
                       Answer(q, f32, options, with_weights, *runner.context)) == "");
    }
  }
}

TEST_CASE("one query against a cache of any types gives f32's bits for what it stores") {
  AttentionOptions causal;
  causal.causal = true;
  CheckSizes({1, 2, 1, 64, 64, 1, 300}, causal, false);
  CheckSizes({1, 1, 4, 128, 128, 1, 257}, causal, false);
  CheckSizes({2, 1, 1, 1, 1, 1, 130}, causal, true);
  CheckSizes({1, 1, 3, 33, 7, 1, 129}, causal, false);
  CheckSizes({1, 1, 2, 7, 80, 1, 150}, causal, false);    // panels read as 3 and 2
  CheckSizes({1, 1, 1, 300, 100, 1, 90}, causal, false);  // two chunks of channels
  CheckSizes({1, 1, 1, 289, 48, 1, 17}, causal, false);
  CheckSizes({1, 1, 1, 20, 130, 1, 31}, causal, false);
  CheckSizes({1, 1, 1, 16, 16, 1, 2100}, causal, false);  // segments
}

TEST_CASE("tokens are stored alike whether or not their channels lie side by side") {
  Random random(11);
  for (const TypePair& types : TypePairs()) {
    for (const size_t head_dim : {1u, 33u, 64u, 1100u}) {
      Tensor<float> k = Normal({1, 9, 2, head_dim}, random, Layout::kScattered);
      Tensor<float> v = Normal({1, 9, 2, head_dim}, random, Layout::kLastFirst);
      v[k.size() / 3] = std::numeric_limits<float>::infinity();
      for (size_t i = 0; i < 2 * head_dim; ++i) k[i] = 0.0f;
      k[3 * head_dim] = -1e5f;
      Tensor<float> row_k(k.shape()), row_v(v.shape(), Layout::kPadded);
      row_k.Assign(k.Dense());
      row_v.Assign(v.Dense());
      const Tensor<float> q = Normal({1, 1, 2, head_dim}, random);
      for (Runner& runner : Runners()) {
        if (!runner.first_of_target) continue;
        INFO(name_of(types.k) << " keys, " << name_of(types.v) << " values, head_dim " << head_dim
                              << ", " << runner.name);
        KvCacheConfig config = Config({1, 2, 1, head_dim, head_dim, 1, 9}, 9);
        config.k_dtype = types.k;
        config.v_dtype = types.v;
        KvCache scattered = Make(config), rows = Make(config);
        Append(k, v, 0, 9, *runner.context, &scattered);
        Append(row_k, row_v, 0, 9, *runner.context, &rows);
        CHECK(Difference(Answer(q, rows, {}, true, *runner.context),
                         Answer(q, scattered, {}, true, *runner.context)) == "");
      }
    }
  }
}

TEST_CASE("every number of rows that are read as streams, and more, gives f32's bits") {
  for (size_t group = 1; group <= 9; ++group) {
    CheckSizes({1, 1, group, 37, 29, 1, 140}, {}, false);
  }
  CheckSizes({1, 1, 12, 64, 64, 1, 140}, {}, false);
}

TEST_CASE("several queries, which see different keys, give f32's bits") {
  AttentionOptions causal;
  causal.causal = true;
  for (const size_t q_len : {2u, 5u, 30u}) {
    CheckSizes({1, 1, 2, 24, 40, q_len, 200}, causal, true);
    CheckSizes({1, 2, 1, 64, 64, q_len, 131}, {}, false);
  }
}

TEST_CASE("options of scores and keys give f32's bits on stored types") {
  AttentionOptions window;
  window.causal = true;
  for (const size_t length : {1u, 33u, 64u, 131u}) {  // begins at odd keys, too
    window.window = length;
    window.sink_tokens = 3;
    CheckSizes({1, 1, 1, 48, 40, 1, 290}, window, false);
    CheckSizes({1, 1, 2, 20, 36, 3, 290}, window, false);
  }
  AttentionOptions capped;
  capped.logits_soft_cap = 5.0f;
  capped.scale = 0.7f;
  CheckSizes({1, 1, 2, 40, 24, 2, 140}, capped, true);
  Random random(3);
  const Tensor<float> bias = Normal({1, 2, 2, 140}, random);
  std::vector<uint8_t> seen(2 * 2 * 140);
  for (uint8_t& key : seen) key = random.Below(4) != 0;
  AttentionOptions masked;
  masked.mask = bias.view();
  CheckSizes({1, 1, 2, 40, 24, 2, 140}, masked, true);
  masked.mask = TensorView(seen.data(), {1, 2, 2, 140});
  CheckSizes({1, 1, 2, 40, 24, 2, 140}, masked, true);
  AttentionOptions dropout;
  dropout.dropout.probability = 0.3f;
  CheckSizes({1, 1, 2, 40, 24, 2, 140}, dropout, true);
}

// A stored ring and a cache of f32 that holds everything, side by side, with appends of all
// lengths, drafts that are forgotten again, and a query after each.
TEST_CASE("rings and truncation are exact in every type") {
  const size_t stream = Quick() ? 700 : 1500;
  const Sizes s = {2, 1, 2, 35, 18, 1, stream};
  AttentionOptions options;
  options.causal = true;
  options.window = 100;
  options.sink_tokens = 3;
  for (const TypePair& types : TypePairs()) {
    const Tokens tokens(s, types.k, types.v, 11);
    for (Runner& runner : Runners()) {
      if (Quick() && !runner.first_of_target) continue;
      INFO(name_of(types.k) << " keys, " << name_of(types.v) << " values, " << runner.name);
      Context& context = *runner.context;
      KvCache f32 = Make(Config(s, stream));
      KvCacheConfig config = Config(s, 140);
      config.window = options.window;
      config.sink_tokens = options.sink_tokens;
      config.k_dtype = types.k;
      config.v_dtype = types.v;
      KvCache ring = Make(config);
      Random random(5);
      for (size_t begin = 0, end; begin < stream; begin = end) {
        end = std::min(stream, begin + 1 + random.Below(random.Below(2) == 0 ? 3 : 40));
        Append(tokens.stored_k, tokens.stored_v, begin, end, context, &f32);
        Append(tokens.k, tokens.v, begin, end, context, &ring);
        const Tensor<float> q = Normal({2, 1, 2, 35}, random);
        REQUIRE(Difference(Answer(q, ring, options, false, context),
                           Answer(q, f32, options, false, context)) == "");
        Tensor<float> draft_k({2, 7, 1, 35}), draft_v({2, 7, 1, 18});  // NaN
        Append(draft_k, draft_v, 0, 7, context, &ring);
        REQUIRE(ring.truncate(end).ok());
      }
    }
  }
}

TEST_CASE("numbers that a type can't hold, and runs of zeros, are stored as the header says") {
  const float inf = std::numeric_limits<float>::infinity();
  const float given[][4] = {{0.0f, 0.0f, 0.0f, 0.0f},    {NAN, 1.0f, 2.0f, 3.0f},
                            {1.0f, -inf, 2.0f, 3.0f},    {1e-39f, -1e-40f, 0.0f, 1e-41f},
                            {1e30f, -1.0f, 3e38f, 2.0f}, {-0.0f, 0.5f, -0.25f, 127.0f},
                            {1e-7f, 3e-8f, -1e-7f, 0.0f}};
  for (const DType dtype : kAllStored) {
    for (const auto& token : given) {
      Tensor<float> k({1, 1, 1, 1}), v({1, 1, 1, 4});
      k.Assign({1.0f});
      v.Assign({token[0], token[1], token[2], token[3]});
      std::vector<float> want(token, token + 4);
      RoundToken(dtype, want.data(), 4);
      for (float& x : want) x = 1.0f * x + 0.0f;  // the sum of one value with the weight 1
      for (Runner& runner : Runners()) {
        if (!runner.first_of_target) continue;
        INFO(name_of(dtype) << ", " << token[0] << ", " << token[1] << "; " << runner.name);
        KvCacheConfig config = Config({1, 1, 1, 1, 4, 1, 1}, 1);
        config.v_dtype = dtype;
        KvCache cache = Make(config);
        Append(k, v, 0, 1, *runner.context, &cache);
        std::vector<float> got = Answer(k, cache, {}, false, *runner.context);
        got.resize(4);
        CHECK(Difference(got, want) == "");
      }
    }
  }
}

TEST_CASE("a cache takes what its types say") {
  const auto bytes = [](size_t dim, DType k_dtype, DType v_dtype) {
    KvCacheConfig config = Config({1, 2, 1, dim, dim, 1, 1}, 200);  // two blocks a head
    config.k_dtype = k_dtype;
    config.v_dtype = v_dtype;
    return Make(config).bytes();
  };
  constexpr size_t kTokens = 2 * 256;
  for (const size_t dim : {64u, 128u}) {
    const size_t f32 = bytes(dim, DType::kF32, DType::kF32);
    CHECK(f32 == kTokens * dim * 8);
    CHECK(bytes(dim, DType::kBF16, DType::kF16) == f32 / 2);
    CHECK(bytes(dim, DType::kInt8, DType::kInt8) == kTokens * 2 * (dim + 4));
    CHECK(bytes(dim, DType::kInt4, DType::kInt4) == kTokens * 2 * (dim / 2 + dim / 32 * 2));
    CHECK(bytes(dim, DType::kBF16, DType::kInt8) == kTokens * (2 * dim + dim + 4));
  }
  CHECK(bytes(33, DType::kInt4, DType::kInt4) == kTokens * ((17 + 4) + (24 + 4)));
  CHECK(bytes(33, DType::kInt8, DType::kF16) == kTokens * ((33 + 4) + 2 * 48));
}

// Values that are the first channels of the keys, beside a cache that holds both.
TEST_CASE("a cache whose values lie in its keys gives the bits of one that holds them apart") {
  struct Dims {
    size_t head_dim, v_head_dim;
  };
  for (const Dims& dims : {Dims{64, 64}, Dims{80, 33}, Dims{35, 1}, Dims{288, 256}}) {
    for (const size_t q_len : {1u, 3u, 20u}) {
      for (const size_t group : {1u, 5u}) {
        const Sizes s = {2, 1, group, dims.head_dim, dims.v_head_dim, q_len, 290};
        for (const DType dtype : kAllStored) {
          Random random(s.head_dim);
          const Tensor<float> k = Normal({2, s.kv_len, 1, s.head_dim}, random);
          const Tensor<float> stored_k = RoundTokens(dtype, k);
          const Tensor<float> q = Normal({2, q_len, group, s.head_dim}, random);
          for (Runner& runner : Runners()) {
            if (Quick() && !runner.first_of_target) continue;
            INFO(name_of(dtype) << ", head_dim " << s.head_dim << ", v_head_dim " << s.v_head_dim
                                << ", group " << group << ", q_len " << q_len << ", "
                                << runner.name);
            Context& context = *runner.context;
            AttentionOptions options;
            options.causal = true;
            options.window = 140;
            KvCache f32 = Make(Config(s, s.kv_len));
            KvCacheConfig config = Config(s, 200);
            config.window = 140;
            config.k_dtype = dtype;
            config.values_in_keys = true;
            KvCache shared = Make(config);
            CHECK(shared.config().v_dtype == dtype);
            for (size_t begin = 0; begin < s.kv_len; begin += 58) {
              const size_t end = begin + 58;
              REQUIRE(f32.append(stored_k.view().slice(1, begin, end),
                                 stored_k.view().slice(1, begin, end).slice(3, 0, s.v_head_dim),
                                 context)
                          .ok());
              REQUIRE(std::string(
                          shared.append(k.view().slice(1, begin, end), context).message()) == "");
            }
            CHECK(Difference(Answer(q, shared, options, false, context),
                             Answer(q, f32, options, false, context)) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("values in keys take no memory, and are refused where they don't fit") {
  KvCacheConfig config = Config({1, 1, 1, 576, 512, 1, 1}, 128);
  config.k_dtype = DType::kInt8;
  config.v_dtype = DType::kU8;  // not looked at
  config.values_in_keys = true;
  KvCache cache = Make(config);
  CHECK(cache.bytes() == 128 * (576 + 4));
  Context context;
  Tensor<float> k({1, 1, 1, 576}), v({1, 1, 1, 512});
  CHECK(WrongRefusal(cache.append(k.view(), v.view(), context), StatusCode::kInvalidArgument,
                     "v") == "");
  CHECK(WrongRefusal(cache.append(v.view(), context), StatusCode::kInvalidArgument, "k") == "");
  CHECK(cache.length() == 0);
  CHECK(cache.append(k.view(), context).ok());
  config.v_head_dim = 577;
  CHECK(WrongRefusal(KvCache::create(config).status(), StatusCode::kInvalidArgument,
                     "v_head_dim") == "");
  KvCache apart = Make(Config({1, 1, 1, 576, 512, 1, 1}, 1));
  CHECK(WrongRefusal(apart.append(k.view(), context), StatusCode::kInvalidArgument, "v") == "");
}

TEST_CASE("types that are not stored are refused by name") {
  for (const DType dtype : {DType::kI32, DType::kU8, static_cast<DType>(99)}) {
    KvCacheConfig config = Config({1, 1, 1, 8, 8, 1, 1}, 4);
    config.k_dtype = dtype;
    CHECK(WrongRefusal(KvCache::create(config).status(), StatusCode::kUnsupported, "k_dtype") ==
          "");
    config.k_dtype = DType::kF32;
    config.v_dtype = dtype;
    CHECK(WrongRefusal(KvCache::create(config).status(), StatusCode::kUnsupported, "v_dtype") ==
          "");
  }
  KvCacheConfig config = Config({1, 1, 1, 8, 8, 1, 1}, SIZE_MAX / 4);
  config.k_dtype = config.v_dtype = DType::kInt4;
  CHECK(WrongRefusal(KvCache::create(config).status(), StatusCode::kInvalidArgument, "config") ==
        "");
}

}  // namespace
}  // namespace heed::test
