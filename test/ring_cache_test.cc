// KvCache with a window: what a query sees is what a cache that holds everything holds.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "src/cache/kv_cache.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr size_t kStream = 3000;  // tokens of a stream at most

KvCacheConfig Config(size_t capacity, size_t window, size_t sink_tokens) {
  KvCacheConfig config;
  config.batch = 2;
  config.num_kv_heads = 2;
  config.head_dim = 3;
  config.v_head_dim = 18;
  config.capacity = capacity;
  config.window = window;
  config.sink_tokens = sink_tokens;
  return config;
}

KvCache Make(const KvCacheConfig& config) {
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(std::string(cache.status().message()) == "");
  return std::move(*cache);
}

// All that a cache holds of one token: keys, then values, of every sequence and head.
std::vector<float> TokenOf(const KvCache& cache, size_t token) {
  const KvCacheConfig& c = cache.config();
  const size_t block = token / kKeyBlock, at = token % kKeyBlock;
  std::vector<float> held;
  for (size_t b = 0; b < c.batch; ++b) {
    for (size_t h = 0; h < c.num_kv_heads; ++h) {
      const float* k =
          KvCache::Impl::Of(cache)->Keys(b, h, block).f32() + at / 16 * 16 * c.head_dim + at % 16;
      for (size_t d = 0; d < c.head_dim; ++d) held.push_back(k[d * 16]);
      const float* v = KvCache::Impl::Of(cache)->Values(b, h, block).f32() + at * 16;
      for (size_t d = 0; d < c.v_head_dim; ++d) {
        held.push_back(v[d / 16 * kKeyBlock * 16 + d % 16]);
      }
    }
  }
  return held;
}

// A ring beside a cache that holds everything, and which token last went to each place of the ring.
class Pair {
 public:
  explicit Pair(const KvCacheConfig& config)
      : c(config), ring(Make(config)), full(Make(Config(kStream, 0, 0))) {
    const auto round = [](size_t n) { return (n + kKeyBlock - 1) / kKeyBlock * kKeyBlock; };
    sinks = round(c.sink_tokens);
    places = round(c.capacity);
    last_.assign(sinks + places, SIZE_MAX);
  }

  size_t length() const { return full.length(); }
  size_t Place(size_t token) const {
    return token < sinks ? token : sinks + (token - sinks) % places;
  }
  bool Holds(size_t token) const { return token < length() && last_[Place(token)] == token; }
  size_t WindowBegin(size_t e) const { return e + 1 - std::min(e + 1, c.window); }

  bool HoldsWindow(size_t next) const {
    for (size_t t = WindowBegin(next); t < next; ++t) {
      if (!Holds(t)) return false;
    }
    return true;
  }

  void Append(size_t seq, Random& random) {
    Context context;
    const Tensor<float> k = Normal({c.batch, seq, c.num_kv_heads, c.head_dim}, random);
    const Tensor<float> v = Normal({c.batch, seq, c.num_kv_heads, c.v_head_dim}, random);
    const size_t begin = length();
    REQUIRE(full.append(k.view(), v.view(), context).ok());
    REQUIRE(std::string(ring.append(k.view(), v.view(), context).message()) == "");
    for (size_t t = begin; t < begin + seq; ++t) last_[Place(t)] = t;
    for (size_t e : {begin, begin + seq / 2, begin + seq - 1}) {
      if (seq > 0) CheckVisible(e);
    }
  }

  // Everything that a query at position e sees, as far as it is there already.
  void CheckVisible(size_t e) const {
    std::string fault;
    const auto compare = [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end && fault.empty(); ++t) {
        const std::string difference = Difference(TokenOf(ring, t), TokenOf(full, t));
        if (!difference.empty()) fault = "token " + std::to_string(t) + ": " + difference;
      }
    };
    compare(0, std::min(c.sink_tokens, std::min(e + 1, length())));
    compare(WindowBegin(e), std::min(e + 1, length()));
    INFO("query at " << e << " of " << length());
    CHECK(fault == "");
  }

  void CheckBounds() const {
    REQUIRE(ring.length() == length());
    const size_t first = ring.first_held();
    REQUIRE(first <= length());
    bool held = true;
    for (size_t t = first; t < length(); ++t) held &= Holds(t);
    CHECK(held);
    if (first > 0) CHECK(!Holds(first - 1));
    // One token more than room() would overwrite one that a query of the chunk sees.
    const size_t lost = length() + ring.room() - places;
    CHECK(lost >= std::max(WindowBegin(length()), sinks));
    CHECK(ring.room() + c.window > places);
  }

  const KvCacheConfig c;
  KvCache ring, full;
  size_t sinks = 0, places = 0;  // tokens of each, whole blocks

 private:
  std::vector<size_t> last_;  // token of each place
};

void Step(Pair& pair, Random& random) {
  const size_t what = random.Below(10), most = std::min(pair.ring.room(), kStream - pair.length());
  if (what < 7) {
    size_t seq = random.Below(3);
    if (what == 3 || what == 4) seq = random.Below(100);
    if (what == 5) seq = most;
    if (what == 6) seq = random.Below(most + 1);
    pair.Append(std::min(seq, most), random);
    return;
  }
  const size_t back = what == 7 ? random.Below(4) : random.Below(pair.places + 2);
  const size_t length = pair.length() - std::min(pair.length(), back);
  const size_t before = pair.ring.length(), first = pair.ring.first_held();
  const Status status = pair.ring.truncate(length);
  CHECK(status.ok() == pair.HoldsWindow(length));
  if (status.ok()) {
    REQUIRE(pair.full.truncate(length).ok());
    pair.CheckVisible(length);
  } else {
    CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, "length") == "");
    CHECK(pair.ring.length() == before);
    CHECK(pair.ring.first_held() == first);
  }
}

TEST_CASE("a ring holds what every query of a chunk sees, in any order of appends and truncates") {
  const KvCacheConfig configs[] = {Config(1, 1, 0),       Config(128, 100, 0), Config(128, 128, 4),
                                   Config(200, 130, 130), Config(500, 300, 1), Config(300, 1, 128)};
  uint64_t seed = 0;
  for (const KvCacheConfig& config : configs) {
    INFO("capacity " << config.capacity << ", window " << config.window << ", sink_tokens "
                     << config.sink_tokens);
    Random random(++seed);
    for (int turn = 0; turn < (Quick() ? 1 : 4); ++turn) {
      Pair pair(config);
      const size_t bytes = pair.ring.bytes();
      for (int step = 0; step < 150 && pair.length() < kStream; ++step) {
        Step(pair, random);
        pair.CheckBounds();
      }
      CHECK(pair.ring.bytes() == bytes);
    }
  }
}

// Tokens of NaN that are forgotten again, as drafts are, in the places of others: they must not
// show in what comes next.
void Draft(KvCache* ring) {
  Context context;
  const KvCacheConfig& c = ring->config();
  const size_t length = ring->length(), seq = std::min(ring->room(), size_t{40});
  Tensor<float> k({c.batch, seq, c.num_kv_heads, c.head_dim});
  Tensor<float> v({c.batch, seq, c.num_kv_heads, c.v_head_dim});
  for (size_t i = 0; i < k.size(); ++i) k[i] = NAN;
  for (size_t i = 0; i < v.size(); ++i) v[i] = NAN;
  REQUIRE(ring->append(k.view(), v.view(), context).ok());
  REQUIRE(ring->truncate(length).ok());
}

void CheckAttention(const KvCacheConfig& config, AttentionOptions options, Context& context) {
  const size_t stream = Quick() ? 1100 : 2300;
  Random random(config.capacity);
  const auto normal = [&](size_t heads, size_t dim) {
    return Normal({config.batch, stream, heads, dim}, random);
  };
  const Tensor<float> q = normal(4, config.head_dim), k = normal(2, config.head_dim),
                      v = normal(2, config.v_head_dim);
  KvCache ring = Make(config), full = Make(Config(stream, 0, 0));
  for (size_t begin = 0; begin < stream;) {
    const size_t most = std::min(ring.room(), stream - begin);
    const size_t chunk = begin == 0 ? most : 1 + random.Below(random.Below(2) == 0 ? most : 1);
    const TensorView new_k = k.view().slice(1, begin, begin + chunk);
    const TensorView new_v = v.view().slice(1, begin, begin + chunk);
    REQUIRE(std::string(ring.append(new_k, new_v, context).message()) == "");
    REQUIRE(full.append(new_k, new_v, context).ok());
    std::vector<float> outs[2], lses[2];
    for (const KvCache* cache : {&ring, &full}) {
      Tensor<float> out({config.batch, chunk, 4, config.v_head_dim}), lse({config.batch, 4, chunk});
      options.lse = lse.mutable_view();
      const Status status = attention(q.view().slice(1, begin, begin + chunk), *cache,
                                      out.mutable_view(), options, context);
      REQUIRE(std::string(status.message()) == "");
      outs[cache == &full] = out.Dense();
      lses[cache == &full] = lse.Dense();
    }
    INFO("queries " << begin << " to " << begin + chunk);
    REQUIRE(Difference(outs[0], outs[1]) == "");
    REQUIRE(Difference(lses[0], lses[1]) == "");
    begin += chunk;
    Draft(&ring);
  }
}

TEST_CASE("attention against a ring gives the bits of the cache that holds everything") {
  const KvCacheConfig configs[] = {Config(260, 200, 4), Config(128, 20, 0), Config(300, 129, 130)};
  for (const KvCacheConfig& config : configs) {
    for (size_t window : {config.window, size_t{7}}) {
      AttentionOptions options;
      options.causal = true;
      options.window = window;
      options.sink_tokens = window == 7 ? config.sink_tokens / 2 : config.sink_tokens;
      for (Runner& runner : Runners()) {
        if (Quick() && !runner.first_of_target) continue;
        INFO("capacity " << config.capacity << ", window " << window << ", " << runner.name);
        CheckAttention(config, options, *runner.context);
      }
    }
  }
}

TEST_CASE("a ring refuses a window beyond its capacity, and chunks that cost a query its window") {
  const auto refused = [](size_t capacity, size_t window, size_t sink_tokens, const char* name) {
    const Status status = KvCache::create(Config(capacity, window, sink_tokens)).status();
    return WrongRefusal(status, StatusCode::kInvalidArgument, name);
  };
  CHECK(refused(100, 101, 0, "window") == "");
  CHECK(refused(100, 0, 1, "sink_tokens") == "");
  CHECK(refused(100, 100, SIZE_MAX, "config") == "");
  CHECK(refused(SIZE_MAX, SIZE_MAX, SIZE_MAX, "config") == "");

  KvCache ring = Make(Config(100, 100, 3));
  CHECK(ring.bytes() == 2 * 2 * 256 * (3 + 32) * sizeof(float));
  CHECK(ring.room() == 256);
  Random random(1);
  const Tensor<float> k_data = Normal({2, 257, 2, 3}, random),
                      v_data = Normal({2, 257, 2, 18}, random);
  Context context;
  const auto append = [&](size_t seq) {
    return ring.append(k_data.view().slice(1, 0, seq), v_data.view().slice(1, 0, seq), context);
  };
  CHECK(WrongRefusal(append(257), StatusCode::kCapacityExceeded, "cache") == "");
  CHECK(ring.length() == 0);
  CHECK(append(256).ok());
  CHECK(ring.room() == 29);
  CHECK(WrongRefusal(append(30), StatusCode::kCapacityExceeded, "cache") == "");
  CHECK(append(29).ok());
  CHECK(ring.length() == 285);
  CHECK(ring.first_held() == 157);
  for (size_t window : {size_t{100}, size_t{50}}) {
    const size_t most =
        285 - 157 + 1 - window;  // queries of which the first sees no key before 157
    for (size_t q_len : {most, most + 1}) {
      Tensor<float> q = Normal({2, q_len, 2, 3}, random), out({2, q_len, 2, 18});
      AttentionOptions o;
      o.causal = true;
      o.window = window;
      const Status status = attention(q.view(), ring, out.mutable_view(), o, context);
      INFO("window " << window << ", q_len " << q_len);
      CHECK(status.ok() == (q_len == most));
      if (status.ok()) continue;
      CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, "q") == "");
      CHECK(out.AllUntouched());
    }
  }
  const Tensor<float> q = Normal({2, 1, 2, 3}, random);
  const auto refused_option = [&](const char* name, size_t window, const auto& spoil) {
    Tensor<float> out({2, 1, 2, 18});
    AttentionOptions o;
    o.causal = true;
    o.window = window;
    spoil(o);
    const Status status = attention(q.view(), ring, out.mutable_view(), o, context);
    CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, name) == "");
    CHECK(out.AllUntouched());
  };
  const Tensor<float> mask = Normal({2, 2, 1, 285}, random);
  refused_option("window", 101, [](AttentionOptions&) {});
  refused_option("window", 0, [](AttentionOptions&) {});
  refused_option("sink_tokens", 100, [](AttentionOptions& o) { o.sink_tokens = 4; });
  refused_option("window", 100,
                 [](AttentionOptions& o) { o.causal_alignment = CausalAlignment::kTopLeft; });
  refused_option("dropout.mask", 100, [&](AttentionOptions& o) { o.dropout.mask = mask.view(); });
  refused_option("mask", 100, [&](AttentionOptions& o) { o.mask = mask.view(); });
  CHECK(WrongRefusal(ring.truncate(286), StatusCode::kInvalidArgument, "length") == "");
  CHECK(WrongRefusal(ring.truncate(255), StatusCode::kInvalidArgument, "length") == "");
  CHECK(ring.length() == 285);
  CHECK(ring.truncate(256).ok());
  CHECK(ring.truncate(128).ok());  // all in the block of the sinks
  CHECK(ring.first_held() == 0);
}

}  // namespace
}  // namespace heed::test
