// heed allocates nothing once it has seen a problem's size: every call of malloc and its relatives
// in this program is counted, whoever makes it (the OpenMP runtime included).
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/conformance/random.h"

namespace {
std::atomic<size_t> allocations = 0;
std::atomic<size_t> most_bytes = SIZE_MAX;  // aligned_alloc() gives
}  // namespace

// operator new comes to malloc too. glibc's own functions remain reachable under these names.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) noexcept {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) noexcept {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) noexcept {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) noexcept {
  ++allocations;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  ++allocations;
  if (size > most_bytes) return nullptr;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  ++allocations;
  *memory = __libc_memalign(alignment, size);
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

MultiHeadAttention MakeLayer(size_t window = 0) {
  MultiHeadAttentionConfig config;
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

void CheckForward(size_t num_threads, const ForwardOptions& options) {
  ContextOptions context_options;
  context_options.num_threads = num_threads;
  Context context(context_options);
  const MultiHeadAttention layer = MakeLayer();
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

TEST_CASE("operations allocate nothing once they have seen a size, on one and two threads") {
  std::vector<float> q = NormalVector(300 * 256), k = NormalVector(3000 * 64), out(300 * 256);
  const TensorView keys(k.data(), {3000, 2, 32});
  Context packing;
  Result<PackedMatrix> packed =
      PackedMatrix::pack(TensorView(q.data(), {256, 300}), WeightLayout::kInOut, packing);
  REQUIRE(packed.ok());
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
  for (size_t limit = 1024;; limit += limit / 2) {
    Context context({.num_threads = 1});
    most_bytes = limit;
    status = layer.forward(TensorView(x.data() + kHeld * kWidth, {kNew, kWidth}),
                           MutableTensorView(y.data(), {kNew, kWidth}), *ring, context);
    most_bytes = SIZE_MAX;
    if (status.ok()) break;
    ++refused;
    REQUIRE(status.code() == StatusCode::kOutOfMemory);
    REQUIRE(ring->length() == kHeld);
    REQUIRE(ring->first_held() == 0);
  }
  CHECK(refused > 5);
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

}  // namespace
}  // namespace heed::test
