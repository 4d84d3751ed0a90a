// Memory that the host owns: measured beforehand, exactly, for every function that takes workspace;
// contexts, caches and packed matrices in it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
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

constexpr uint8_t kGuard = 0xA5;

// Aligned memory of exactly so many bytes, with a guard on either side.
class HostMemory {
 public:
  explicit HostMemory(size_t bytes) : bytes_(bytes), all_(bytes + 4 * kMemoryAlignment, kGuard) {
    const size_t at = reinterpret_cast<uintptr_t>(all_.data()) % kMemoryAlignment;
    begin_ = 2 * kMemoryAlignment - at;
  }

  Memory memory() { return {all_.data() + begin_, bytes_}; }
  bool GuardsIntact() const {
    const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
    const auto begin = all_.begin() + static_cast<ptrdiff_t>(begin_);
    return std::all_of(all_.begin(), begin, is_guard) &&
           std::all_of(begin + static_cast<ptrdiff_t>(bytes_), all_.end(), is_guard);
  }
  bool Untouched() const {
    return std::all_of(all_.begin(), all_.end(), [](uint8_t byte) { return byte == kGuard; });
  }

 private:
  size_t bytes_, begin_;
  std::vector<uint8_t> all_;
};

// Splits small problems among threads, too.
Context MakeContext(const ContextOptions& options) {
  Context context(options);
  if (context.status().ok()) Context::Impl::Of(context)->flops_per_worker = 1000;
  return context;
}

// A call. `data` false: its views have none.
struct Call1 {
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

  const std::vector<Call1>& all() const { return all_; }
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
  std::vector<Call1> all_;
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
  for (const Call1& call : calls.all()) {
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

TEST_CASE("a context refuses memory that is null, unaligned or too small, by name") {
  HostMemory memory(Context::memory_bytes(1000));
  const auto refusal = [](const Memory& of) {
    ContextOptions options;
    options.memory = of;
    const Context context(options);
    return context.status();
  };
  const Memory good = memory.memory();
  char* data = static_cast<char*>(good.data);
  CHECK(WrongRefusal(refusal({nullptr, 4096}), StatusCode::kInvalidArgument, "memory") == "");
  CHECK(WrongRefusal(refusal({data + 8, good.bytes - 8}), StatusCode::kInvalidArgument, "memory") ==
        "");
  CHECK(WrongRefusal(refusal({data, Context::memory_bytes(0) - 1}), StatusCode::kOutOfMemory,
                     "memory") == "");
  CHECK(memory.Untouched());
  CHECK(refusal(good).ok());
  CHECK(Context::memory_bytes(SIZE_MAX) == SIZE_MAX);
  CHECK(Context::memory_bytes(SIZE_MAX - 100) == SIZE_MAX);
  CHECK(Context::memory_bytes(1) == Context::memory_bytes(kMemoryAlignment));

  ContextOptions options;
  options.memory = good;
  Context first(options);
  Context second = std::move(first);
  CHECK(second.status().ok());
  CHECK(!first.status().ok());
  CHECK(second.workspace_bytes() >= 1000);
}

// Makes a cache of `create(memory)` in exactly `bytes`, and holds refusals of others.
template <class Create>
void CheckCreate(size_t bytes, const Create& create) {
  HostMemory memory(bytes), less(bytes - 1);
  const Memory good = memory.memory();
  char* data = static_cast<char*>(good.data);
  CHECK(WrongRefusal(create(Memory{}), StatusCode::kInvalidArgument, "memory") == "");
  CHECK(WrongRefusal(create(Memory{data + 4, bytes - 4}), StatusCode::kInvalidArgument, "memory") ==
        "");
  const Status status = create(less.memory());
  CHECK(WrongRefusal(status, StatusCode::kOutOfMemory, "memory") == "");
  CHECK(Names(status.message(), std::to_string(bytes).c_str()));
  CHECK(less.Untouched());
  CHECK(memory.Untouched());
  CHECK(std::string(create(good).message()) == "");
  CHECK(memory.GuardsIntact());
}

TEST_CASE("a KvCache in the caller's memory holds what one on the heap does") {
  Random random(4);
  const Tensor<float> k = Normal({2, 90, 2, 24}, random), v = Normal({2, 90, 2, 40}, random);
  const Tensor<float> q = Normal({2, 3, 4, 24}, random);
  for (const DType dtype : {DType::kF32, DType::kInt4}) {
    for (const size_t window : {size_t{0}, size_t{30}}) {
      const KvCacheConfig config = {.batch = 2,
                                    .num_kv_heads = 2,
                                    .head_dim = 24,
                                    .v_head_dim = 40,
                                    .capacity = 100,
                                    .window = window,
                                    .k_dtype = dtype};
      Context context;
      const auto run = [&](Result<KvCache> cache) {
        REQUIRE(std::string(cache.status().message()) == "");
        std::vector<float> out(2 * 3 * 4 * 40);
        KvCache moved = std::move(*cache);
        REQUIRE(moved.append(k.view(), v.view(), context).ok());
        REQUIRE(attention(q.view(), moved, MutableTensorView(out.data(), {2, 3, 4, 40}),
                          {.causal = true, .window = window}, context)
                    .ok());
        return out;
      };
      const std::vector<float> want = run(KvCache::create(config));
      const Result<size_t> bytes = KvCache::memory_bytes(config);
      REQUIRE(bytes.ok());
      CheckCreate(*bytes, [&](const Memory& memory) {
        Result<KvCache> cache = KvCache::create(config, memory);
        const Status status = cache.status();
        if (status.ok()) CHECK(Difference(run(std::move(cache)), want) == "");
        return status;
      });
    }
  }
  CHECK(KvCache::memory_bytes({.num_kv_heads = 0}).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("a PagedKvCache in the caller's memory holds what one on the heap does") {
  Random random(5);
  const Tensor<float> k = Normal({50, 2, 24}, random), q = Normal({3, 1, 4, 24}, random);
  PagedKvCacheConfig config = {.num_blocks = 30,
                               .block_size = 4,
                               .num_kv_heads = 2,
                               .head_dim = 24,
                               .k_dtype = DType::kInt8,
                               .v_dtype = DType::kInt4};
  config.max_sequences = 3;
  Context context;
  const auto run = [&](Result<PagedKvCache> made, bool limited) {
    REQUIRE(std::string(made.status().message()) == "");
    PagedKvCache cache = std::move(*made);
    std::vector<PagedSequence> names;
    names.push_back(*cache.add());
    REQUIRE(cache.append(names[0], k.view(), k.view(), context).ok());
    names.push_back(*cache.fork(names[0], 33));
    names.push_back(*cache.fork(names[0]));
    REQUIRE(
        cache.append(names[1], k.view().slice(0, 0, 20), k.view().slice(0, 0, 20), context).ok());
    REQUIRE(cache.truncate(names[2], 9).ok());
    if (limited) {
      CHECK(cache.add().status().code() == StatusCode::kCapacityExceeded);
      CHECK(cache.fork(names[0]).status().code() == StatusCode::kCapacityExceeded);
      const PagedSequence four[] = {names[0], names[0], names[1], names[2]};
      CHECK(cache.view(four).status().code() == StatusCode::kCapacityExceeded);
      REQUIRE(cache.free(names[2]).ok());  // its place is used again
      names[2] = *cache.fork(names[0], 9);
    }
    std::vector<float> out(3 * 4 * 24);
    const Result<PagedKv> kv = cache.view(names);
    REQUIRE(kv.ok());
    REQUIRE(
        attention(q.view(), *kv, MutableTensorView(out.data(), {3, 1, 4, 24}), {}, context).ok());
    return out;
  };
  PagedKvCacheConfig unlimited = config;
  unlimited.max_sequences = 0;
  const std::vector<float> want = run(PagedKvCache::create(unlimited), false);
  CHECK(Difference(run(PagedKvCache::create(config), true), want) == "");
  const Result<size_t> bytes = PagedKvCache::memory_bytes(config);
  REQUIRE(bytes.ok());
  CheckCreate(*bytes, [&](const Memory& memory) {
    Result<PagedKvCache> cache = PagedKvCache::create(config, memory);
    const Status status = cache.status();
    if (status.ok()) CHECK(Difference(run(std::move(cache), true), want) == "");
    return status;
  });
  HostMemory memory(*bytes);
  CHECK(WrongRefusal(PagedKvCache::create(unlimited, memory.memory()).status(),
                     StatusCode::kInvalidArgument, "max_sequences") == "");
  config.max_sequences = SIZE_MAX / 8;
  CHECK(WrongRefusal(PagedKvCache::memory_bytes(config).status(), StatusCode::kInvalidArgument,
                     "max_sequences") == "");
}

TEST_CASE("max_length limits the tokens of a sequence") {
  const std::vector<float> numbers(20 * 8);
  PagedKvCacheConfig config = {.num_blocks = 30, .block_size = 4, .num_kv_heads = 1, .head_dim = 8};
  config.max_length = 10;
  CHECK(WrongRefusal(PagedKvCache::create(config).status(), StatusCode::kInvalidArgument,
                     "max_length") == "");
  config.max_sequences = 2;
  Result<PagedKvCache> cache = PagedKvCache::create(config);
  REQUIRE(cache.ok());
  Context context;
  const PagedSequence sequence = *cache->add();
  const auto append = [&](size_t count) {
    const TensorView tokens(numbers.data(), {count, 1, 8});
    return cache->append(sequence, tokens, tokens, context);
  };
  CHECK(append(9).ok());
  CHECK(WrongRefusal(append(2), StatusCode::kCapacityExceeded, "max_length") == "");
  CHECK(*cache->length(sequence) == 9);
  CHECK(append(1).ok());
  CHECK(WrongRefusal(append(1), StatusCode::kCapacityExceeded, "max_length") == "");
}

TEST_CASE("packed matrices in the caller's memory are those on the heap") {
  Random random(6);
  const Tensor<float> b = Normal({70, 40}, random), more = Normal({70, 9}, random);
  Context context;
  const auto saved = [](const PackedMatrix& matrix) {
    std::vector<uint8_t> bytes(matrix.saved_bytes());
    REQUIRE(matrix.save(bytes.data(), bytes.size()).ok());
    return bytes;
  };
  const TensorView parts[] = {b.view(), more.view()};
  for (const PackOptions& options :
       {PackOptions{DType::kF32}, PackOptions{DType::kF16}, PackOptions{DType::kInt4, 16}}) {
    const auto want = saved(*PackedMatrix::pack(parts, 2, WeightLayout::kInOut, options, context));
    const Result<size_t> bytes = PackedMatrix::memory_bytes(70, 49, options);
    REQUIRE(bytes.ok());
    CheckCreate(*bytes, [&](const Memory& memory) {
      Result<PackedMatrix> packed =
          PackedMatrix::pack(parts, 2, WeightLayout::kInOut, options, memory, context);
      if (packed.ok()) {
        const PackedMatrix moved = std::move(*packed);
        CHECK(saved(moved) == want);
      }
      return packed.status();
    });
  }
  const std::vector<int8_t> codes(70 * 40, 3);
  const std::vector<float> scales(2 * 40, 0.5f);
  const QuantizedView quantized = {TensorView(codes.data(), {70, 40}),
                                   TensorView(scales.data(), {2, 40})};
  const PackOptions of = {DType::kInt8, 64};
  const auto want =
      saved(*PackedMatrix::pack_quantized(&quantized, 1, WeightLayout::kInOut, of, context));
  CheckCreate(*PackedMatrix::memory_bytes(70, 40, of), [&](const Memory& memory) {
    Result<PackedMatrix> packed =
        PackedMatrix::pack_quantized(&quantized, 1, WeightLayout::kInOut, of, memory, context);
    if (packed.ok()) CHECK(saved(*packed) == want);
    return packed.status();
  });
  // Mapped, and itself in memory too.
  HostMemory file(want.size()), place(*PackedMatrix::memory_bytes(0, 0, {}));
  std::memcpy(file.memory().data, want.data(), want.size());
  const Result<PackedMatrix> mapped =
      PackedMatrix::map(file.memory().data, want.size(), {.memory = place.memory()});
  REQUIRE(mapped.ok());
  CHECK(saved(*mapped) == want);
  CHECK(place.GuardsIntact());
  HostMemory small(8);
  CHECK(PackedMatrix::map(file.memory().data, want.size(), {.memory = small.memory()})
            .status()
            .code() == StatusCode::kOutOfMemory);
}

struct LayerParts {
  MultiHeadAttentionConfig config;
  MultiHeadAttentionWeights weights;
};

TEST_CASE("a layer takes matrices that are packed already, mapped ones without a copy") {
  Random random(7);
  const Tensor<float> q = Normal({64, 32}, random), k = Normal({32, 32}, random),
                      o = Normal({20, 64}, random), x = Normal({2, 7, 32}, random),
                      bias = Normal({64}, random);
  LayerParts parts;
  parts.config.d_in = 32;
  parts.config.num_heads = 4;
  parts.config.num_kv_heads = 2;
  parts.config.head_dim = 16;
  parts.config.rope = RopeOptions{};
  MultiHeadAttentionWeights& plain = parts.weights;
  plain.q = {.weight = q.view(),
             .bias = bias.view(),
             .storage = {DType::kInt8, 32},
             .compute = Compute::kInt16};
  plain.k = {.weight = k.view(), .storage = {DType::kF16}};
  plain.v = {.weight = k.view()};
  plain.out = {.weight = o.view(), .storage = {DType::kInt4, 32}};
  Context context;
  const auto run = [&](const MultiHeadAttention& layer) {
    std::vector<float> y(2 * 7 * 20);
    REQUIRE(layer.forward(x.view(), MutableTensorView(y.data(), {2, 7, 20}), {}, context).ok());
    return y;
  };
  const auto whole = MultiHeadAttention::create(parts.config, plain, context);
  REQUIRE(whole.ok());
  const std::vector<float> want = run(*whole);

  MultiHeadAttentionWeights given = plain;
  std::vector<std::unique_ptr<HostMemory>> files;
  std::vector<PackedMatrix> packed;
  packed.reserve(4);
  for (LinearWeights* linear : {&given.q, &given.k, &given.v, &given.out}) {
    const Result<PackedMatrix> made =
        PackedMatrix::pack(linear->weight, WeightLayout::kOutIn, linear->storage, context);
    REQUIRE(made.ok());
    files.push_back(std::make_unique<HostMemory>(made->saved_bytes()));
    const Memory file = files.back()->memory();
    REQUIRE(made->save(file.data, file.bytes).ok());
    Result<PackedMatrix> mapped = PackedMatrix::map(file.data, file.bytes);
    REQUIRE(mapped.ok());
    packed.push_back(std::move(*mapped));
    linear->packed = &packed.back();
    linear->weight = {};
  }
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(parts.config, given, context);
  REQUIRE(std::string(layer.status().message()) == "");
  CHECK(layer->d_out() == 20);
  packed.clear();  // the files are what must stay
  CHECK(Difference(run(*layer), want) == "");
  // Without a copy: what the files hold is what is computed with.
  const Memory file = files[2]->memory();
  std::memset(static_cast<char*>(file.data) + 64, 0, file.bytes - 64);
  CHECK(Difference(run(*layer), want) != "");

  const auto refusal = [&](LinearWeights MultiHeadAttentionWeights::*member, const PackedMatrix& of,
                           auto change) {
    MultiHeadAttentionWeights weights = plain;
    (weights.*member).weight = {};
    (weights.*member).packed = &of;
    change(weights.*member);
    return MultiHeadAttention::create(parts.config, weights, context).status();
  };
  const auto none = [](LinearWeights&) {};
  PackedMatrix right = std::move(*PackedMatrix::pack(q.view(), WeightLayout::kOutIn, context));
  const PackedMatrix wrong =
      std::move(*PackedMatrix::pack(o.view(), WeightLayout::kOutIn, context));
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::q, wrong, none),
                     StatusCode::kInvalidArgument, "q") == "");
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::out, right, none),
                     StatusCode::kInvalidArgument, "out") == "");
  // f32 can't be computed in int16, whatever `storage` says.
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::q, right, none),
                     StatusCode::kInvalidArgument, "compute") == "");
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::q, right,
                             [&](LinearWeights& w) {
                               w.compute = Compute::kF32;
                               w.weight = q.view();
                             }),
                     StatusCode::kInvalidArgument, "weight") == "");
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::qkv, right, none),
                     StatusCode::kInvalidArgument, "qkv") == "");
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::q, PackedMatrix(), none),
                     StatusCode::kInvalidArgument, "q") == "");
  const PackedMatrix gone = std::move(right);
  CHECK(WrongRefusal(refusal(&MultiHeadAttentionWeights::q, right, none),
                     StatusCode::kInvalidArgument, "q") == "");
}

TEST_CASE("a layer in the caller's memory computes what one on the heap does") {
  Random random(8);
  const Tensor<float> q = Normal({64, 32}, random), k = Normal({32, 32}, random),
                      o = Normal({20, 64}, random), x = Normal({2, 7, 32}, random),
                      vector = Normal({64}, random);
  MultiHeadAttentionConfig config;
  config.d_in = 32;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  MultiHeadAttentionWeights weights;
  weights.q = {.weight = q.view(), .bias = vector.view()};
  weights.k = {.weight = k.view(), .storage = {DType::kInt8, 16}};
  weights.out = {.weight = o.view(), .bias = vector.view().slice(0, 0, 20)};
  weights.q_norm = weights.k_norm = vector.view().slice(0, 0, 16);
  weights.sinks = weights.alibi_slopes = vector.view().slice(0, 0, 4);
  Context context;
  const Result<PackedMatrix> mapped = PackedMatrix::pack(k.view(), WeightLayout::kOutIn, context);
  REQUIRE(mapped.ok());
  weights.v.packed = &*mapped;
  const auto run = [&](const MultiHeadAttention& layer) {
    std::vector<float> y(2 * 7 * 20);
    REQUIRE(layer.forward(x.view(), MutableTensorView(y.data(), {2, 7, 20}), {}, context).ok());
    return y;
  };
  const Result<MultiHeadAttention> on_heap = MultiHeadAttention::create(config, weights, context);
  REQUIRE(std::string(on_heap.status().message()) == "");
  const std::vector<float> want = run(*on_heap);
  const Result<size_t> bytes = MultiHeadAttention::memory_bytes(config, weights, context);
  REQUIRE(bytes.ok());
  CheckCreate(*bytes, [&](const Memory& memory) {
    Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, memory, context);
    if (layer.ok()) {
      const MultiHeadAttention moved = std::move(*layer);
      CHECK(moved.bytes() == on_heap->bytes());
      CHECK(Difference(run(moved), want) == "");
    }
    return layer.status();
  });
  // By shapes alone.
  MultiHeadAttentionWeights shapes = weights;
  shapes.q.weight.data = shapes.k.weight.data = shapes.out.weight.data = nullptr;
  CHECK(WrongRefusal(MultiHeadAttention::memory_bytes(config, shapes, context).status(),
                     StatusCode::kInvalidArgument, "q.weight") == "");
  Context measuring({.measure = true});
  const Result<size_t> measured = MultiHeadAttention::memory_bytes(config, shapes, measuring);
  REQUIRE(measured.ok());
  CHECK(*measured == *bytes);
}

}  // namespace
}  // namespace heed::test
