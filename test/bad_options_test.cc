// Options that contradict each other or the shapes are refused by name, and nothing is written.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// A valid call, to be spoiled: batch 2, q_len 3, kv_len 5, heads 4/2, head_dim 8.
struct Call {
  Tensor<float> q{{2, 3, 4, 8}}, k{{2, 5, 2, 8}}, v{{2, 5, 2, 8}}, out{{2, 3, 4, 8}};
  Tensor<float> lse{{2, 4, 3}}, weights{{2, 4, 3, 5}}, key_scores{{2, 4, 5}};
  std::vector<float> floats = std::vector<float>(200, 0.0f);
  std::vector<int32_t> ints = {1, 2, 3, 4, 5};
  std::vector<uint8_t> bytes = std::vector<uint8_t>(200, 1);
  AttentionOptions o;
  Context context;

  Status Run() {
    o.lse = lse.mutable_view();
    return attention(q.view(), k.view(), v.view(), out.mutable_view(), o, context);
  }
  bool Untouched() const {
    return out.AllUntouched() && lse.AllUntouched() && weights.AllUntouched() &&
           key_scores.AllUntouched();
  }
};

struct BadOption {
  const char* argument;
  StatusCode code;
  void (*spoil)(Call&);
};

const BadOption kBadOptions[] = {
    {"logits_soft_cap", kInvalid, [](Call& c) { c.o.logits_soft_cap = -1.0f; }},
    {"logits_soft_cap", kInvalid, [](Call& c) { c.o.logits_soft_cap = kNaN; }},
    {"logits_soft_cap", kInvalid, [](Call& c) { c.o.logits_soft_cap = kInf; }},
    {"logits_soft_cap", kInvalid, [](Call& c) { c.o.logits_soft_cap = 1e-40f; }},
    {"alibi_slopes", kInvalid,
     [](Call& c) {
       c.o.alibi_slopes = {c.floats.data(), {3}};
     }},
    {"alibi_slopes", kUnsupported,
     [](Call& c) {
       c.o.alibi_slopes = {c.ints.data(), {4}};
     }},
    {"sinks", kInvalid,
     [](Call& c) {
       c.o.sinks = {c.floats.data(), {2}};
     }},
    {"sinks", kInvalid,
     [](Call& c) {
       c.o.sinks = {c.floats.data(), {4, 1}};
     }},
    {"window", kInvalid, [](Call& c) { c.o.window = 2; }},
    {"sink_tokens", kInvalid, [](Call& c) { c.o.causal = true, c.o.sink_tokens = 1; }},
    {"prefix_lens", kInvalid,
     [](Call& c) {
       c.o.prefix_lens = {c.ints.data(), {2}};
     }},
    {"prefix_lens", kInvalid,
     [](Call& c) {
       c.o.causal = true, c.ints[1] = -1, c.o.prefix_lens = {c.ints.data(), {2}};
     }},
    {"causal_alignment", kInvalid,
     [](Call& c) { c.o.causal_alignment = static_cast<CausalAlignment>(7); }},
    {"kv_lens", kInvalid,
     [](Call& c) {
       c.ints[0] = -1, c.o.kv_lens = {c.ints.data(), {2}};
     }},
    {"kv_lens", kInvalid,
     [](Call& c) {
       c.ints[0] = 6, c.o.kv_lens = {c.ints.data(), {2}};
     }},
    {"kv_lens", kInvalid,
     [](Call& c) {
       c.o.kv_lens = {c.ints.data(), {3}};
     }},
    {"kv_lens", kUnsupported,
     [](Call& c) {
       c.o.kv_lens = {c.floats.data(), {2}};
     }},
    {"key_mask", kInvalid,
     [](Call& c) {
       c.o.key_mask = {c.bytes.data(), {2, 4}};
     }},
    {"key_mask", kUnsupported,
     [](Call& c) {
       c.o.key_mask = {c.floats.data(), {2, 5}};
     }},
    {"mask", kInvalid,
     [](Call& c) {
       c.o.mask = {c.bytes.data(), {2, 3, 5}};
     }},
    {"mask", kInvalid,
     [](Call& c) {
       c.o.mask = {c.bytes.data(), {3, 1, 3, 5}};
     }},
    {"mask", kInvalid,
     [](Call& c) {
       c.o.mask = {c.bytes.data(), {3, 5}};
     }},
    {"mask", kUnsupported,
     [](Call& c) {
       c.o.mask = {c.ints.data(), {1, 1, 5}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {
       c.o.tree_mask = {c.bytes.data(), {3, 3}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {
       c.o.causal = true, c.o.tree_mask = {c.bytes.data(), {3, 5}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {
       c.o.causal = true;
       c.o.kv_lens = {c.ints.data(), {2}};
       c.o.tree_mask = {c.bytes.data(), {3, 3}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {  // the second sequence has one key less than it has queries
       c.ints = {3, 2};
       c.o.causal = true;
       c.o.kv_lens = {c.ints.data(), {2}};
       c.o.tree_mask = {c.bytes.data(), {3, 3}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {
       c.o.causal = true, c.o.causal_alignment = CausalAlignment::kTopLeft;
       c.o.tree_mask = {c.bytes.data(), {3, 3}};
     }},
    {"tree_mask", kInvalid,
     [](Call& c) {
       c.o.causal = true, c.o.tree_mask = {c.bytes.data(), {3, 3, 3}};
     }},
    {"cu_seqlens_q", kInvalid,
     [](Call& c) {
       c.o.cu_seqlens_q = {c.ints.data(), {3}};
     }},
    {"cu_seqlens_k", kInvalid,
     [](Call& c) {
       c.o.cu_seqlens_k = {c.ints.data(), {3}};
     }},
    {"weights_heads", kInvalid,
     [](Call& c) {
       c.o.weights_heads = {c.ints.data(), {2}};
     }},
    {"weights", kInvalid,
     [](Call& c) {
       c.o.weights_heads = {c.ints.data(), {2}};
       c.o.weights = c.weights.mutable_view();
     }},
    {"weights_heads", kInvalid,
     [](Call& c) {
       c.ints = {1, 1};
       c.o.weights_heads = {c.ints.data(), {2}};
       c.o.weights = MutableTensorView(&c.weights[0], {2, 2, 3, 5});
     }},
    {"weights_heads", kInvalid,
     [](Call& c) {
       c.ints = {2, 4};  // there are heads 0 to 3
       c.o.weights_heads = {c.ints.data(), {2}};
       c.o.weights = MutableTensorView(&c.weights[0], {2, 2, 3, 5});
     }},
    {"weights_heads", kInvalid,
     [](Call& c) {
       c.ints = {-1, 2};
       c.o.weights_heads = {c.ints.data(), {2}};
       c.o.weights = MutableTensorView(&c.weights[0], {2, 2, 3, 5});
     }},
    {"weights_queries", kInvalid,
     [](Call& c) {
       c.ints = {0, 2, 2};
       c.o.weights_queries = {c.ints.data(), {3}};
       c.o.weights = c.weights.mutable_view();
     }},
    {"weights_queries", kInvalid,
     [](Call& c) {
       c.o.weights_queries = {c.ints.data(), {3}};
       c.o.weights = c.weights.mutable_view();
     }},
    {"weights_queries", kInvalid,
     [](Call& c) {
       c.ints = {1, 1, 0};
       c.o.weights_queries = {c.ints.data(), {3}};
       c.o.weights = c.weights.mutable_view();
     }},
    {"key_scores", kInvalid,
     [](Call& c) { c.o.key_scores = c.key_scores.mutable_view().slice(2, 0, 4); }},
    {"key_scores", kInvalid,
     [](Call& c) {
       c.o.key_scores = MutableTensorView(&c.out[0], {2, 4, 5});
     }},
    {"lse", kInvalid,
     [](Call& c) {
       c.o.alibi_slopes = {&c.lse[0], {4}};
     }},
};

TEST_CASE("options that can't be are refused by name") {
  for (const BadOption& bad : kBadOptions) {
    Call call;
    bad.spoil(call);
    INFO(bad.argument << " #" << (&bad - kBadOptions));
    CHECK(WrongRefusal(call.Run(), bad.code, bad.argument) == "");
    CHECK(call.Untouched());
  }
  CHECK(Call().Run().ok());
}

TEST_CASE("options at the edge of what can be are taken") {
  Call tree;  // as many keys as queries
  tree.ints = {3, 5};
  tree.o.causal = true;
  tree.o.kv_lens = {tree.ints.data(), {2}};
  tree.o.tree_mask = {tree.bytes.data(), {3, 3}};
  CHECK(std::string(tree.Run().message()) == "");
  Call chosen;  // the first and the last
  chosen.ints = {0, 3, 0, 2};
  chosen.o.weights_heads = {chosen.ints.data(), {2}};
  chosen.o.weights_queries = {chosen.ints.data() + 2, {2}};
  chosen.o.weights = MutableTensorView(&chosen.weights[0], {2, 2, 2, 5});
  CHECK(std::string(chosen.Run().message()) == "");
}

TEST_CASE("packed sequences refuse offsets that do not fit") {
  Tensor<float> q({6, 2, 4}), k({8, 2, 4}), out({6, 2, 4});
  Context context;
  const auto run = [&](std::vector<int32_t> cu_q, std::vector<int32_t> cu_k,
                       AttentionOptions o = {}) {
    o.cu_seqlens_q = TensorView(cu_q.data(), {cu_q.size()});
    o.cu_seqlens_k = TensorView(cu_k.data(), {cu_k.size()});
    return attention(q.view(), k.view(), k.view(), out.mutable_view(), o, context);
  };
  CHECK(WrongRefusal(run({0, 4, 2, 6}, {0, 3, 5, 8}), kInvalid, "cu_seqlens_q") == "");
  CHECK(WrongRefusal(run({1, 4, 6}, {0, 3, 8}), kInvalid, "cu_seqlens_q") == "");
  CHECK(WrongRefusal(run({0, 4, 7}, {0, 3, 8}), kInvalid, "cu_seqlens_q") == "");
  CHECK(WrongRefusal(run({0, -1, 6}, {0, 3, 8}), kInvalid, "cu_seqlens_q") == "");
  CHECK(WrongRefusal(run({}, {0, 3, 8}), kInvalid, "cu_seqlens_q") == "");
  CHECK(WrongRefusal(run({0, 4, 6}, {0, 9, 8}), kInvalid, "cu_seqlens_k") == "");
  CHECK(WrongRefusal(run({0, 4, 6}, {0, 8}), kInvalid, "cu_seqlens_k") == "");
  const std::vector<int32_t> cu_q = {0, 4, 6}, cu_k = {0, 3, 8};
  AttentionOptions o;
  o.cu_seqlens_q = TensorView(cu_q.data(), {3});
  o.cu_seqlens_k = TensorView(cu_k.data(), {3});
  const TensorView k4(&k[0], {1, 8, 2, 4});  // in a batch of one
  CHECK(WrongRefusal(attention(q.view(), k.view(), k4, out.mutable_view(), o, context), kInvalid,
                     "v") == "");
  CHECK(WrongRefusal(attention(q.view(), k4, k.view(), out.mutable_view(), o, context), kInvalid,
                     "k") == "");
  const std::vector<uint8_t> mask(48, 1);
  o = {};
  o.mask = TensorView(mask.data(), {1, 6, 8});
  CHECK(WrongRefusal(run({0, 4, 6}, {0, 3, 8}, o), kInvalid, "mask") == "");
  Tensor<float> lse({1, 2, 6});
  o = {};
  o.lse = lse.mutable_view();
  CHECK(WrongRefusal(run({0, 4, 6}, {0, 3, 8}, o), kInvalid, "lse") == "");
  CHECK(out.AllUntouched());
}

TEST_CASE("pages refuse tables and lengths that do not fit") {
  Tensor<float> q({2, 1, 2, 4}), pool({3, 4, 2, 4}), out({2, 1, 2, 4});
  Context context;
  const auto run = [&](std::vector<int32_t> table, std::vector<int32_t> lens,
                       const TensorView& v_pool, AttentionOptions o = {}) {
    const PagedKv kv = {pool.view(), v_pool, TensorView(table.data(), {2, table.size() / 2}),
                        TensorView(lens.data(), {lens.size()})};
    return attention(q.view(), kv, out.mutable_view(), o, context);
  };
  const TensorView v = pool.view();
  CHECK(WrongRefusal(run({0, 1, 2, 3}, {3, 8}, v), kInvalid, "block_table") == "");
  CHECK(WrongRefusal(run({0, -1, 2, 1}, {5, 4}, v), kInvalid, "block_table") == "");
  CHECK(WrongRefusal(run({0, 1, 2, 1}, {9, 4}, v), kInvalid, "seq_lens") == "");
  CHECK(WrongRefusal(run({0, 1, 2, 1}, {-1, 4}, v), kInvalid, "seq_lens") == "");
  CHECK(WrongRefusal(run({0, 1, 2, 1}, {1, 4, 4}, v), kInvalid, "seq_lens") == "");
  CHECK(WrongRefusal(run({0, 1, 2, 1}, {1, 4}, v.slice(0, 0, 2)), kInvalid, "v") == "");
  AttentionOptions o;
  const std::vector<int32_t> lens = {1, 1};
  o.kv_lens = TensorView(lens.data(), {2});
  CHECK(WrongRefusal(run({0, 1, 2, 1}, {1, 4}, v, o), kInvalid, "kv_lens") == "");
  CHECK(out.AllUntouched());
  CHECK(run({0, -1, 2, -1}, {3, 4}, v).ok());  // entries that are not needed are not read
}

}  // namespace
}  // namespace heed::test
