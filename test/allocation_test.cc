// heed allocates nothing once it has seen a problem's size, and says so where there is no memory:
// every call of malloc and its relatives in this program is counted, whoever makes it (the OpenMP
// runtime included), and can be made to fail.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/run_cases.h"
#include "tools/conformance/random.h"

namespace {
std::atomic<size_t> allocations = 0;
std::atomic<size_t> until_failure = 0;  // 1: the next allocation fails, 0: none does

// Counts an allocation; false: there is no memory for it.
bool Allocate() {
  ++allocations;
  if (until_failure == 0 || --until_failure > 0) return true;
  errno = ENOMEM;
  return false;
}
}  // namespace

// operator new comes to malloc too. glibc's own functions remain reachable under these names.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) noexcept { return Allocate() ? __libc_malloc(size) : nullptr; }
void* calloc(size_t count, size_t size) noexcept {
  return Allocate() ? __libc_calloc(count, size) : nullptr;
}
void* realloc(void* memory, size_t size) noexcept {
  return Allocate() ? __libc_realloc(memory, size) : nullptr;
}
void* memalign(size_t alignment, size_t size) noexcept {
  return Allocate() ? __libc_memalign(alignment, size) : nullptr;
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  return Allocate() ? __libc_memalign(alignment, size) : nullptr;
}
int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  *memory = Allocate() ? __libc_memalign(alignment, size) : nullptr;
  return *memory == nullptr ? ENOMEM : 0;
}
}

namespace heed::test {
namespace {

std::vector<float> NormalVector(size_t n) {
  Random random(n);
  std::vector<float> values(n);
  for (float& x : values) x = random.Normal();
  return values;
}

// A Llama-like layer: 8 heads on 2 kv heads of 32, RoPE.
constexpr size_t kWidth = 256, kPrompt = 200, kTokens = 20, kBatch = 2;

MultiHeadAttention MakeLayer(size_t window = 0, bool hadamard = false) {
  MultiHeadAttentionConfig config;
  config.hadamard = hadamard;
  config.window = window;
  config.d_in = kWidth;
  config.num_heads = 8;
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.rope = RopeOptions{};
  const std::vector<float> numbers = NormalVector(kWidth * kWidth);
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.out.weight = TensorView(numbers.data(), {kWidth, kWidth});
  weights.k.weight = weights.v.weight = TensorView(numbers.data(), {64, kWidth});
  Context context;
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, context);
  REQUIRE(layer.ok());
  return std::move(*layer);
}

// One prefill and some single tokens; the allocations of each kind of call.
struct Counts {
  size_t prefill = 0, decode = 0;
};

Counts Generate(const MultiHeadAttention& layer, const ForwardOptions& given, KvCache& cache,
                Context& context) {
  static const std::vector<float> x = NormalVector(kBatch * kPrompt * kWidth);
  static std::vector<float> y(x.size());
  ForwardOptions options = given;
  options.cache = &cache;
  REQUIRE(cache.truncate(0).ok());
  const auto forward = [&](size_t tokens) {
    const TensorView from(x.data(), {kBatch, tokens, kWidth});
    const MutableTensorView to(y.data(), {kBatch, tokens, kWidth});
    const size_t before = allocations;
    const Status status = layer.forward(from, to, options, context);
    const size_t made = allocations - before;
    REQUIRE(status.ok());
    return made;
  };
  Counts counts;
  counts.prefill = forward(kPrompt);
  for (size_t i = 0; i < kTokens; ++i) counts.decode += forward(1);
  return counts;
}

void CheckForward(size_t num_threads, const ForwardOptions& options, bool hadamard = false) {
  ContextOptions context_options;
  context_options.num_threads = num_threads;
  Context context(context_options);
  const MultiHeadAttention layer = MakeLayer(/*window=*/0, hadamard);
  Result<KvCache> cache = layer.create_cache(kBatch, kPrompt + kTokens);
  REQUIRE(cache.ok());
  const Counts first = Generate(layer, options, *cache, context);
  CHECK(first.prefill > 0);  // the workspace: the counter counts
  const size_t held = context.workspace_bytes();
  for (int turn = 0; turn < 3; ++turn) {
    const Counts again = Generate(layer, options, *cache, context);
    CHECK(again.prefill == 0);
    CHECK(again.decode == 0);
  }
  CHECK(context.workspace_bytes() == held);
}

TEST_CASE("forward allocates nothing after the first prefill and decode, on one thread") {
  CheckForward(1, {});
}

TEST_CASE("forward allocates nothing after the first prefill and decode, on two threads") {
  CheckForward(2, {});
}

TEST_CASE("forward with dropout allocates nothing after the first prefill and decode") {
  ForwardOptions options;
  options.dropout.probability = 0.1f;
  CheckForward(1, options);
  CheckForward(2, options);
}

TEST_CASE("forward with a Hadamard turn allocates nothing after the first prefill and decode") {
  CheckForward(1, {}, /*hadamard=*/true);
  CheckForward(2, {}, /*hadamard=*/true);
}

TEST_CASE("operations allocate nothing once they have seen a size, on one and two threads") {
  std::vector<float> q = NormalVector(300 * 256), k = NormalVector(3000 * 64), out(300 * 256);
  const TensorView keys(k.data(), {3000, 2, 32});
  Context packing;
  Result<PackedMatrix> packed =
      PackedMatrix::pack(TensorView(q.data(), {256, 300}), WeightLayout::kInOut, packing);
  REQUIRE(packed.ok());
  const Result<PackedMatrix> int8 = PackedMatrix::pack(
      TensorView(q.data(), {256, 300}), WeightLayout::kInOut, {DType::kInt8}, packing);
  REQUIRE(int8.ok());
  const std::vector<int32_t> positions(300, 7);
  for (size_t threads : {size_t{1}, size_t{2}}) {
    ContextOptions options;
    options.num_threads = threads;
    Context context(options);
    size_t made = 0;
    for (int turn = 0; turn < 3; ++turn) {
      const size_t before = allocations;
      // Prefill, decode by segments, products of many rows and of one, softmax, RoPE.
      bool ok = attention(TensorView(q.data(), {300, 8, 32}), keys, keys,
                          MutableTensorView(out.data(), {300, 8, 32}), {}, context)
                    .ok();
      ok &= attention(TensorView(q.data(), {1, 8, 32}), keys, keys,
                      MutableTensorView(out.data(), {1, 8, 32}), {}, context)
                .ok();
      ok &= matmul(TensorView(q.data(), {200, 256}), *packed,
                   MutableTensorView(out.data(), {200, 300}), {}, context)
                .ok();
      ok &= matmul(TensorView(q.data(), {200, 256}), *int8,
                   MutableTensorView(out.data(), {200, 300}), {.compute = Compute::kInt16}, context)
                .ok();
      ok &= matmul(TensorView(q.data(), {1, 64}), TensorView(k.data(), {64, 3000}),
                   MutableTensorView(out.data(), {1, 3000}), {}, context)
                .ok();
      ok &= softmax(TensorView(q.data(), {300, 256}), MutableTensorView(out.data(), {300, 256}), {},
                    context)
                .ok();
      ok &= rope(TensorView(q.data(), {300, 8, 32}), TensorView(positions.data(), {300}),
                 MutableTensorView(out.data(), {300, 8, 32}), {}, context)
                .ok();
      made = allocations - before;
      REQUIRE(ok);
    }
    CHECK(made == 0);
  }
}

TEST_CASE("a forward that gets no memory leaves a ring as it was, whichever step lacks it") {
  constexpr size_t kHeld = 120, kNew = 65;
  const MultiHeadAttention layer = MakeLayer(/*window=*/64);
  Result<KvCache> ring =
      KvCache::create({.num_kv_heads = 2, .head_dim = 32, .capacity = 100, .window = 64});
  REQUIRE(ring.ok());
  const std::vector<float> x = NormalVector((kHeld + kNew) * kWidth);
  std::vector<float> y(x.size());
  Context first;
  REQUIRE(layer
              .forward(TensorView(x.data(), {kHeld, kWidth}),
                       MutableTensorView(y.data(), {kHeld, kWidth}), *ring, first)
              .ok());
  size_t refused = 0;
  Status status;
  for (size_t nth = 1;; ++nth) {
    Context context({.num_threads = 1});
    until_failure = nth;
    status = layer.forward(TensorView(x.data() + kHeld * kWidth, {kNew, kWidth}),
                           MutableTensorView(y.data(), {kNew, kWidth}), *ring, context);
    until_failure = 0;
    if (status.ok()) break;
    ++refused;
    REQUIRE(status.code() == StatusCode::kOutOfMemory);
    REQUIRE(ring->length() == kHeld);
    REQUIRE(ring->first_held() == 0);
  }
  CHECK(refused >= 2);
  CHECK(ring->length() == kHeld + kNew);
}

TEST_CASE("a refused call allocates nothing") {
  Context context;
  const size_t before = allocations;
  const Status status = attention({}, TensorView(), {}, {}, {}, context);
  const size_t made = allocations - before;
  CHECK(!status.ok());
  CHECK(made == 0);
}

// Calls call(context) with its first allocation failing, then with its second, and so on until it
// succeeds, each time with a context that has no workspace yet. Returns how often it was refused.
// refused() looks at what such a call left behind.
template <class Call, class Refused>
size_t FailEach(const Call& call, const Refused& refused) {
  for (size_t n = 1; n < 1000; ++n) {
    Context context({.num_threads = 1});
    until_failure = n;
    const Status status = call(context);
    const bool failed = until_failure == 0;
    until_failure = 0;
    if (!failed) {
      CHECK(std::string(status.message()) == "");
      return n - 1;
    }
    INFO("allocation " << n << " failed");
    CHECK(status.code() == StatusCode::kOutOfMemory);
    refused();
  }
  return 0;
}

TEST_CASE("forward without memory for any of its buffers leaves the cache as it was") {
  // The products of x are small and the output projection's are not, so that it asks for memory of
  // its own.
  MultiHeadAttentionConfig config;
  config.d_in = 8;
  config.num_heads = 4;
  config.num_kv_heads = 1;
  config.head_dim = 16;
  config.v_head_dim = 200;
  config.rope = RopeOptions{};
  const std::vector<float> numbers = NormalVector(900 * 800);
  MultiHeadAttentionWeights weights;
  weights.q.weight = TensorView(numbers.data(), {64, 8});
  weights.k.weight = TensorView(numbers.data(), {16, 8});
  weights.v.weight = TensorView(numbers.data(), {200, 8});
  weights.out.weight = TensorView(numbers.data(), {900, 800});
  Context packing;
  const Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, packing);
  REQUIRE(layer.ok());
  const std::vector<float> x = NormalVector(40 * 8);
  std::vector<float> want(40 * 900), got(40 * 900);
  const auto forward = [&](size_t begin, size_t end, std::vector<float>& y, KvCache& cache,
                           Context& context) {
    ForwardOptions options;
    options.cache = &cache;
    return layer->forward(TensorView(&x[begin * 8], {end - begin, 8}),
                          MutableTensorView(&y[begin * 900], {end - begin, 900}), options, context);
  };
  const auto make_cache = [&] {
    Result<KvCache> cache = layer->create_cache(1, 40);
    REQUIRE(cache.ok());
    return std::move(*cache);
  };
  for (size_t prompt : {size_t{7}, size_t{39}}) {  // then many tokens, or one
    KvCache whole = make_cache(), cache = make_cache();
    Context context({.num_threads = 1});
    REQUIRE(forward(0, prompt, want, whole, context).ok());
    REQUIRE(forward(prompt, 40, want, whole, context).ok());
    REQUIRE(forward(0, prompt, got, cache, context).ok());
    const std::vector<float> before = got;
    const size_t refusals =
        FailEach([&](Context& fresh) { return forward(prompt, 40, got, cache, fresh); },
                 [&] {
                   CHECK(cache.length() == prompt);
                   CHECK(got == before);
                 });
    CHECK(refusals >= 1);
    CHECK(cache.length() == 40);
    CHECK(got == want);
  }
}

TEST_CASE("operations without memory for any of their buffers say so and write nothing") {
  const std::vector<float> numbers = NormalVector(3000 * 64);
  const TensorView keys(numbers.data(), {3000, 2, 32}), few(numbers.data(), {2, 8, 32});
  const TensorView many(numbers.data(), {90, 8, 32}), matrix(numbers.data(), {64, 3000});
  Context packing;
  const Result<PackedMatrix> packed = PackedMatrix::pack(matrix, WeightLayout::kInOut, packing);
  REQUIRE(packed.ok());
  const std::vector<int32_t> positions(90, 7);
  std::vector<float> out(90 * 3000), scores(8 * 3000);
  using Call = std::function<Status(Context&)>;
  const auto attend = [&](const TensorView& q, Context& context, AttentionOptions options = {}) {
    return attention(q, keys, keys, MutableTensorView(out.data(), {q.shape[0], 8, 32}), options,
                     context);
  };
  const auto multiply = [&](size_t rows, Context& context) {
    return matmul(TensorView(numbers.data(), {rows, 64}), matrix,
                  MutableTensorView(out.data(), {rows, 3000}), {}, context);
  };
  const Call calls[] = {
      [&](Context& c) { return attend(few, c); },
      [&](Context& c) { return attend(many, c); },
      [&](Context& c) {
        return attend(few, c, {.key_scores = MutableTensorView(scores.data(), {1, 8, 3000})});
      },
      [&](Context& c) { return multiply(1, c); },
      [&](Context& c) { return multiply(90, c); },
      [&](Context& c) {
        return matmul(TensorView(numbers.data(), {90, 64}), *packed,
                      MutableTensorView(out.data(), {90, 3000}), {}, c);
      },
      [&](Context& c) {
        return rope(many, TensorView(positions.data(), {90}),
                    MutableTensorView(out.data(), {90, 8, 32}), {}, c);
      },
  };
  for (const Call& call : calls) {
    INFO("call " << &call - calls);
    std::fill(out.begin(), out.end(), 7.0f);
    std::fill(scores.begin(), scores.end(), 7.0f);
    const auto untouched = [](float value) { return value == 7.0f; };
    const size_t refusals = FailEach(call, [&] {
      CHECK(std::all_of(out.begin(), out.end(), untouched));
      CHECK(std::all_of(scores.begin(), scores.end(), untouched));
    });
    CHECK(refusals >= 1);
  }
}

TEST_CASE("what is made without memory is refused") {
  const std::vector<float> numbers = NormalVector(64 * 64);
  const TensorView matrix(numbers.data(), {64, 64});
  const auto made = [](const auto& create) {
    return FailEach([&](Context&) { return create().status(); }, [] {});
  };
  Context packing;
  CHECK(made([&] { return PackedMatrix::pack(matrix, WeightLayout::kInOut, packing); }) >= 1);
  CHECK(made([] {
          return KvCache::create(
              {.num_kv_heads = 1, .head_dim = 8, .v_head_dim = 8, .capacity = 9});
        }) >= 1);
  CHECK(made([] { return PagedKvCache::create({4, 16, 2, 8, 8}); }) >= 2);
  MultiHeadAttentionConfig config;
  config.d_in = 64;
  config.num_heads = config.num_kv_heads = 2;
  config.head_dim = 32;
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = matrix;
  CHECK(made([&] { return MultiHeadAttention::create(config, weights, packing); }) >= 2);
}

}  // namespace
}  // namespace heed::test

int main(int argc, char** argv) { return heed::test::RunCases(argc, argv); }
