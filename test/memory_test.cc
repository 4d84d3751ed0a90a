// Contexts, caches, packed matrices and layers in memory that the host owns.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/compare.h"
#include "test/support/host_memory.h"
#include "test/support/refusal.h"
#include "tools/conformance/random.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

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
  CHECK(WrongRefusal(create(Memory{nullptr, bytes}), StatusCode::kInvalidArgument, "memory") == "");
  CHECK(WrongRefusal(create(Memory{data + 4, bytes - 4}), StatusCode::kInvalidArgument, "memory") ==
        "");
  const Status status = create(less.memory());
  CHECK(WrongRefusal(status, StatusCode::kOutOfMemory, "memory") == "");
  CHECK(Names(status.message(), std::to_string(bytes).c_str()));
  CHECK(less.Untouched());
  CHECK(memory.Untouched());
  CHECK(std::string(create(Memory{}).message()) == "");  // on the heap
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
  CHECK(PagedKvCache::create(unlimited, Memory{}).ok());
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
