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
#include "test/support/measured_calls.h"
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

TEST_CASE("what is measured is enough, to the byte, and the bits are the same") {
  MeasuredCalls calls;
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
  MeasuredCalls calls;
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
