// What calls take is measured beforehand, exactly, for every function that takes workspace.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "src/base/context.h"
#include "test/support/compare.h"
#include "test/support/host_memory.h"
#include "test/support/refusal.h"
#include "tools/conformance/random.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

// Splits small problems among threads, too.
Context MakeContext(const ContextOptions& options) {
  Context context(options);
  if (context.status().ok()) Context::Impl::Of(context)->flops_per_worker = 1000;
  return context;
}

// A call. `data` false: its views have none.
struct MeasuredCall {
  std::string name;
  std::function<Status(Context& context, bool data)> run;
  std::function<void()> prepare = [] {};  // before each run
  bool takes_workspace = true;
};

// Calls of every function that takes workspace, and their results.
class Calls {
 public:
  Calls() {
    AddAttention();
    AddCaches();
    AddProducts();
    AddOthers();
    AddLayers();
  }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  const std::vector<MeasuredCall>& all() const { return all_; }
  std::vector<float>& out() { return out_; }

 private:
  template <class T>
  static const T* If(bool data, const T* elements) {
    return data ? elements : nullptr;
  }
  MutableTensorView Out(bool data, std::initializer_list<size_t> shape, size_t at = 0) {
    return MutableTensorView(data ? out_.data() + at : nullptr, shape);
  }
  TensorView F32(bool data, std::initializer_list<size_t> shape, size_t at = 0) const {
    return TensorView(If(data, numbers_.data() + at), shape);
  }
  template <class T>
  TensorView Narrow(bool data, std::initializer_list<size_t> shape) const {
    return TensorView(If(data, reinterpret_cast<const T*>(halves_.data())), shape);
  }

  void AddAttention();
  void AddCaches();
  void AddProducts();
  void AddOthers();
  void AddLayers();

  static constexpr size_t kKeys = 2100;  // three segments
  Random random_{11};
  std::vector<float> numbers_ = [this] {
    std::vector<float> numbers(600000);
    for (float& x : numbers) x = random_.Normal();
    return numbers;
  }();
  std::vector<uint16_t> halves_ = [this] {
    std::vector<uint16_t> halves(400000);
    for (size_t i = 0; i < halves.size(); ++i) {
      halves[i] = static_cast<uint16_t>(0x3800 + random_.Below(0x300));  // 0.5 to 1 in f16
    }
    return halves;
  }();
  std::vector<float> out_ = std::vector<float>(400000);
  const int32_t chosen_[3] = {0, 2, 3};
  const int32_t offsets_q_[4] = {0, 7, 7, 40}, offsets_k_[4] = {0, 90, 91, 300};
  const int32_t lengths_[2] = {5, 1900};
  std::vector<int32_t> positions_ = std::vector<int32_t>(400, 3);
  std::vector<int32_t> blocks_ = [] {
    std::vector<int32_t> blocks(2 * 66);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(i * 7 % 66);
    return blocks;
  }();
  const int32_t full_[2] = {66 * 32, 66 * 32};
  std::vector<KvCache> caches_;
  std::vector<PagedKvCache> paged_;
  std::vector<PagedSequence> sequences_;
  std::vector<PackedMatrix> packed_;
  std::vector<MultiHeadAttention> layers_;
  std::vector<MeasuredCall> all_;
};

void Calls::AddAttention() {
  const auto add = [this](const char* name, size_t queries, auto fill) {
    all_.push_back({name, [this, queries, fill](Context& c, bool data) {
                      AttentionOptions options;
                      fill(options, data);
                      return attention(F32(data, {1, queries, 4, 24}),
                                       F32(data, {1, kKeys, 2, 24}, 1000),
                                       F32(data, {1, kKeys, 2, 40}, 200000),
                                       Out(data, {1, queries, 4, 40}), options, c);
                    }});
  };
  add("prefill", 300, [](AttentionOptions& o, bool) { o.causal = true; });
  add("few queries", 2, [](AttentionOptions&, bool) {});
  add("weights and key scores", 33, [this](AttentionOptions& o, bool data) {
    o.causal = true;
    o.weights_heads = TensorView(If(data, chosen_), {3});
    o.weights = Out(data, {1, 3, 33, kKeys}, 20000);
    o.key_scores = Out(data, {1, 4, kKeys}, 300000);
    o.lse = Out(data, {1, 4, 33}, 390000);
  });
  add("masks, slopes and dropout", 40, [this](AttentionOptions& o, bool data) {
    o.mask = F32(data, {1, 40, kKeys}, 300000);
    o.alibi_slopes = F32(data, {4});
    o.dropout.probability = 0.25f;
  });
  add("lengths of sequences", 10, [this](AttentionOptions& o, bool data) {
    o.kv_lens = TensorView(If(data, lengths_ + 1), {1});
  });
  all_.push_back({"16 bits and int8", [this](Context& c, bool data) {
                    const auto* codes = reinterpret_cast<const int8_t*>(halves_.data());
                    AttentionOptions options;
                    options.v_scales = F32(data, {1, 700, 2});
                    return attention(Narrow<f16>(data, {1, 5, 4, 24}),
                                     Narrow<f16>(data, {1, 700, 2, 24}),
                                     TensorView(If(data, codes), {1, 700, 2, 40}),
                                     Out(data, {1, 5, 4, 40}), options, c);
                  }});
  all_.push_back({"packed sequences", [this](Context& c, bool data) {
                    AttentionOptions options;
                    options.cu_seqlens_q = TensorView(offsets_q_, {4});
                    options.cu_seqlens_k = TensorView(offsets_k_, {4});
                    return attention(F32(data, {40, 4, 24}), F32(data, {300, 2, 24}, 1000),
                                     F32(data, {300, 2, 40}, 200000), Out(data, {40, 4, 40}),
                                     options, c);
                  }});
  all_.push_back({"pages", [this](Context& c, bool data) {
                    PagedKv kv;
                    kv.k = F32(data, {66, 32, 2, 24});
                    kv.v = F32(data, {66, 32, 2, 40}, 200000);
                    kv.block_table = TensorView(If(data, blocks_.data()), {2, 66});
                    kv.seq_lens = TensorView(If(data, full_), {2});
                    return attention(F32(data, {2, 3, 4, 24}), kv, Out(data, {2, 3, 4, 40}), {}, c);
                  }});
  const auto state = [this](bool data) {
    AttentionState of;
    of.max = Out(data, {3, 1, 4, 5}, 300000);
    of.sum = Out(data, {3, 1, 4, 5}, 301000);
    of.acc = Out(data, {3, 1, 5, 4, 40}, 302000);
    return of;
  };
  all_.push_back({"attention_partial", [this, state](Context& c, bool data) {
                    return attention_partial(
                        F32(data, {1, 5, 4, 24}), F32(data, {1, kKeys, 2, 24}, 1000),
                        F32(data, {1, kKeys, 2, 40}, 200000), 0, kKeys, state(data), {}, c);
                  }});
  all_.push_back({"merge_attention", [this](Context& c, bool data) {
                    AttentionState of;
                    float* numbers = data ? numbers_.data() : nullptr;
                    of.max = MutableTensorView(numbers, {3, 1, 4, 5});
                    of.sum = MutableTensorView(data ? numbers + 100 : nullptr, {3, 1, 4, 5});
                    of.acc = MutableTensorView(data ? numbers + 200 : nullptr, {3, 1, 5, 4, 40});
                    return merge_attention(&of, 1, {}, Out(data, {1, 5, 4, 40}), {}, c);
                  }});
  all_.push_back({"merge_attention of two", [this](Context& c, bool data) {
                    return merge_attention(F32(data, {1, 5, 4, 40}), F32(data, {1, 4, 5}, 5000),
                                           F32(data, {1, 5, 4, 40}, 9000),
                                           F32(data, {1, 4, 5}, 20000), Out(data, {1, 5, 4, 40}),
                                           {}, c);
                  }});
}

void Calls::AddCaches() {
  Context context;
  const KvCacheConfig configs[] = {
      {.num_kv_heads = 2, .head_dim = 24, .v_head_dim = 40, .capacity = kKeys},
      {.num_kv_heads = 2,
       .head_dim = 24,
       .v_head_dim = 40,
       .capacity = kKeys,
       .k_dtype = DType::kInt8,
       .v_dtype = DType::kInt4},
      {.num_kv_heads = 2, .head_dim = 24, .v_head_dim = 40, .capacity = 300, .window = 200}};
  for (const KvCacheConfig& config : configs) {
    Result<KvCache> cache = KvCache::create(config);
    REQUIRE(cache.ok());
    for (size_t n = 0; n < kKeys - 100; n += 100) {
      REQUIRE(cache->append(F32(true, {100, 2, 24}), F32(true, {100, 2, 40}), context).ok());
    }
    caches_.push_back(std::move(*cache));
  }
  for (size_t i = 0; i < std::size(configs); ++i) {
    const bool codes = configs[i].k_dtype == DType::kInt8;
    for (const auto& [queries, compute] :
         {std::pair{size_t{1}, Compute::kF32}, std::pair{size_t{60}, Compute::kF32},
          std::pair{size_t{60}, codes ? Compute::kInt16 : Compute::kF32}}) {
      all_.push_back(
          {"a cache", [this, i, queries = queries, compute = compute](Context& c, bool data) {
             AttentionOptions options;
             options.compute = compute;
             options.causal = true;
             options.window = caches_[i].config().window;
             if (data) {
               return attention(F32(data, {1, queries, 4, 24}), caches_[i],
                                Out(data, {1, queries, 4, 40}), options, c);
             }
             const Result<KvCache> cache =
                 KvCache::without_data(caches_[i].config(), caches_[i].length());
             REQUIRE(cache.ok());
             return attention(F32(data, {1, queries, 4, 24}), *cache,
                              Out(data, {1, queries, 4, 40}), options, c);
           }});
    }
    all_.push_back({"tokens of 16 bits for a cache",
                    [this, i](Context& c, bool data) {
                      return caches_[i].append(Narrow<f16>(data, {60, 2, 24}),
                                               Narrow<f16>(data, {60, 2, 40}), c);
                    },
                    [this, i] { REQUIRE(caches_[i].truncate(kKeys - 100).ok()); }});
  }
  Result<PagedKvCache> paged = PagedKvCache::create(
      {.num_blocks = 9, .num_kv_heads = 2, .head_dim = 24, .k_dtype = DType::kInt8});
  REQUIRE(paged.ok());
  const Result<PagedSequence> sequence = paged->add();
  REQUIRE(sequence.ok());
  paged_.push_back(std::move(*paged));
  sequences_.push_back(*sequence);
  all_.push_back({"tokens for pages",
                  [this](Context& c, bool data) {
                    return paged_[0].append(sequences_[0], F32(data, {60, 2, 24}),
                                            Narrow<bf16>(data, {60, 2, 24}), c);
                  },
                  [this] { REQUIRE(paged_[0].truncate(sequences_[0], 0).ok()); }});
}

void Calls::AddProducts() {
  Context context;
  for (const PackOptions& options :
       {PackOptions{DType::kF32}, PackOptions{DType::kBF16}, PackOptions{DType::kInt8, 32}}) {
    Result<PackedMatrix> packed =
        PackedMatrix::pack(F32(true, {300, 200}), WeightLayout::kInOut, options, context);
    REQUIRE(packed.ok());
    packed_.push_back(std::move(*packed));
  }
  for (const size_t rows : {size_t{1}, size_t{5}, size_t{120}, size_t{500}}) {
    all_.push_back({"a product", [this, rows](Context& c, bool data) {
                      return matmul(F32(data, {rows, 300}), F32(data, {300, 200}, 100),
                                    Out(data, {rows, 200}), {.bias = F32(data, {200})}, c);
                    }});
    all_.push_back({"a product of 16 bits", [this, rows](Context& c, bool data) {
                      return matmul(Narrow<f16>(data, {rows, 300}), Narrow<bf16>(data, {300, 200}),
                                    Out(data, {rows, 200}), {.bias = Narrow<f16>(data, {200})}, c);
                    }});
    for (size_t i = 0; i < packed_.size(); ++i) {
      all_.push_back(
          {"a product with a packed matrix",
           [this, rows, i](Context& c, bool data) {
             return matmul(F32(data, {rows, 300}), packed_[i], Out(data, {rows, 200}), {}, c);
           },
           [] {}, rows != 1});
    }
    all_.push_back({"a product in int16", [this, rows](Context& c, bool data) {
                      return matmul(F32(data, {rows, 300}), packed_.back(), Out(data, {rows, 200}),
                                    {.compute = Compute::kInt16}, c);
                    }});
  }
  for (const PackOptions& options : {PackOptions{DType::kF16}, PackOptions{DType::kInt4, 32}}) {
    all_.push_back({"packing", [this, options](Context& c, bool data) {
                      const TensorView parts[] = {F32(data, {300, 200}), F32(data, {40, 200}, 77)};
                      const Result<PackedMatrix> packed =
                          PackedMatrix::pack(parts, 2, WeightLayout::kOutIn, options, c);
                      if (packed.ok()) {
                        REQUIRE(packed->save(out_.data(), packed->saved_bytes()).ok());
                      }
                      return packed.status();
                    }});
  }
}

void Calls::AddOthers() {
  all_.push_back({"softmax of 16 bits", [this](Context& c, bool data) {
                    return softmax(Narrow<f16>(data, {300, 77}), Out(data, {300, 77}), {}, c);
                  }});
  all_.push_back({"softmax",
                  [this](Context& c, bool data) {
                    return softmax(F32(data, {300, 77}), Out(data, {300, 77}), {}, c);
                  },
                  [] {}, false});
  all_.push_back({"rope", [this](Context& c, bool data) {
                    return rope(F32(data, {1, 300, 4, 24}),
                                TensorView(If(data, positions_.data()), {300}),
                                Out(data, {1, 300, 4, 24}), {}, c);
                  }});
  all_.push_back({"hadamard", [this](Context& c, bool data) {
                    return hadamard(F32(data, {1200, 24}), Out(data, {1200, 24}), c);
                  }});
  all_.push_back({"quantize", [this](Context& c, bool data) {
                    auto* codes = data ? reinterpret_cast<int8_t*>(out_.data()) : nullptr;
                    return quantize(F32(data, {200, 96}), DType::kInt4, 32,
                                    MutableTensorView(codes, {200, 96}), Out(data, {200, 3}, 10000),
                                    {}, c)
                        .status();
                  }});
  all_.push_back({"storage_error", [this](Context& c, bool data) {
                    return storage_error(F32(data, {200, 96}), WeightLayout::kInOut, {DType::kInt8},
                                         {.rms = Out(data, {96})}, c)
                        .status();
                  }});
}

void Calls::AddLayers() {
  Context context;
  MultiHeadAttentionConfig config;
  config.d_in = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 24;
  config.v_head_dim = 40;
  config.rope = RopeOptions{};
  config.hadamard = true;
  const auto weights = [this](bool data) {
    MultiHeadAttentionWeights of;
    of.q.weight = F32(data, {96, 64});
    of.k.weight = F32(data, {48, 64}, 100);
    of.v.weight = F32(data, {80, 64}, 200);
    of.out.weight = F32(data, {50, 160}, 300);
    of.k.storage = {DType::kInt8, 32};
    of.k.compute = Compute::kInt16;
    of.q.bias = F32(data, {96});
    of.q_norm = F32(data, {24});
    return of;
  };
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights(true), context);
  REQUIRE(layer.ok());
  layers_.push_back(std::move(*layer));
  Result<KvCache> cache = layers_[0].create_cache(2, 500);
  REQUIRE(cache.ok());
  const size_t at = caches_.size();
  caches_.push_back(std::move(*cache));
  all_.push_back({"making a layer", [config, weights](Context& c, bool data) {
                    return MultiHeadAttention::create(config, weights(data), c).status();
                  }});
  for (const size_t past : {size_t{0}, size_t{400}}) {
    for (const size_t tokens : {size_t{1}, size_t{90}}) {
      all_.push_back({"a layer",
                      [this, at, past, tokens](Context& c, bool data) {
                        ForwardOptions options;
                        Result<KvCache> stand_in =
                            KvCache::without_data(caches_[at].config(), past);
                        REQUIRE(stand_in.ok());
                        options.cache = data ? &caches_[at] : &*stand_in;
                        options.lse = Out(data, {2, 4, tokens}, 300000);
                        return layers_[0].forward(F32(data, {2, tokens, 64}),
                                                  Out(data, {2, tokens, 50}), options, c);
                      },
                      [this, at, past] {
                        Context own;
                        REQUIRE(caches_[at].truncate(0).ok());
                        if (past == 0) return;
                        const TensorView k = F32(true, {2, past, 2, 24});
                        REQUIRE(caches_[at].append(k, F32(true, {2, past, 2, 40}), own).ok());
                      }});
    }
  }
  all_.push_back(
      {"a layer without a cache, of 16 bits", [this](Context& c, bool data) {
         ForwardOptions options;
         options.context = Out(data, {70, 160}, 50000);
         return layers_[0].forward(Narrow<f16>(data, {70, 64}), Out(data, {70, 50}), options, c);
       }});
}

TEST_CASE("what is measured is enough, to the byte, and the bits are the same") {
  Calls calls;
  for (const MeasuredCall& call : calls.all()) {
    for (const size_t threads : {size_t{1}, size_t{3}}) {
      INFO(call.name << " (" << &call - calls.all().data() << ") on " << threads << " threads");
      std::vector<float>& out = calls.out();
      const auto run = [&](Context& context, bool data = true) {
        call.prepare();
        std::fill(out.begin(), out.end(), 7.0f);
        return call.run(context, data);
      };
      const auto untouched = [&] {
        return std::all_of(out.begin(), out.end(), [](float x) { return x == 7.0f; });
      };
      Context plain = MakeContext({.num_threads = threads});
      REQUIRE(std::string(run(plain).message()) == "");
      const std::vector<float> want = out;

      Context measuring = MakeContext({.num_threads = threads, .measure = true});
      CHECK(run(measuring).code() == StatusCode::kMeasured);
      CHECK(untouched());
      const size_t bytes = measuring.workspace_bytes();
      CHECK(bytes % kMemoryAlignment == 0);
      CHECK((bytes > 0) == call.takes_workspace);
      Context shapes = MakeContext({.num_threads = threads, .measure = true});
      CHECK(run(shapes, /*data=*/false).code() == StatusCode::kMeasured);
      CHECK(shapes.workspace_bytes() == bytes);

      HostMemory enough(Context::memory_bytes(bytes));
      {
        Context context = MakeContext({.num_threads = threads, .memory = enough.memory()});
        CHECK(context.workspace_bytes() == bytes);
        for (int turn = 0; turn < 2; ++turn) {
          CHECK(std::string(run(context).message()) == "");
          CHECK(Difference(out, want) == "");
        }
      }
      CHECK(enough.GuardsIntact());
      if (bytes == 0) continue;

      HostMemory less(Context::memory_bytes(bytes) - 1);
      Context context = MakeContext({.num_threads = threads, .memory = less.memory()});
      const Status status = run(context);
      CHECK(WrongRefusal(status, StatusCode::kOutOfMemory, "workspace") == "");
      CHECK(Names(status.message(), std::to_string(bytes).c_str()));
      CHECK(Names(status.message(), std::to_string(bytes - kMemoryAlignment).c_str()));
      CHECK(untouched());
      CHECK(less.GuardsIntact());
    }
  }
}

TEST_CASE("a refused call leaves caches as they were") {
  Calls calls;
  HostMemory none(Context::memory_bytes(0));
  Context context = MakeContext({.memory = none.memory()});
  const std::vector<float> numbers(100 * 2 * 24, 1.0f);
  const std::vector<uint16_t> halves(100 * 2 * 24, 0x3800);
  const TensorView k(reinterpret_cast<const f16*>(halves.data()), {100, 2, 24});
  Result<KvCache> cache =
      KvCache::create({.num_kv_heads = 2, .head_dim = 24, .capacity = 100, .window = 60});
  REQUIRE(cache.ok());
  CHECK(cache->append(k, k, context).code() == StatusCode::kOutOfMemory);
  CHECK(cache->length() == 0);
  CHECK(cache->first_held() == 0);
  // f32 takes no workspace.
  const TensorView wide(numbers.data(), {100, 2, 24});
  CHECK(cache->append(wide, wide, context).ok());
  CHECK(cache->length() == 100);
}

TEST_CASE("a measuring context remembers the most, and measures lengths that grow") {
  std::vector<float> q(4 * 24);
  Context measuring({.num_threads = 2, .measure = true});
  CHECK(measuring.workspace_bytes() == 0);
  size_t most = 0;
  // A decoding loop with its cache: no step takes more than the last.
  KvCacheConfig config = {.num_kv_heads = 2, .head_dim = 24, .capacity = 9000};
  for (size_t length : {1u, 100u, 1024u, 1025u, 2049u, 8999u, 9000u}) {
    Context at_length({.num_threads = 2, .measure = true});
    const Result<KvCache> cache = KvCache::without_data(config, length);
    REQUIRE(cache.ok());
    const TensorView queries(q.data(), {1, 1, 4, 24});
    const MutableTensorView out(static_cast<float*>(nullptr), {1, 1, 4, 24});
    for (Context* context : {&measuring, &at_length}) {
      CHECK(attention(queries, *cache, out, {}, *context).code() == StatusCode::kMeasured);
    }
    CHECK(at_length.workspace_bytes() >= most);
    most = at_length.workspace_bytes();
    CHECK(measuring.workspace_bytes() == most);
  }
}

TEST_CASE("pages may be measured for the longest sequences that their table allows") {
  std::vector<int32_t> table(4 * 300, 0);
  PagedKv kv;
  kv.k = TensorView(static_cast<const float*>(nullptr), {40, 16, 2, 24});
  kv.v = kv.k;
  kv.block_table = TensorView(static_cast<const int32_t*>(nullptr), {4, 300});
  const TensorView q(static_cast<const float*>(nullptr), {4, 1, 4, 24});
  const MutableTensorView out(static_cast<float*>(nullptr), {4, 1, 4, 24});
  const auto measured = [&](const TensorView& lengths) {
    Context context({.num_threads = 2, .measure = true});
    kv.seq_lens = lengths;
    CHECK(attention(q, kv, out, {}, context).code() == StatusCode::kMeasured);
    return context.workspace_bytes();
  };
  const size_t most = measured(TensorView(static_cast<const int32_t*>(nullptr), {4}));
  size_t before = 0;
  for (const int32_t length : {0, 1, 500, 1024, 1025, 3000, 4800}) {
    const int32_t lengths[] = {1, length, 0, 2};
    const size_t bytes = measured(TensorView(lengths, {4}));
    CHECK(bytes >= before);
    CHECK(bytes <= most);
    before = bytes;
  }
  CHECK(before == most);
}

TEST_CASE("measuring refuses what the call would, and offsets without data") {
  Context measuring({.measure = true});
  const TensorView q(static_cast<const float*>(nullptr), {10, 4, 24});
  const MutableTensorView out(static_cast<float*>(nullptr), {10, 4, 24});
  const MutableTensorView wrong(static_cast<float*>(nullptr), {9, 4, 24});
  CHECK(WrongRefusal(attention(q, q, q, wrong, {}, measuring), StatusCode::kInvalidArgument,
                     "out") == "");
  AttentionOptions options;
  options.cu_seqlens_q = options.cu_seqlens_k =
      TensorView(static_cast<const int32_t*>(nullptr), {3});
  CHECK(WrongRefusal(attention(q, q, q, out, options, measuring), StatusCode::kInvalidArgument,
                     "cu_seqlens_q") == "");
  CHECK(measuring.workspace_bytes() == 0);
  // Null data are measured alone.
  Context plain;
  CHECK(attention(q, q, q, out, {}, measuring).code() == StatusCode::kMeasured);
  CHECK(WrongRefusal(attention(q, q, q, out, {}, plain), StatusCode::kInvalidArgument, "q") == "");
  CHECK(WrongRefusal(alibi_slopes(MutableTensorView(static_cast<float*>(nullptr), {4})),
                     StatusCode::kInvalidArgument, "slopes") == "");
  Result<KvCache> cache =
      KvCache::without_data({.num_kv_heads = 4, .head_dim = 24, .capacity = 9}, 3);
  REQUIRE(cache.ok());
  std::vector<float> numbers(4 * 24);
  const TensorView one(numbers.data(), {1, 1, 4, 24});
  std::vector<float> result(4 * 24, 7.0f);
  const MutableTensorView to(result.data(), {1, 1, 4, 24});
  CHECK(WrongRefusal(attention(one, *cache, to, {}, plain), StatusCode::kInvalidArgument,
                     "cache") == "");
  CHECK(WrongRefusal(cache->append(one, one, plain), StatusCode::kInvalidArgument, "cache") == "");
  CHECK(WrongRefusal(cache->truncate(0), StatusCode::kInvalidArgument, "cache") == "");
  CHECK(KvCache::without_data({.num_kv_heads = 4, .head_dim = 24, .capacity = 9}, 10)
            .status()
            .code() == StatusCode::kCapacityExceeded);
}

}  // namespace
}  // namespace heed::test
