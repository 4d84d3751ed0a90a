// heed allocates nothing once it has seen a problem's size, in the caller's memory nothing at all,
// and says so where there is no memory: every call of malloc and its relatives in this program is
// counted, whoever makes it (the OpenMP runtime included), and can be made to fail.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/measured_calls.h"
#include "test/support/run_cases.h"
#include "tools/conformance/random.h"

namespace {
std::atomic<size_t> allocations = 0;
std::atomic<size_t> until_failure = 0;  // 1: the next allocation fails, 0: none does
std::atomic<bool> forbidden = false;    // all fail

// Counts an allocation; false: there is no memory for it.
bool Allocate() {
  ++allocations;
  if (forbidden) {
    errno = ENOMEM;
    return false;
  }
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

TEST_CASE("forward with a Hadamard rotation allocates nothing after the first prefill and decode") {
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

// A host's pool, with threads that are there before.
class Pool {
 public:
  explicit Pool(size_t workers) {
    for (size_t worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { Serve(worker); });
    }
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  static void Run(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
                  void* arg) {
    auto& self = *static_cast<Pool*>(pool);
    std::unique_lock lock(self.mutex_);
    self.body_ = body;
    self.arg_ = arg;
    self.workers_ = num_workers;
    self.left_ = self.threads_.size();
    ++self.job_;
    self.changed_.notify_all();
    lock.unlock();
    body(arg, 0);
    lock.lock();
    self.changed_.wait(lock, [&] { return self.left_ == 0; });
    ++self.jobs_done;
  }

  size_t jobs_done = 0;

 private:
  void Serve(size_t worker) {
    std::unique_lock lock(mutex_);
    for (size_t seen = 0;;) {
      changed_.wait(lock, [&] { return ended_ || job_ != seen; });
      if (ended_) return;
      seen = job_;
      lock.unlock();
      if (worker < workers_) body_(arg_, worker);
      lock.lock();
      if (--left_ == 0) changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  size_t job_ = 0, left_ = 0, workers_ = 0;
  void (*body_)(void*, size_t) = nullptr;
  void* arg_ = nullptr;
  std::vector<std::thread> threads_;
};

// Aligned memory that is there before.
class Place {
 public:
  explicit Place(size_t bytes) : data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
    memory = {data_, bytes};
  }
  ~Place() { std::free(data_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  Memory memory;

 private:
  void* data_;
};

// A layer of mapped matrices, its caches and its context, all in the caller's memory. Everything
// that a program does with them, from their creation to their end, while any allocation fails.
void RunWithoutHeap(const ContextOptions& given) {
  Context packing;
  const std::vector<float> numbers = NormalVector(kWidth * kWidth);
  std::vector<float> y(numbers.size());
  const auto saved = [&](size_t out, const PackOptions& options) {
    const Result<PackedMatrix> packed = PackedMatrix::pack(
        TensorView(numbers.data(), {out, kWidth}), WeightLayout::kOutIn, options, packing);
    REQUIRE(packed.ok());
    auto file = std::make_unique<Place>(packed->saved_bytes());
    REQUIRE(packed->save(file->memory.data, file->memory.bytes).ok());
    return file;
  };
  const auto wide = saved(kWidth, {DType::kF32}), narrow = saved(64, {DType::kInt4, 32});
  MultiHeadAttentionConfig config;
  config.d_in = kWidth;
  config.num_heads = 8;
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.rope = RopeOptions{};
  const KvCacheConfig cache_config = {.num_kv_heads = 2,
                                      .head_dim = 32,
                                      .capacity = 300,
                                      .k_dtype = DType::kInt8,
                                      .v_dtype = DType::kF16};
  const PagedKvCacheConfig paged_config = {
      .num_blocks = 40, .num_kv_heads = 2, .head_dim = 32, .max_sequences = 3};
  Place mapped(*PackedMatrix::memory_bytes(0, 0, {}));
  Place mapped_narrow(*PackedMatrix::memory_bytes(0, 0, {}));
  Place cache_memory(*KvCache::memory_bytes(cache_config));
  Place paged_memory(*PagedKvCache::memory_bytes(paged_config));
  Place context_memory(Context::memory_bytes(size_t{8} << 20));
  // With shapes that are like the mapped matrices'.
  MultiHeadAttentionWeights weights;
  Context measuring({.measure = true});
  const TensorView wide_shape(static_cast<const float*>(nullptr), {kWidth, kWidth});
  weights.q.weight = weights.out.weight = wide_shape;
  weights.k.weight = weights.v.weight = wide_shape.slice(0, 0, 64);
  Place layer_memory(*MultiHeadAttention::memory_bytes(config, weights, measuring));
  weights = {};
  ContextOptions options = given;
  options.memory = context_memory.memory;
  const TensorView tokens(numbers.data(), {1, 100, 2, 32});

  bool ok = true;
  const size_t before = allocations;
  forbidden = true;
  {
    Context context(options);
    ok &= context.status().ok();
    Result<KvCache> cache = KvCache::create(cache_config, cache_memory.memory);
    Result<PagedKvCache> paged = PagedKvCache::create(paged_config, paged_memory.memory);
    const Result<PackedMatrix> narrow_map = PackedMatrix::map(
        narrow->memory.data, narrow->memory.bytes, {.memory = mapped_narrow.memory});
    const Result<PackedMatrix> map =
        PackedMatrix::map(wide->memory.data, wide->memory.bytes, {.memory = mapped.memory});
    ok &= cache.ok() && paged.ok() && map.ok() && narrow_map.ok();
    weights.q.packed = weights.out.packed = &*map;
    weights.k.packed = weights.v.packed = &*narrow_map;
    const Result<MultiHeadAttention> layer =
        MultiHeadAttention::create(config, weights, layer_memory.memory, context);
    ok &= layer.ok();
    const auto forward = [&](size_t n) {
      return layer
          ->forward(TensorView(numbers.data(), {n, kWidth}),
                    MutableTensorView(y.data(), {n, kWidth}), *cache, context)
          .ok();
    };
    ok &= forward(100) && forward(1) && forward(1);  // prefill, decode
    ok &= cache->append(tokens, tokens, context).ok() && cache->truncate(150).ok();
    ok &= attention(TensorView(numbers.data(), {1, 40, 8, 32}), *cache,
                    MutableTensorView(y.data(), {1, 40, 8, 32}), {.causal = true}, context)
              .ok();
    const Result<PagedSequence> first = paged->add();
    ok &= first.ok() && paged->append(*first, tokens, tokens, context).ok();
    const Result<PagedSequence> child = paged->fork(*first, 60);
    ok &= child.ok() && paged->append(*child, tokens, tokens, context).ok();
    ok &= paged->truncate(*first, 33).ok();
    const PagedSequence names[] = {*first, *child};
    const Result<PagedKv> view = paged->view(names);
    ok &= view.ok() && attention(TensorView(numbers.data(), {2, 1, 8, 32}), *view,
                                 MutableTensorView(y.data(), {2, 1, 8, 32}), {}, context)
                           .ok();
    ok &= paged->free(*child).ok();
    ok &= matmul(TensorView(numbers.data(), {90, kWidth}), *map,
                 MutableTensorView(y.data(), {90, kWidth}), {}, context)
              .ok();
    const Result<Region> region =
        Region::matmul(TensorView(numbers.data(), {90, kWidth}), *map,
                       MutableTensorView(y.data(), {90, kWidth}), {}, 2, context);
    ok &= region.ok();
    for (size_t phase = 0; phase < region->phases(); ++phase) {
      ok &= region->run(phase, 0, region->tasks(phase), 0).ok();
    }
    ok &= merge_attention(nullptr, 0, {}, MutableTensorView(y.data(), {1, 1, 2, 16}), {}, context)
              .ok();
  }
  forbidden = false;
  CHECK(ok);
  CHECK(allocations == before);
}

TEST_CASE("in the caller's memory nothing is allocated, on one thread and on a host's pool") {
  RunWithoutHeap({.threading = Threading::kNone});
  Pool pool(3);
  ContextOptions options;
  options.num_threads = 3;
  options.parallel_for = {&Pool::Run, &pool};
  RunWithoutHeap(options);
  CHECK(pool.jobs_done > 5);
}

TEST_CASE("every call allocates nothing in memory of the size that was measured") {
  MeasuredCalls calls;
  Pool pool(3);
  const auto pooled = [&](size_t threads) {
    ContextOptions options;
    options.num_threads = threads;
    options.parallel_for = {&Pool::Run, &pool};
    return options;
  };
  for (const MeasuredCall& call : calls.all()) {
    INFO(call.name << " (" << &call - calls.all().data() << ")");
    for (const size_t threads : {1u, 3u}) {
      ContextOptions options = pooled(threads);
      options.measure = true;
      Context measuring(options);
      call.prepare();
      REQUIRE(call.run(measuring, true).code() == StatusCode::kMeasured);
      Place memory(Context::memory_bytes(measuring.workspace_bytes()));
      options.measure = false;
      options.memory = memory.memory;
      call.prepare();
      const size_t before = allocations;
      forbidden = true;
      Context context(options);
      const Status status = call.run(context, true);
      forbidden = false;
      const size_t made = allocations - before;
      CHECK(std::string(status.message()) == "");
      CHECK(made == 0);
    }
  }
  CHECK(pool.jobs_done > 20);
}

TEST_CASE("measuring allocates nothing") {
  const std::vector<float> x = NormalVector(kPrompt * kWidth);
  const MultiHeadAttention layer = MakeLayer();
  Context context({.num_threads = 2, .measure = true});
  ForwardOptions options;
  const size_t before = allocations;
  const Status status = layer.forward(
      TensorView(x.data(), {kPrompt, kWidth}),
      MutableTensorView(static_cast<float*>(nullptr), {kPrompt, kWidth}), options, context);
  const size_t made = allocations - before;
  CHECK(status.code() == StatusCode::kMeasured);
  CHECK(made == 0);
  CHECK(context.workspace_bytes() > 0);
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
  CHECK(made([] { return PagedKvCache::create({4, 16, 2, 8, 8}); }) >= 1);
  MultiHeadAttentionConfig config;
  config.d_in = 64;
  config.num_heads = config.num_kv_heads = 2;
  config.head_dim = 32;
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = matrix;
  CHECK(made([&] { return MultiHeadAttention::create(config, weights, packing); }) >= 1);
}

}  // namespace
}  // namespace heed::test

int main(int argc, char** argv) { return heed::test::RunCases(argc, argv); }
