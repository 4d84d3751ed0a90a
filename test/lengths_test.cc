// Lengths and tables are read once, before anything is written; sizes that would run without end are
// refused or cost nothing.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "src/base/context.h"
#include "test/support/compare.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

// A pool that spoils the caller's lists when the first task is about to run.
struct Spoiler {
  std::vector<std::vector<int32_t>*> lists;
  bool ran = false;

  static void Run(void* self, size_t workers, void (*body)(void* arg, size_t worker), void* arg) {
    auto& spoiler = *static_cast<Spoiler*>(self);
    spoiler.ran = true;
    for (std::vector<int32_t>* list : spoiler.lists) list->assign(list->size(), 1 << 30);
    for (size_t worker = 0; worker < workers; ++worker) body(arg, worker);
  }
};

// The results with lists left alone, and with lists spoiled meanwhile, are the same.
template <class Attend>
void CheckReadOnce(std::vector<std::vector<int32_t>> lists, const Attend& attend) {
  Context context;
  const std::vector<float> want = attend(lists, context);
  Spoiler spoiler;
  for (std::vector<int32_t>& list : lists) spoiler.lists.push_back(&list);
  ContextOptions options;
  options.num_threads = 3;
  options.parallel_for = {Spoiler::Run, &spoiler};
  Context spoiled(options);
  Context::Impl::Of(spoiled)->flops_per_worker = 1;
  CHECK(Difference(attend(lists, spoiled), want) == "");
  CHECK(spoiler.ran);
}

std::vector<float> Together(const Tensor<float>& a, const Tensor<float>& b) {
  std::vector<float> all = a.Dense();
  const std::vector<float> more = b.Dense();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST_CASE("lengths, tables and chosen rows that change during a call do not matter") {
  Random random(1);
  const Tensor<float> q = Normal({2, 6, 4, 8}, random), k = Normal({2, 20, 2, 8}, random);
  using Lists = std::vector<std::vector<int32_t>>;
  SUBCASE("kv_lens, prefix_lens, weights_heads, weights_queries") {
    CheckReadOnce({{17, 20}, {3, 9}, {1, 3}, {0, 5}}, [&](const Lists& lists, Context& context) {
      Tensor<float> out({2, 6, 4, 8}), weights({2, 2, 2, 20});
      AttentionOptions o;
      o.causal = true;
      o.window = 4;
      o.kv_lens = {lists[0].data(), {2}};
      o.prefix_lens = {lists[1].data(), {2}};
      o.weights = weights.mutable_view();
      o.weights_heads = {lists[2].data(), {2}};
      o.weights_queries = {lists[3].data(), {2}};
      REQUIRE(attention(q.view(), k.view(), k.view(), out.mutable_view(), o, context).ok());
      return Together(out, weights);
    });
  }
  SUBCASE("cu_seqlens_q and cu_seqlens_k") {
    CheckReadOnce({{0, 5, 12}, {0, 30, 40}}, [&](const Lists& lists, Context& context) {
      Tensor<float> out({12, 4, 8}), lse({4, 12});
      AttentionOptions o;
      o.cu_seqlens_q = {lists[0].data(), {3}};
      o.cu_seqlens_k = {lists[1].data(), {3}};
      o.lse = lse.mutable_view();
      const TensorView rows(&q[0], {12, 4, 8}), keys(&k[0], {40, 2, 8});
      REQUIRE(attention(rows, keys, keys, out.mutable_view(), o, context).ok());
      return Together(out, lse);
    });
  }
  SUBCASE("block_table and seq_lens") {
    CheckReadOnce({{3, 1, 2, 0, 4, 9}, {10, 7}}, [&](const Lists& lists, Context& context) {
      Tensor<float> out({2, 6, 4, 8}), lse({2, 4, 6});
      AttentionOptions o;
      o.lse = lse.mutable_view();
      const TensorView pool(&k[0], {10, 4, 2, 8});
      const PagedKv kv = {pool, pool, {lists[0].data(), {2, 3}}, {lists[1].data(), {2}}};
      REQUIRE(attention(q.view(), kv, out.mutable_view(), o, context).ok());
      return Together(out, lse);
    });
  }
}

// Views of sizes that no memory is needed for: strides of 0, or an empty result.
const float kOne = 1.0f;
template <class View = TensorView>
View Broadcast(const std::vector<size_t>& sizes) {
  const std::vector<ptrdiff_t> steps(sizes.size(), 0);
  return View(&kOne, DType::kF32, sizes.data(), sizes.size(), steps.data(), steps.size());
}
MutableTensorView EmptyResult(const std::vector<size_t>& sizes) {
  return MutableTensorView(nullptr, DType::kF32, sizes.data(), sizes.size());
}

TEST_CASE("sizes of 2^31 are refused by name, in time") {
  Context context;
  constexpr size_t kHuge = size_t{1} << 40, kMost = size_t{1} << 31;
  Tensor<float> out({1, 1, 1, 1}), max({1, 1, 1, 1}), acc({1, 1, 1, 1, 1});
  const TensorView q = Broadcast({1, 1, 1, 1});
  for (size_t len : {kHuge, kMost}) {
    const TensorView keys = Broadcast({1, len, 1, 1});
    CHECK(WrongRefusal(attention(q, keys, keys, out.mutable_view(), {}, context), kUnsupported,
                       "kv_len") == "");
  }
  const TensorView one = Broadcast({1, 1, 1, 1});
  const TensorView no_values = Broadcast({1, 1, 1, 0});
  CHECK(WrongRefusal(attention(Broadcast({1, size_t{1} << 59, 1, 1}), one, no_values,
                               EmptyResult({1, size_t{1} << 59, 1, 0}), {}, context),
                     kUnsupported, "q_len") == "");
  const TensorView wide = Broadcast({1, 1, 1, kHuge});
  CHECK(WrongRefusal(attention(wide, wide, one, out.mutable_view(), {}, context), kUnsupported,
                     "head_dim") == "");
  const AttentionState state = {max.mutable_view(), out.mutable_view(), acc.mutable_view()};
  for (size_t len : {kMost, SIZE_MAX}) {
    CHECK(WrongRefusal(attention_partial(q, one, one, 0, len, state, {}, context), kUnsupported,
                       "kv_len") == "");
  }
  CHECK(out.AllUntouched());
}

TEST_CASE("calls without anything to write return at once") {
  Context context;
  constexpr size_t kMost = INT32_MAX;
  const TensorView q = Broadcast({kMost, kMost / 4, 1, 1}), k = Broadcast({kMost, kMost / 4, 1, 1});
  const TensorView v = Broadcast({kMost, kMost / 4, 1, 0});
  AttentionOptions o;
  o.causal = true;
  const int32_t most = kMost;
  o.kv_lens = TensorView(&most, {kMost}, {0});
  CHECK(attention(q, k, v, EmptyResult({kMost, kMost / 4, 1, 0}), o, context).ok());
  CHECK(context.workspace_bytes() == 0);

  const PagedKv kv = {Broadcast({kMost, 1, 1, 1}), Broadcast({kMost, 1, 1, 1}),
                      TensorView(&most, {kMost, kMost / 4}, {0, 0}),
                      TensorView(&most, {kMost}, {0})};
  const TensorView none(&kOne, {kMost, 0, 1, 1});
  CHECK(attention(none, kv, EmptyResult({kMost, 0, 1, 1}), {}, context).ok());

  const TensorView lse = Broadcast({kMost, 1, kMost / 4});
  const MutableTensorView nothing = EmptyResult({kMost, kMost / 4, 1, 0});
  CHECK(merge_attention(nothing, lse, nothing, lse, nothing, {}, context).ok());
  CHECK(merge_attention(nullptr, 0, {}, nothing, {}, context).ok());
  CHECK(dropout_mask(0.5f, 1, EmptyResult({kMost, kMost / 4, 1, 0})).ok());
  CHECK(context.workspace_bytes() == 0);
}

// A layer of one head of one channel.
struct SmallLayer {
  float weights[8] = {};

  Result<MultiHeadAttention> Create(Context& context, const TensorView& out_weight = {}) const {
    MultiHeadAttentionConfig config;
    config.d_in = 8;
    config.num_heads = config.head_dim = 1;
    MultiHeadAttentionWeights w;
    w.q.weight = w.k.weight = w.v.weight = TensorView(weights, {1, 8});
    w.out.weight = out_weight;
    return MultiHeadAttention::create(config, w, context);
  }
};

TEST_CASE("a layer and a product bound what strides of 0 make endless") {
  Context context;
  const float x = 0;
  const int32_t position = 0;
  const SmallLayer small;
  const auto layer = small.Create(context);
  REQUIRE(layer.ok());
  constexpr size_t kHuge = size_t{1} << 50;
  ForwardOptions options;
  options.positions = TensorView(&position, {kHuge, 0}, {0, 1});
  CHECK(WrongRefusal(layer->forward({&x, {kHuge, 0, 8}, {0, 0, 0}}, EmptyResult({kHuge, 0, 1}),
                                    options, context),
                     kUnsupported, "batch") == "");
  options.positions = TensorView(&position, {kHuge}, {0});
  float y[1] = {};
  CHECK(WrongRefusal(layer->forward({&x, {0, kHuge, 8}, {0, 0, 0}}, EmptyResult({0, kHuge, 1}),
                                    options, context),
                     kUnsupported, "seq") == "");
  CHECK(WrongRefusal(matmul({&x, {1, kHuge}, {0, 0}}, TensorView(&x, {kHuge, 1}, {0, 1}),
                            {y, {1, 1}}, {}, context),
                     kUnsupported, "a") == "");

  CHECK(WrongRefusal(small.Create(context, {small.weights, {0, 1}}).status(), kInvalid,
                     "out.weight") == "");
}

TEST_CASE("a view of an unknown dtype over a result is refused by its dtype") {
  Context context;
  const float x[8] = {};
  float y[2] = {};
  const SmallLayer small;
  const auto layer = small.Create(context);
  REQUIRE(layer.ok());
  ForwardOptions options;
  options.key_mask = TensorView(y, {1, 1});
  options.key_mask.dtype = static_cast<DType>(99);
  CHECK(WrongRefusal(layer->forward({x, {1, 1, 8}}, {y, {1, 1, 1}}, options, context), kUnsupported,
                     "key_mask") == "");
}

TEST_CASE("offsets from the least to the largest number are refused") {
  Context context;
  const float x[4] = {};
  float out[4] = {};
  const int32_t wide[] = {INT32_MIN, INT32_MAX}, good[] = {0, 4};
  AttentionOptions options;
  options.cu_seqlens_q = TensorView(wide, {2});
  options.cu_seqlens_k = TensorView(good, {2});
  CHECK(WrongRefusal(attention({x, {4, 1, 1}}, {x, {4, 1, 1}}, {x, {4, 1, 1}}, {out, {4, 1, 1}},
                               options, context),
                     kInvalid, "cu_seqlens_q") == "");
}

// With more queries than keys the first ones stand before the first key.
TEST_CASE("a window as wide as can be is no window") {
  Context context;
  Random random(2);
  const Tensor<float> rows = Normal({1, 9, 2, 8}, random);
  const auto run = [&](size_t q_len, size_t kv_len, size_t window, size_t sink_tokens,
                       CausalAlignment alignment) {
    const TensorView q = rows.view().slice(1, 0, q_len), k = rows.view().slice(1, 0, kv_len);
    Tensor<float> out({1, q_len, 2, 8});
    AttentionOptions o;
    o.causal = true;
    o.causal_alignment = alignment;
    o.window = window;
    o.sink_tokens = sink_tokens;
    REQUIRE(attention(q, k, k, out.mutable_view(), o, context).ok());
    return out.Dense();
  };
  for (const auto& lengths : {std::pair<size_t, size_t>{3, 7}, {9, 2}}) {
    const size_t q_len = lengths.first, kv_len = lengths.second;  // clang 14 captures no bindings
    for (CausalAlignment alignment : {CausalAlignment::kBottomRight, CausalAlignment::kTopLeft}) {
      const std::vector<float> want = run(q_len, kv_len, 0, 0, alignment);
      for (size_t window : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, size_t{9}, size_t{12}}) {
        INFO(q_len << " on " << kv_len << ", window " << window);
        CHECK(Difference(run(q_len, kv_len, window, 0, alignment), want) == "");
        CHECK(Difference(run(q_len, kv_len, window, SIZE_MAX, alignment), want) == "");
      }
    }
  }
}

TEST_CASE("refusals say what is wrong") {
  Context context;
  Tensor<float> out({1, 1, 1, 1});
  const TensorView empty(&kOne, {1, 1, 1, 0});
  const TensorView one = Broadcast({1, 1, 1, 1});
  CHECK(std::string(attention(empty, empty, one, out.mutable_view(), {}, context).message()) ==
        "q: head_dim is 0, must be at least 1");
  const int32_t length = 1, block = 0;
  const TensorView none(&kOne, {0, 1, 1, 1});
  const PagedKv kv = {none, none, TensorView(&block, {1, 1}), TensorView(&length, {1})};
  CHECK(std::string(attention(one, kv, out.mutable_view(), {}, context).message()) ==
        "block_table: element [0, 0] is 0, must be one of the pool's 0 blocks, counted from 0");
  CHECK(out.AllUntouched());
}

TEST_CASE("packed keys and values are of rank 3") {
  Context context;
  Random random(3);
  const Tensor<float> rows = Normal({4, 2, 8}, random);
  const TensorView batched(&rows[0], {1, 4, 2, 8});
  Tensor<float> out({4, 2, 8});
  const int32_t offsets[] = {0, 1, 4};
  AttentionOptions o;
  o.cu_seqlens_q = o.cu_seqlens_k = TensorView(offsets, {3});
  const auto run = [&](const TensorView& k, const TensorView& v) {
    return attention(rows.view(), k, v, out.mutable_view(), o, context);
  };
  CHECK(WrongRefusal(run(rows.view(), batched), kInvalid, "v") == "");
  CHECK(WrongRefusal(run(batched, rows.view()), kInvalid, "k") == "");
  CHECK(out.AllUntouched());
  CHECK(run(rows.view(), rows.view()).ok());
}

TEST_CASE("weights_heads and weights_queries name nothing twice") {
  Context context;
  Random random(4);
  const Tensor<float> q = Normal({1, 3, 2, 8}, random);
  Tensor<float> out({1, 3, 2, 8}), weights({1, 2, 2, 3});
  const int32_t twice[] = {1, 1}, good[] = {0, 1};
  const auto run = [&](const int32_t* heads, const int32_t* queries) {
    AttentionOptions o;
    o.weights = weights.mutable_view();
    o.weights_heads = TensorView(heads, {2});
    o.weights_queries = TensorView(queries, {2});
    return attention(q.view(), q.view(), q.view(), out.mutable_view(), o, context);
  };
  CHECK(WrongRefusal(run(twice, good), kInvalid, "weights_heads") == "");
  CHECK(WrongRefusal(run(good, twice), kInvalid, "weights_queries") == "");
  CHECK(out.AllUntouched());
  CHECK(weights.AllUntouched());
  CHECK(run(good, good).ok());
}

}  // namespace
}  // namespace heed::test
