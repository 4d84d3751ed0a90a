// Attention over parts of the keys, and their merge.
#include "heed/attention_state.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr size_t kBatch = 2, kHeads = 4, kKvHeads = 2, kDim = 10, kVDim = 7;

struct Inputs {
  Inputs(size_t q_len, size_t kv_len)
      : q({kBatch, q_len, kHeads, kDim}),
        k({kBatch, kv_len, kKvHeads, kDim}),
        v({kBatch, kv_len, kKvHeads, kVDim}) {
    Random random(q_len + kv_len);
    for (Tensor<float>* t : {&q, &k, &v}) t->FillNormal(random);
  }
  Tensor<float> q, k, v;
};

struct State {
  State(size_t segments, size_t q_len)
      : max({segments, kBatch, kHeads, q_len}),
        sum({segments, kBatch, kHeads, q_len}),
        acc({segments, kBatch, q_len, kHeads, kVDim}) {}
  AttentionState view() { return {max.mutable_view(), sum.mutable_view(), acc.mutable_view()}; }
  Tensor<float> max, sum, acc;
};

size_t SegmentsOf(size_t keys) { return (keys + kSegmentKeys - 1) / kSegmentKeys; }

TEST_CASE("parts cut at segments and merged in order give the bits of the whole") {
  const size_t kv_len = 3 * kSegmentKeys + 77;
  for (size_t q_len : {size_t{1}, size_t{45}}) {
    if (Quick() && q_len > 1) continue;
    const Inputs in(q_len, kv_len);
    const std::vector<float> sinks = {0.5f, -1.0f, 2.0f, 0.0f};
    AttentionOptions o;
    o.causal = true;
    o.window = 2500;
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", q_len " << q_len);
      Tensor<float> whole({kBatch, q_len, kHeads, kVDim}), merged({kBatch, q_len, kHeads, kVDim});
      Tensor<float> whole_lse({kBatch, kHeads, q_len}), merged_lse({kBatch, kHeads, q_len});
      AttentionOptions all = o;
      all.sinks = TensorView(sinks.data(), {kHeads});
      all.lse = whole_lse.mutable_view();
      REQUIRE(attention(in.q.view(), in.k.view(), in.v.view(), whole.mutable_view(), all,
                        *runner.context)
                  .ok());
      std::vector<State> states;
      std::vector<AttentionState> parts;
      const size_t cuts[] = {0, 2 * kSegmentKeys, 3 * kSegmentKeys, kv_len};
      for (size_t p = 0; p < 3; ++p) {
        states.emplace_back(SegmentsOf(cuts[p + 1] - cuts[p]), q_len);
        const Status status =
            attention_partial(in.q.view(), in.k.view().slice(1, cuts[p], cuts[p + 1]),
                              in.v.view().slice(1, cuts[p], cuts[p + 1]), cuts[p], kv_len,
                              states[p].view(), o, *runner.context);
        REQUIRE(std::string(status.message()) == "");
      }
      for (State& state : states) parts.push_back(state.view());
      const Status status =
          merge_attention(parts.data(), parts.size(), all.sinks, merged.mutable_view(),
                          merged_lse.mutable_view(), *runner.context);
      REQUIRE(std::string(status.message()) == "");
      CHECK(Difference(merged.Dense(), whole.Dense()) == "");
      CHECK(Difference(merged_lse.Dense(), whole_lse.Dense()) == "");
    }
  }
}

TEST_CASE("no parts merge to zeros and -inf") {
  Context context;
  Tensor<float> out({1, 2, 3, 4}), lse({1, 3, 2});
  REQUIRE(merge_attention(nullptr, 0, {}, out.mutable_view(), lse.mutable_view(), context).ok());
  for (float x : out.Dense()) CHECK(SameBits(x, 0.0f));
  for (float x : lse.Dense()) CHECK(x == -std::numeric_limits<float>::infinity());
}

TEST_CASE("finished results merge within the stated bound") {
  const size_t q_len = 20, kv_len = 700, cut = 311;  // not a multiple of anything
  const Inputs in(q_len, kv_len);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const auto run = [&](size_t begin, size_t end, Tensor<float>& out, Tensor<float>& lse) {
      AttentionOptions o;
      o.lse = lse.mutable_view();
      REQUIRE(attention(in.q.view(), in.k.view().slice(1, begin, end),
                        in.v.view().slice(1, begin, end), out.mutable_view(), o, *runner.context)
                  .ok());
    };
    const std::vector<size_t> out_shape = {kBatch, q_len, kHeads, kVDim};
    const std::vector<size_t> lse_shape = {kBatch, kHeads, q_len};
    Tensor<float> whole(out_shape), a(out_shape), b(out_shape), joined(out_shape);
    Tensor<float> whole_lse(lse_shape), lse_a(lse_shape), lse_b(lse_shape), joined_lse(lse_shape);
    run(0, kv_len, whole, whole_lse);
    run(0, cut, a, lse_a);
    run(cut, kv_len, b, lse_b);
    REQUIRE(merge_attention(a.view(), lse_a.view(), b.view(), lse_b.view(), joined.mutable_view(),
                            joined_lse.mutable_view(), *runner.context)
                .ok());
    for (size_t i = 0; i < whole.size(); ++i) {
      const size_t row = i / kVDim, h = row % kHeads, q = row / kHeads % q_len;
      const size_t at = (row / kHeads / q_len * kHeads + h) * q_len + q;
      const float bound = 0x4p-24f * (1 + std::fabs(lse_a[at]) + std::fabs(lse_b[at])) *
                          std::max(std::fabs(a[i]), std::fabs(b[i]));
      // The parts' own errors: sums of 700 products of numbers near 1.
      REQUIRE(std::fabs(joined[i] - whole[i]) <= bound + 2e-6f);
    }
    for (size_t i = 0; i < whole_lse.size(); ++i) {
      CHECK(joined_lse[i] == doctest::Approx(whole_lse[i]).epsilon(1e-6));
    }
    // A side that saw nothing contributes nothing, whatever its output holds, first or second and
    // in place.
    for (size_t i = 0; i < lse_b.size(); ++i) lse_b[i] = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> before = a.Dense();
    REQUIRE(merge_attention(b.view(), lse_b.view(), a.view(), lse_a.view(), joined.mutable_view(),
                            joined_lse.mutable_view(), *runner.context)
                .ok());
    CHECK(Difference(joined.Dense(), before) == "");
    REQUIRE(merge_attention(a.view(), lse_a.view(), b.view(), lse_b.view(), a.mutable_view(),
                            lse_a.mutable_view(), *runner.context)
                .ok());
    CHECK(Difference(a.Dense(), before) == "");
  }
}

TEST_CASE("parts and merges refuse bad arguments and write nothing") {
  const size_t q_len = 3, kv_len = kSegmentKeys + 10;
  const Inputs in(q_len, kv_len);
  Context context;
  State state(2, q_len);
  Tensor<float> out({kBatch, q_len, kHeads, kVDim}), lse({kBatch, kHeads, q_len});
  const AttentionState good = state.view();
  const auto partial = [&](size_t first, size_t total, const AttentionState& to,
                           const AttentionOptions& o) {
    return attention_partial(in.q.view(), in.k.view(), in.v.view(), first, total, to, o, context);
  };
  const StatusCode bad = StatusCode::kInvalidArgument;
  AttentionOptions with_lse;
  with_lse.lse = lse.mutable_view();
  CHECK(WrongRefusal(partial(5, kv_len + 5, good, {}), bad, "first_key") == "");
  CHECK(WrongRefusal(partial(0, kv_len - 1, good, {}), bad, "first_key") == "");
  CHECK(WrongRefusal(partial(0, kv_len + 1, good, {}), bad, "first_key") == "");
  CHECK(WrongRefusal(partial(0, kv_len, good, with_lse), bad, "lse") == "");
  AttentionState no_max = good, short_acc = good, overlapping = good;
  no_max.max = {};
  short_acc.acc = good.acc.slice(4, 0, kVDim - 1);
  overlapping.sum = good.max;
  CHECK(WrongRefusal(partial(0, kv_len, no_max, {}), bad, "max") == "");
  CHECK(!partial(0, kv_len, short_acc, {}).ok());
  CHECK(WrongRefusal(partial(0, kv_len, overlapping, {}), bad, "sum") == "");
  overlapping.sum = MutableTensorView(&state.acc[0], {2, kBatch, kHeads, q_len});
  CHECK(WrongRefusal(partial(0, kv_len, overlapping, {}), bad, "acc") == "");
  State three(3, q_len);
  CHECK(WrongRefusal(partial(0, kv_len, three.view(), {}), bad, "segments") == "");
  CHECK(state.max.AllUntouched());
  CHECK(state.acc.AllUntouched());
  CHECK(three.acc.AllUntouched());

  const auto merge = [&](const AttentionState* parts, size_t n, const TensorView& sinks) {
    return merge_attention(parts, n, sinks, out.mutable_view(), lse.mutable_view(), context);
  };
  const float sink = 0;
  CHECK(WrongRefusal(merge(nullptr, 1, {}), bad, "parts") == "");
  CHECK(WrongRefusal(merge_attention(&good, 1, {}, out.mutable_view(),
                                     MutableTensorView(&out[0], {kBatch, kHeads, q_len}), context),
                     bad, "lse") == "");
  CHECK(WrongRefusal(merge(&good, 1, TensorView(&sink, {1})), bad, "sinks") == "");
  CHECK(WrongRefusal(merge(&short_acc, 1, {}), bad, "acc") == "");
  CHECK(out.AllUntouched());
  CHECK(lse.AllUntouched());
}

}  // namespace
}  // namespace heed::test
