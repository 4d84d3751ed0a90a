// Calls whose tasks the host runs: the bits are the function's, whoever runs what.
#include "heed/region.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "src/base/context.h"
#include "test/support/compare.h"
#include "test/support/refusal.h"
#include "tools/conformance/random.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

// A call as the function and as a region of so many workers.
struct RegionCall {
  std::string name;
  std::function<Status(Context&, std::vector<float>& out)> call;
  std::function<Result<Region>(Context&, std::vector<float>& out, size_t workers)> plan;
};

class RegionCalls {
 public:
  RegionCalls() {
    for (Tensor<float>* tensor : {&q_, &k_, &v_, &a_, &b_, &mask_}) tensor->FillNormal(random_);
    for (size_t i = 0; i < a16_.size(); ++i) a16_[i].bits = static_cast<uint16_t>(0x3000 + i % 999);
    for (size_t i = 0; i < 300; ++i) blocks_[i] = static_cast<int32_t>(i * 7 % 300);
    AddAttention();
    AddProducts();
    AddLayers();
  }
  RegionCalls(const RegionCalls&) = delete;
  RegionCalls& operator=(const RegionCalls&) = delete;

  const std::vector<RegionCall>& all() const { return all_; }

 private:
  static MutableTensorView Out(std::vector<float>& out, std::initializer_list<size_t> shape,
                               size_t at = 0) {
    return MutableTensorView(out.data() + at, shape);
  }
  void Add(const char* name, size_t queries, auto fill) {
    const auto options = [fill](std::vector<float>& out) {
      AttentionOptions of;
      fill(of, out);
      return of;
    };
    all_.push_back({name,
                    [=, this](Context& c, std::vector<float>& out) {
                      return attention(q_.view().slice(1, 0, queries), k_.view(), v_.view(),
                                       Out(out, {1, queries, 4, 24}), options(out), c);
                    },
                    [=, this](Context& c, std::vector<float>& out, size_t workers) {
                      return Region::attention(q_.view().slice(1, 0, queries), k_.view(), v_.view(),
                                               Out(out, {1, queries, 4, 24}), options(out), workers,
                                               c);
                    }});
  }
  void AddAttention();
  void AddProducts();
  void AddLayers();

  static constexpr size_t kKeys = 2400;
  Random random_{21};
  Tensor<float> q_{{1, 100, 4, 24}}, k_{{1, kKeys, 2, 24}}, v_{{1, kKeys, 2, 24}};
  Tensor<float> mask_{{1, 100, kKeys}}, a_{{300, 200}}, b_{{200, 300}};
  Tensor<f16> a16_{{300, 200}};
  int32_t blocks_[300] = {};
  const int32_t length_[1] = {kKeys};
  std::vector<PackedMatrix> packed_;
  std::vector<KvCache> caches_;
  std::vector<MultiHeadAttention> layers_;
  std::vector<RegionCall> all_;
};

void RegionCalls::AddAttention() {
  Add("prefill", 100, [](AttentionOptions& o, std::vector<float>&) { o.causal = true; });
  Add("decode", 1, [](AttentionOptions&, std::vector<float>&) {});
  Add("decode with weights", 2, [](AttentionOptions& o, std::vector<float>& out) {
    o.weights = Out(out, {1, 4, 2, kKeys}, 20000);
    o.key_scores = Out(out, {1, 4, kKeys}, 50000);
    o.lse = Out(out, {1, 4, 2}, 70000);
  });
  Add("prefill with weights and a mask", 100, [this](AttentionOptions& o, std::vector<float>& out) {
    o.mask = mask_.view();
    o.key_scores = Out(out, {1, 4, kKeys}, 50000);
  });
  Context context;
  Result<KvCache> cache = KvCache::create({.num_kv_heads = 2,
                                           .head_dim = 24,
                                           .capacity = kKeys,
                                           .k_dtype = DType::kInt8,
                                           .v_dtype = DType::kInt8});
  REQUIRE(cache.ok());
  REQUIRE(cache->append(k_.view(), v_.view(), context).ok());
  caches_.push_back(std::move(*cache));
  for (const Compute compute : {Compute::kF32, Compute::kInt16}) {
    AttentionOptions options;
    options.compute = compute;
    all_.push_back(
        {"a cache",
         [=, this](Context& c, std::vector<float>& out) {
           return attention(q_.view(), caches_[0], Out(out, {1, 100, 4, 24}), options, c);
         },
         [=, this](Context& c, std::vector<float>& out, size_t workers) {
           return Region::attention(q_.view(), caches_[0], Out(out, {1, 100, 4, 24}), options,
                                    workers, c);
         }});
  }
  const auto pages = [this] {
    PagedKv kv;
    const size_t shape[] = {300, 8, 2, 24};
    kv.k = TensorView(k_.view().data, DType::kF32, shape, 4);
    kv.v = TensorView(v_.view().data, DType::kF32, shape, 4);
    kv.block_table = TensorView(blocks_, {1, 300});
    kv.seq_lens = TensorView(length_, {1});
    return kv;
  };
  all_.push_back(
      {"pages",
       [=, this](Context& c, std::vector<float>& out) {
         return attention(q_.view().slice(1, 0, 3), pages(), Out(out, {1, 3, 4, 24}), {}, c);
       },
       [=, this](Context& c, std::vector<float>& out, size_t workers) {
         return Region::attention(q_.view().slice(1, 0, 3), pages(), Out(out, {1, 3, 4, 24}), {},
                                  workers, c);
       }});
}

void RegionCalls::AddProducts() {
  Context packing;
  for (const PackOptions& options : {PackOptions{DType::kF32}, PackOptions{DType::kInt8, 32}}) {
    packed_.push_back(
        std::move(*PackedMatrix::pack(b_.view(), WeightLayout::kInOut, options, packing)));
  }
  for (const size_t rows : {size_t{1}, size_t{4}, size_t{300}}) {
    const auto add = [this, rows](const char* name, auto product, auto region) {
      all_.push_back({name,
                      [=](Context& c, std::vector<float>& out) {
                        return product(Out(out, {rows, 300}), c);
                      },
                      [=](Context& c, std::vector<float>& out, size_t workers) {
                        return region(Out(out, {rows, 300}), workers, c);
                      }});
    };
    const auto rows_of = [rows](const TensorView& a) { return a.slice(0, 0, rows); };
    add(
        "a product",
        [=, this](const MutableTensorView& c, Context& context) {
          return matmul(rows_of(a_.view()), b_.view(), c, {}, context);
        },
        [=, this](const MutableTensorView& c, size_t workers, Context& context) {
          return Region::matmul(rows_of(a_.view()), b_.view(), c, {}, workers, context);
        });
    add(
        "a product of 16 bits",
        [=, this](const MutableTensorView& c, Context& context) {
          return matmul(rows_of(a16_.view()), b_.view(), c, {}, context);
        },
        [=, this](const MutableTensorView& c, size_t workers, Context& context) {
          return Region::matmul(rows_of(a16_.view()), b_.view(), c, {}, workers, context);
        });
    for (const Compute compute : {Compute::kF32, Compute::kInt16}) {
      const size_t i = compute == Compute::kF32 ? 0 : 1;
      add(
          "a packed product",
          [=, this](const MutableTensorView& c, Context& context) {
            return matmul(rows_of(a_.view()), packed_[i], c, {.compute = compute}, context);
          },
          [=, this](const MutableTensorView& c, size_t workers, Context& context) {
            return Region::matmul(rows_of(a_.view()), packed_[i], c, {.compute = compute}, workers,
                                  context);
          });
    }
  }
  all_.push_back({"a product over nothing",
                  [this](Context& c, std::vector<float>& out) {
                    return matmul(a_.view().slice(1, 0, 0), b_.view().slice(0, 0, 0),
                                  Out(out, {300, 300}), {}, c);
                  },
                  [this](Context& c, std::vector<float>& out, size_t workers) {
                    return Region::matmul(a_.view().slice(1, 0, 0), b_.view().slice(0, 0, 0),
                                          Out(out, {300, 300}), {}, workers, c);
                  }});
}

// A cache of its own for each call, with some tokens; their results follow y's.
class LayerCaches {
 public:
  KvCache& Make(const MultiHeadAttention& layer, size_t tokens, const TensorView& k) {
    Result<KvCache> cache = layer.create_cache(1, 300);
    REQUIRE(cache.ok());
    Context context;
    if (tokens > 0) {
      const TensorView first = k.slice(1, 0, tokens);
      REQUIRE(cache->append(first, first, context).ok());
    }
    caches_.push_back(std::make_unique<KvCache>(std::move(*cache)));
    return *caches_.back();
  }

 private:
  std::vector<std::unique_ptr<KvCache>> caches_;
};

void RegionCalls::AddLayers() {
  Context packing;
  for (const bool has_out : {true, false}) {
    MultiHeadAttentionConfig config;
    config.d_in = 200;
    config.num_heads = 4;
    config.num_kv_heads = 2;
    config.head_dim = 24;
    config.rope = RopeOptions{};
    config.hadamard = true;
    config.v_cache_dtype = DType::kInt8;
    MultiHeadAttentionWeights weights;
    weights.q.weight = a_.view().slice(0, 0, 96);
    weights.k = {.weight = a_.view().slice(0, 96, 144),
                 .storage = {DType::kInt8, 32},
                 .compute = Compute::kInt16};
    weights.v.weight = a_.view().slice(0, 144, 192);
    const float* norm = static_cast<const float*>(a_.view().data);
    weights.q_norm = weights.k_norm = TensorView(norm, {24});
    if (has_out) weights.out.weight = b_.view().slice(1, 0, 96);
    Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, packing);
    REQUIRE(std::string(layer.status().message()) == "");
    layers_.push_back(std::move(*layer));
    const size_t at = layers_.size() - 1, d_out = has_out ? 200 : 96;
    auto caches = std::make_shared<LayerCaches>();
    for (const size_t tokens : {size_t{1}, size_t{70}}) {
      const auto options = [=, this](std::vector<float>& out) {
        ForwardOptions of;
        of.cache = &caches->Make(layers_[at], 50, k_.view());
        of.context = Out(out, {tokens, 96}, 50000);
        of.lse = Out(out, {1, 4, tokens}, 70000);
        return of;
      };
      const auto x = [=, this] { return a_.view().slice(0, 0, tokens); };
      all_.push_back({"a layer",
                      [=, this](Context& c, std::vector<float>& out) {
                        return layers_[at].forward(x(), Out(out, {tokens, d_out}), options(out), c);
                      },
                      [=, this](Context& c, std::vector<float>& out, size_t workers) {
                        return Region::forward(layers_[at], x(), Out(out, {tokens, d_out}),
                                               options(out), workers, c);
                      }});
    }
    all_.push_back(
        {"a layer without a cache, of 16 bits",
         [=, this](Context& c, std::vector<float>& out) {
           return layers_[at].forward(a16_.view().slice(0, 0, 60), Out(out, {60, d_out}), {}, c);
         },
         [=, this](Context& c, std::vector<float>& out, size_t workers) {
           return Region::forward(layers_[at], a16_.view().slice(0, 0, 60), Out(out, {60, d_out}),
                                  {}, workers, c);
         }});
  }
}

TEST_CASE("a layer's region appends its tokens once, in one of its phases") {
  Random random(9);
  const Tensor<float> x = Normal({5, 32}, random), w = Normal({32, 32}, random);
  MultiHeadAttentionConfig config;
  config.d_in = 32;
  config.num_heads = 2;
  config.head_dim = 16;
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = w.view();
  Context context;
  const auto layer = MultiHeadAttention::create(config, weights, context);
  REQUIRE(layer.ok());
  Result<KvCache> cache = layer->create_cache(1, 100);
  REQUIRE(cache.ok());
  std::vector<float> y(5 * 32);
  const auto plan = [&] {
    ForwardOptions options;
    options.cache = &*cache;
    return Region::forward(*layer, x.view(), MutableTensorView(y.data(), {5, 32}), options, 2,
                           context);
  };
  Result<Region> region = plan();
  REQUIRE(region.ok());
  CHECK(cache->length() == 0);
  REQUIRE(region->run(0, 0, region->tasks(0), 0).ok());
  CHECK(cache->length() == 0);  // given up
  for (const size_t length : {size_t{5}, size_t{10}}) {
    region = plan();
    REQUIRE(region.ok());
    for (size_t phase = 0; phase < region->phases(); ++phase) {
      REQUIRE(region->run(phase, 0, region->tasks(phase), 0).ok());
    }
    CHECK(cache->length() == length);
  }
  Result<MultiHeadAttention> other = MultiHeadAttention::create(config, weights, context);
  REQUIRE(other.ok());
  MultiHeadAttention& gone = *other;
  const MultiHeadAttention moved = std::move(gone);
  CHECK(WrongRefusal(
            Region::forward(gone, x.view(), MutableTensorView(y.data(), {5, 32}), {}, 2, context)
                .status(),
            StatusCode::kInvalidArgument, "layer") == "");
}

constexpr size_t kFloats = 100000;

Context MakeContext(const ContextOptions& options = {}) {
  Context context(options);
  Context::Impl::Of(context)->flops_per_worker = 1000;
  return context;
}

// Runs all phases; run(phase, tasks, workers) all tasks of one.
template <class Run>
void RunRegion(const Region& region, const Run& run) {
  const size_t phases = region.phases();
  for (size_t phase = 0; phase < phases; ++phase) {
    run(phase, region.tasks(phase), region.workers(phase));
  }
}

TEST_CASE("a region in pieces, in any order, gives the function's bits") {
  const RegionCalls calls;
  size_t split = 0, workers_seen = 0;
  for (const RegionCall& call : calls.all()) {
    INFO(call.name << " (" << &call - calls.all().data() << ")");
    std::vector<float> want(kFloats, 7.0f);
    Context plain = MakeContext({.num_threads = 1});
    REQUIRE(std::string(call.call(plain, want).message()) == "");
    for (const size_t most : {size_t{1}, size_t{3}}) {
      Context context = MakeContext({.threading = Threading::kNone});
      std::vector<float> out(kFloats, 7.0f);
      const Result<Region> region = call.plan(context, out, most);
      REQUIRE(std::string(region.status().message()) == "");
      CHECK(std::all_of(out.begin(), out.end(), [](float x) { return x == 7.0f; }));
      CHECK(context.num_threads() == 1);
      RunRegion(*region, [&](size_t phase, size_t tasks, size_t workers) {
        CHECK(workers >= 1);
        CHECK(workers <= most);
        workers_seen = std::max(workers_seen, workers);
        split += tasks > 1;
        // Odd pieces from the end, each by another worker.
        size_t end = tasks;
        for (size_t n = 0; end > 0; ++n) {
          const size_t begin = end - std::min(end, 1 + n % 3);
          CHECK(region->run(phase, begin, end, n % workers).ok());
          end = begin;
        }
        CHECK(region->run(phase, 0, 0, 0).ok());  // no task
      });
      CHECK(Difference(out, want) == "");
    }
  }
  CHECK(split > 20);
  CHECK(workers_seen == 3);
}

TEST_CASE("a region on threads of the host gives the function's bits") {
  const RegionCalls calls;
  for (const RegionCall& call : calls.all()) {
    INFO(call.name << " (" << &call - calls.all().data() << ")");
    std::vector<float> want(kFloats, 7.0f), out = want;
    Context plain = MakeContext({.num_threads = 1}), context = MakeContext();
    REQUIRE(call.call(plain, want).ok());
    const Result<Region> region = call.plan(context, out, 3);
    REQUIRE(region.ok());
    RunRegion(*region, [&](size_t phase, size_t tasks, size_t workers) {
      std::atomic<size_t> next = 0, refused = 0;
      std::vector<std::thread> threads;
      for (size_t worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
          for (size_t task = next++; task < tasks; task = next++) {
            refused += !region->run(phase, task, task + 1, worker).ok();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      CHECK(refused == 0);
    });
    CHECK(Difference(out, want) == "");
  }
}

TEST_CASE("a region refuses phases, tasks and workers that do not exist, and runs nothing") {
  const RegionCalls calls;
  Context context = MakeContext();
  std::vector<float> out(kFloats, 7.0f);
  const RegionCall& decode = calls.all()[1];
  const Result<Region> region = decode.plan(context, out, 2);
  REQUIRE(region.ok());
  REQUIRE(region->phases() == 2);
  const size_t tasks = region->tasks(0), workers = region->workers(0);
  const auto refused = [&](size_t phase, size_t begin, size_t end, size_t worker) {
    return WrongRefusal(region->run(phase, begin, end, worker), StatusCode::kInvalidArgument,
                        "run") == "";
  };
  CHECK(refused(2, 0, 1, 0));
  CHECK(refused(SIZE_MAX, 0, 0, 0));
  CHECK(refused(0, 0, tasks + 1, 0));
  CHECK(refused(0, 2, 1, 0));
  CHECK(refused(0, 0, tasks, workers));
  CHECK(region->tasks(2) == 0);
  CHECK(region->workers(2) == 0);
  CHECK(std::all_of(out.begin(), out.end(), [](float x) { return x == 7.0f; }));
  for (const size_t most : {size_t{0}, size_t{4097}}) {
    CHECK(WrongRefusal(decode.plan(context, out, most).status(), StatusCode::kInvalidArgument,
                       "max_workers") == "");
  }
  // As the function refuses.
  CHECK(WrongRefusal(Region::matmul({}, TensorView(), {}, {}, 1, context).status(),
                     StatusCode::kInvalidArgument, "b") == "");
}

TEST_CASE("a task of a product that has run does nothing when it is run again") {
  Random random(5);
  Tensor<float> a({96, 256}), b({256, 512});
  a.FillNormal(random);
  b.FillNormal(random);
  std::vector<float> c(96 * 512);
  Context context = MakeContext();
  const Result<Region> region =
      Region::matmul(a.view(), b.view(), MutableTensorView(c.data(), {96, 512}), {}, 1, context);
  REQUIRE(region.ok());
  for (size_t phase = 0; phase < region->phases(); ++phase) {
    REQUIRE(region->run(phase, 0, region->tasks(phase), 0).ok());
  }
  const std::vector<float> once = c;
  const size_t last = region->phases() - 1;
  REQUIRE(region->run(last, 0, region->tasks(last), 0).ok());
  CHECK(c == once);
}

TEST_CASE("a call without anything to compute is a region without phases") {
  Context context;
  const TensorView empty(static_cast<const float*>(nullptr), {0, 4, 8});
  const MutableTensorView out(static_cast<float*>(nullptr), {0, 4, 8});
  const Result<Region> region = Region::attention(empty, empty, empty, out, {}, 4, context);
  REQUIRE(std::string(region.status().message()) == "");
  CHECK(region->phases() == 0);
}

TEST_CASE("a region is measured, and lies in the caller's memory") {
  const RegionCalls calls;
  for (const RegionCall& call : calls.all()) {
    INFO(call.name << " (" << &call - calls.all().data() << ")");
    std::vector<float> want(kFloats, 7.0f), out = want;
    Context plain = MakeContext({.num_threads = 1});
    REQUIRE(call.call(plain, want).ok());
    Context measuring = MakeContext({.measure = true});
    CHECK(call.plan(measuring, out, 3).status().code() == StatusCode::kMeasured);
    std::vector<Tensor<float>> unused;
    const size_t bytes = Context::memory_bytes(measuring.workspace_bytes());
    std::vector<char> memory(bytes + kMemoryAlignment);
    const size_t at =
        kMemoryAlignment - reinterpret_cast<uintptr_t>(memory.data()) % kMemoryAlignment;
    Context context = MakeContext({.memory = {memory.data() + at, bytes}});
    const Result<Region> region = call.plan(context, out, 3);
    REQUIRE(std::string(region.status().message()) == "");
    RunRegion(*region, [&](size_t phase, size_t tasks, size_t) {
      CHECK(region->run(phase, 0, tasks, 0).ok());
    });
    CHECK(Difference(out, want) == "");
    Context less = MakeContext({.memory = {memory.data() + at, bytes - 1}});
    CHECK(call.plan(less, out, 3).status().code() == StatusCode::kOutOfMemory);
  }
}

}  // namespace
}  // namespace heed::test
