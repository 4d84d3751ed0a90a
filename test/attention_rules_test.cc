// Rules against masks that say the same, soft cap, ALiBi, sinks and results on request, all against
// what they mean rather than against the specification (which random_attention_test does).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Sizes {
  size_t batch, q_len, kv_len, num_heads = 2, num_kv_heads = 1, dim = 12;
};

AttentionProblem ProblemOf(const Sizes& s) {
  return AttentionProblem({s.batch, s.q_len, s.kv_len, s.num_heads, s.num_kv_heads, s.dim, s.dim},
                          {.lse = true});
}

using Sees = std::function<bool(size_t b, size_t i, size_t j)>;

// [batch, 1, q_len, kv_len] of 0 and 1.
std::vector<uint8_t> MaskOf(const Sizes& s, const Sees& sees) {
  std::vector<uint8_t> mask;
  for (size_t b = 0; b < s.batch; ++b) {
    for (size_t i = 0; i < s.q_len; ++i) {
      for (size_t j = 0; j < s.kv_len; ++j) mask.push_back(sees(b, i, j) ? 1 : 0);
    }
  }
  return mask;
}

// The rule's bits are those of a boolean mask and of an additive one that say the same.
void CheckRule(const Sizes& s, const AttentionOptions& rule, const Sees& sees) {
  const AttentionProblem p = ProblemOf(s);
  const std::vector<uint8_t> mask = MaskOf(s, sees);
  std::vector<float> bias;
  for (uint8_t visible : mask) bias.push_back(visible != 0 ? 0.0f : -kInf);
  AttentionOptions masked, biased;
  masked.mask = TensorView(mask.data(), {s.batch, 1, s.q_len, s.kv_len});
  biased.mask = TensorView(bias.data(), {s.batch, 1, s.q_len, s.kv_len});
  for (Runner& runner : Runners()) {
    INFO(runner.name << ", q_len " << s.q_len << ", kv_len " << s.kv_len);
    const auto want = p.Run(masked, *runner.context), got = p.Run(rule, *runner.context);
    CHECK(Difference(got.out, want.out) == "");
    CHECK(Difference(got.lse, want.lse) == "");
    CHECK(Difference(p.Run(biased, *runner.context).out, want.out) == "");
  }
}

std::vector<Sizes> AllSizes() {
  if (Quick()) return {{2, 5, 140}, {1, 40, 30}, {1, 1, 1100}};
  return {{2, 5, 140}, {1, 40, 30}, {1, 1, 1100}, {2, 150, 150}, {1, 3, 2500}, {1, 1100, 1100}};
}

TEST_CASE("top-left causal masks from the first key") {
  for (const Sizes& s : AllSizes()) {
    AttentionOptions o;
    o.causal = true;
    o.causal_alignment = CausalAlignment::kTopLeft;
    CheckRule(s, o, [](size_t, size_t i, size_t j) { return j <= i; });
  }
}

TEST_CASE("a window counts its own key, with and without kept first tokens") {
  for (const Sizes& s : AllSizes()) {
    for (size_t window : {size_t{1}, size_t{7}, size_t{130}, size_t{5000}}) {
      for (size_t kept : {size_t{0}, size_t{4}, size_t{200}}) {
        AttentionOptions o;
        o.causal = true;
        o.window = window;
        o.sink_tokens = kept;
        CheckRule(s, o, [&](size_t, size_t i, size_t j) {
          const auto e = static_cast<int64_t>(i + s.kv_len) - static_cast<int64_t>(s.q_len);
          const auto key = static_cast<int64_t>(j);
          return key <= e && (key > e - static_cast<int64_t>(window) || j < kept);
        });
      }
    }
  }
}

TEST_CASE("heads share a mask that hides whole blocks from groups of rows") {
  const std::vector<int32_t> lens = {200, 400};  // other blocks in each sequence
  AttentionOptions o;
  o.causal = true;
  o.window = 20;
  o.kv_lens = TensorView(lens.data(), {2});
  CheckRule({2, 150, 400, 4, 2}, o, [&](size_t b, size_t i, size_t j) {
    const int64_t e = static_cast<int64_t>(i) + lens[b] - 150;
    const auto key = static_cast<int64_t>(j);
    return key <= e && key > e - 20;
  });
}

TEST_CASE("a prefix is seen by all queries, lengths cut keys off and move the diagonal") {
  for (const Sizes& s : AllSizes()) {
    const std::vector<int32_t> prefix = {3, 25}, lens = {static_cast<int32_t>(s.kv_len / 2),
                                                         static_cast<int32_t>(s.kv_len)};
    AttentionOptions o;
    o.causal = true;
    o.window = 20;
    o.prefix_lens = TensorView(prefix.data(), {s.batch});
    o.kv_lens = TensorView(lens.data(), {s.batch});
    CheckRule(s, o, [&](size_t b, size_t i, size_t j) {
      const int64_t e = static_cast<int64_t>(i) + lens[b] - static_cast<int64_t>(s.q_len);
      const auto key = static_cast<int64_t>(j);
      if (key >= lens[b]) return false;
      return key < prefix[b] || (key <= e && key > e - 20);
    });
  }
}

TEST_CASE("key padding and tree masks hide what they say") {
  for (const Sizes& s : AllSizes()) {
    std::vector<uint8_t> padding(s.batch * s.kv_len), tree(s.q_len * s.q_len);
    Random random(7);
    for (uint8_t& x : padding) x = random.Below(3) != 0;
    for (uint8_t& x : tree) x = random.Below(2) != 0;
    AttentionOptions o;
    o.causal = true;
    o.key_mask = TensorView(padding.data(), {s.batch, s.kv_len});
    if (s.q_len <= s.kv_len) o.tree_mask = TensorView(tree.data(), {s.q_len, s.q_len});
    CheckRule(s, o, [&](size_t b, size_t i, size_t j) {
      if (padding[b * s.kv_len + j] == 0 || j + s.q_len > i + s.kv_len) return false;
      return s.q_len > s.kv_len || j + s.q_len < s.kv_len ||
             tree[i * s.q_len + j + s.q_len - s.kv_len] != 0;
    });
  }
}

TEST_CASE("NaN and inf in keys and values that any rule or mask hides never leak") {
  const Sizes s = {1, 6, 400};
  const AttentionProblem clean = ProblemOf(s);
  std::vector<uint8_t> mask(s.kv_len, 1);
  for (size_t j = 100; j < 300; j += 3) mask[j] = 0;
  for (int rule = 0; rule < 3; ++rule) {
    AttentionProblem dirty = clean;
    AttentionOptions o;
    o.causal = true;
    if (rule == 0) {
      o.window = 50, o.sink_tokens = 2;
    } else if (rule == 1) {
      o.key_mask = TensorView(mask.data(), {1, s.kv_len});
    } else {
      o.mask = TensorView(mask.data(), {1, s.q_len, s.kv_len}, {0, 0, 1});
    }
    for (size_t j = 0; j < s.kv_len; ++j) {
      const bool hidden = rule == 0 ? j >= 2 && j < s.kv_len - 50 - s.q_len : mask[j] == 0;
      for (size_t d = 0; hidden && d < s.dim; ++d) {
        dirty.k[j * s.dim + d] = j % 2 == 0 ? kNaN : kInf;
        dirty.v[j * s.dim + d] = j % 2 == 0 ? kInf : kNaN;
      }
    }
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", rule " << rule);
      const auto want = clean.Run(o, *runner.context), got = dirty.Run(o, *runner.context);
      CHECK(Difference(got.out, want.out) == "");
      CHECK(Difference(got.lse, want.lse) == "");
    }
  }
}

TEST_CASE("what a row does not see can't turn its -0 into 0") {
  // The second block's maximum takes the first's sums, all negative, to -0, and what rows see there
  // keeps them so.
  const Sizes s = {1, 30, 256, 2, 1, 20};
  AttentionProblem p = ProblemOf(s);
  std::vector<uint8_t> mask(s.q_len * s.kv_len, 1);
  for (size_t n = 0; n < s.q_len * 2 * s.dim; ++n) p.q[n] = 1.0f;
  for (size_t j = 0; j < s.kv_len; ++j) {
    for (size_t d = 0; d < s.dim; ++d) {
      p.k[j * s.dim + d] = j < 128 ? 0.0f : 100.0f;
      p.v[j * s.dim + d] = j < 128 ? -1.0f : -0.0f;
    }
    for (size_t i = 0; i < s.q_len; ++i) mask[i * s.kv_len + j] = j % 3 != 0 || i % 2 == 1;
  }
  AttentionOptions o;
  o.mask = TensorView(mask.data(), {1, s.q_len, s.kv_len});
  for (float hidden : {0.0f, 1.0f, -1.0f, kInf, kNaN}) {
    for (size_t n = 129 * s.dim; n < s.kv_len * s.dim; ++n) {
      if (n / s.dim % 3 == 0) p.v[n] = hidden;
    }
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", hidden " << hidden);
      const auto got = p.Run(o, *runner.context);
      size_t wrong = 0;
      for (size_t n = 0; n < got.out.size(); ++n) {
        if (n / (2 * s.dim) % 2 == 0) wrong += got.out[n] != 0.0f || !std::signbit(got.out[n]);
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("NaN in an additive mask hides nothing") {
  for (size_t kv_len : {size_t{32}, size_t{45}, size_t{200}}) {
    const Sizes s = {1, 3, kv_len};
    const AttentionProblem p = ProblemOf(s);
    for (size_t j : {size_t{0}, kv_len - 1}) {
      std::vector<float> bias(s.q_len * kv_len, 0.0f);
      bias[kv_len + j] = kNaN;  // query 1
      AttentionOptions o;
      o.mask = TensorView(bias.data(), {1, s.q_len, kv_len});
      for (Runner& runner : Runners()) {
        INFO(runner.name << ", key " << j << " of " << kv_len);
        const auto got = p.Run(o, *runner.context);
        for (size_t n = 0; n < got.out.size(); ++n) {
          if (std::isnan(got.out[n]) != (n / (2 * s.dim) == 1)) FAIL_CHECK("element " << n);
        }
      }
    }
  }
}

TEST_CASE("a row that an additive mask gives the lowest float everywhere weighs its keys alike") {
  for (size_t kv_len : {size_t{100}, size_t{2500}}) {
    const Sizes s = {1, 3, kv_len};
    const AttentionProblem p = ProblemOf(s);
    AttentionProblem alike = ProblemOf(s);
    for (size_t n = 0; n < s.q_len * s.num_heads * s.dim; ++n) alike.q[n] = 0.0f;
    std::vector<float> bias(s.q_len * kv_len, 0.0f);
    std::fill_n(bias.begin() + static_cast<ptrdiff_t>(kv_len), kv_len,
                std::numeric_limits<float>::lowest());  // query 1
    for (float scale : {0.01f, 0.3f, 1.0f, 100.0f}) {
      AttentionOptions o;
      o.scale = scale;
      for (Runner& runner : Runners()) {
        INFO(runner.name << ", scale " << scale << ", " << kv_len << " keys");
        o.mask = TensorView();
        const auto want = alike.Run(o, *runner.context);
        o.mask = TensorView(bias.data(), {1, s.q_len, kv_len});
        const auto got = p.Run(o, *runner.context);
        size_t wrong = 0;
        const size_t row = s.num_heads * s.dim;
        for (size_t n = row; n < 2 * row; ++n) wrong += !SameBits(got.out[n], want.out[n]);
        CHECK(wrong == 0);
        for (size_t h = 0; h < s.num_heads; ++h) CHECK(std::isfinite(got.lse[h * s.q_len + 1]));
      }
    }
  }
}

TEST_CASE("masks whose keys lie apart") {
  const Sizes s = {2, 70, 200};
  const AttentionProblem p = ProblemOf(s);
  Random random(11);
  const size_t count = s.batch * s.q_len * s.kv_len;
  std::vector<uint8_t> bytes(count), apart(3 * count, 1);
  std::vector<float> floats(count), floats_apart(3 * count, -kInf);
  for (size_t n = 0; n < count; ++n) {
    bytes[n] = apart[3 * n] = random.Below(4) != 0 ? 7 : 0;
    floats[n] = floats_apart[3 * n] = bytes[n] != 0 ? 0.25f * static_cast<float>(n % 9) : -kInf;
  }
  const auto q = static_cast<ptrdiff_t>(s.q_len), kv = static_cast<ptrdiff_t>(s.kv_len);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const auto check = [&](const AttentionOptions& a, const AttentionOptions& b) {
      const auto want = p.Run(a, *runner.context), got = p.Run(b, *runner.context);
      CHECK(Difference(got.out, want.out) == "");
      CHECK(Difference(got.lse, want.lse) == "");
    };
    AttentionOptions a, b;
    a.mask = TensorView(bytes.data(), {s.batch, 1, s.q_len, s.kv_len});
    b.mask = TensorView(apart.data(), {s.batch, 1, s.q_len, s.kv_len},
                        {3 * q * kv, 3 * q * kv, 3 * kv, 3});
    check(a, b);
    a.mask = TensorView(floats.data(), {s.batch, 1, s.q_len, s.kv_len});
    b.mask = TensorView(floats_apart.data(), {s.batch, 1, s.q_len, s.kv_len},
                        {3 * q * kv, 3 * q * kv, 3 * kv, 3});
    check(a, b);
    a.mask = b.mask = TensorView();
    a.causal = b.causal = true;
    a.key_mask = TensorView(bytes.data(), {s.batch, s.kv_len});
    b.key_mask = TensorView(apart.data(), {s.batch, s.kv_len}, {3 * kv, 3});
    a.tree_mask = TensorView(bytes.data(), {s.batch, s.q_len, s.q_len});
    b.tree_mask = TensorView(apart.data(), {s.batch, s.q_len, s.q_len}, {3 * q * q, 3 * q, 3});
    check(a, b);
  }
}

TEST_CASE("packed sequences, pages and sequences alone give the same bits") {
  const std::vector<int32_t> q_lens = {3, 0, 40, 1}, kv_lens = {150, 5, 40, 1300};
  std::vector<int32_t> cu_q = {0}, cu_k = {0};
  for (size_t b = 0; b < 4; ++b) {
    cu_q.push_back(cu_q[b] + q_lens[b]);
    cu_k.push_back(cu_k[b] + kv_lens[b]);
  }
  const auto total_q = static_cast<size_t>(cu_q[4]), total_k = static_cast<size_t>(cu_k[4]);
  Random random(3);
  Tensor<float> q({total_q, 4, 20}), k({total_k, 2, 20}), v({total_k, 2, 9});
  for (Tensor<float>* t : {&q, &k, &v}) t->FillNormal(random);
  for (size_t block_size : {size_t{1}, size_t{16}, size_t{23}, size_t{128}}) {
    const size_t max_blocks = (1300 + block_size - 1) / block_size;
    std::vector<int32_t> table(4 * max_blocks, -1);
    size_t num_blocks = 0;
    for (size_t b = 0; b < 4; ++b) {
      for (size_t n = 0; n * block_size < static_cast<size_t>(kv_lens[b]); ++n) {
        table[b * max_blocks + n] = static_cast<int32_t>(num_blocks++);
      }
    }
    for (int32_t& block : table) {  // last sequence first, so that blocks do not lie in order
      if (block >= 0) block = static_cast<int32_t>(num_blocks) - 1 - block;
    }
    Tensor<float> k_pool({num_blocks, block_size, 2, 20}), v_pool({num_blocks, block_size, 2, 9});
    for (size_t b = 0; b < 4; ++b) {
      for (size_t t = 0; t < static_cast<size_t>(kv_lens[b]); ++t) {
        const auto block = static_cast<size_t>(table[b * max_blocks + t / block_size]);
        const size_t slot = block * block_size + t % block_size;
        const size_t row = static_cast<size_t>(cu_k[b]) + t;
        for (size_t d = 0; d < 40; ++d) k_pool[slot * 40 + d] = k[row * 40 + d];
        for (size_t d = 0; d < 18; ++d) v_pool[slot * 18 + d] = v[row * 18 + d];
      }
    }
    AttentionOptions o;
    o.causal = true;
    o.logits_soft_cap = 3.0f;
    AttentionOptions packed = o, paged = o;
    packed.cu_seqlens_q = paged.cu_seqlens_q = TensorView(cu_q.data(), {5});
    packed.cu_seqlens_k = TensorView(cu_k.data(), {5});
    const PagedKv pages = {k_pool.view(), v_pool.view(), TensorView(table.data(), {4, max_blocks}),
                           TensorView(kv_lens.data(), {4})};
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", block_size " << block_size);
      Tensor<float> alone({total_q, 4, 9}), got({total_q, 4, 9}), from_pages({total_q, 4, 9});
      Tensor<float> lse({4, total_q});
      for (size_t b = 0; b < 4; ++b) {
        const auto q0 = static_cast<size_t>(cu_q[b]), q1 = static_cast<size_t>(cu_q[b + 1]);
        const auto k0 = static_cast<size_t>(cu_k[b]), k1 = static_cast<size_t>(cu_k[b + 1]);
        REQUIRE(attention(q.view().slice(0, q0, q1), k.view().slice(0, k0, k1),
                          v.view().slice(0, k0, k1), alone.mutable_view().slice(0, q0, q1), o,
                          *runner.context)
                    .ok());
      }
      packed.lse = lse.mutable_view();
      Status status =
          attention(q.view(), k.view(), v.view(), got.mutable_view(), packed, *runner.context);
      REQUIRE(std::string(status.message()) == "");
      CHECK(Difference(got.Dense(), alone.Dense()) == "");
      status = attention(q.view(), pages, from_pages.mutable_view(), paged, *runner.context);
      REQUIRE(std::string(status.message()) == "");
      CHECK(Difference(from_pages.Dense(), alone.Dense()) == "");
      for (float x : lse.Dense()) CHECK(std::isfinite(x));
    }
  }
}

TEST_CASE("weights of chosen heads and queries, and scores summed per key") {
  const Sizes s = {2, 50, 300, 4, 2};
  const AttentionProblem p = ProblemOf(s);
  const std::vector<int32_t> heads = {1, 2}, queries = {0, 17, 49};
  AttentionOptions all;
  all.causal = true;
  all.window = 90;
  AttentionOptions some = all;
  some.weights_heads = TensorView(heads.data(), {2});
  some.weights_queries = TensorView(queries.data(), {3});
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    Tensor<float> weights({2, 4, 50, 300}), chosen({2, 2, 3, 300}), scores({2, 4, 300});
    all.weights = weights.mutable_view();
    all.key_scores = scores.mutable_view();
    some.weights = chosen.mutable_view();
    p.Run(all, *runner.context);
    p.Run(some, *runner.context);
    size_t at = 0;
    for (size_t b = 0; b < 2; ++b) {
      for (int32_t h : heads) {
        for (int32_t i : queries) {
          for (size_t j = 0; j < 300; ++j, ++at) {
            const size_t row = (b * 4 + static_cast<size_t>(h)) * 50 + static_cast<size_t>(i);
            REQUIRE(SameBits(chosen[at], weights[row * 300 + j]));
          }
        }
      }
    }
    for (size_t row = 0; row < 2 * 4; ++row) {
      for (size_t j = 0; j < 300; ++j) {
        float sum = 0.0f;
        for (size_t i = 0; i < 50; ++i) sum += weights[(row * 50 + i) * 300 + j];
        REQUIRE(SameBits(scores[row * 300 + j], sum));
      }
    }
  }
}

TEST_CASE("ALiBi slopes are the paper's") {
  Tensor<float> eight({8}), twelve({12});
  REQUIRE(alibi_slopes(eight.mutable_view()).ok());
  REQUIRE(alibi_slopes(twelve.mutable_view()).ok());
  for (size_t h = 0; h < 8; ++h) CHECK(eight[h] == std::ldexp(1.0f, -static_cast<int>(h) - 1));
  CHECK(twelve[7] == std::ldexp(1.0f, -8));
  for (size_t h = 8; h < 12; ++h) {
    CHECK(twelve[h] == doctest::Approx(std::exp2(-0.5 * (2.0 * (static_cast<double>(h) - 8) + 1))));
  }
  CHECK(alibi_slopes({}).code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace heed::test
