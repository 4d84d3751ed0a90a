// Dropout's generator.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include "heed/attention.hpp"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"

namespace heed::test {
namespace {

TEST_CASE("the specification's Philox4x32-10 gives the published known answers") {
  using Words = std::array<uint32_t, 4>;
  CHECK(spec::Philox({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(spec::Philox({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(spec::Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822u) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("dropout_mask equals the specification in every layout") {
  const size_t batch = 2, heads = 3, q_len = 7, kv_len = 133;
  for (float p : {0.0f, 0.1f, 0.5f, 0.999f}) {
    for (Layout layout : kAllLayouts) {
      Tensor<float> mask({batch, heads, q_len, kv_len}, layout);
      REQUIRE(dropout_mask(p, 99, mask.mutable_view()).ok());
      CHECK(mask.GapsIntact());
      std::vector<float> want;
      for (size_t row = 0; row < batch * heads * q_len; ++row) {
        for (size_t j = 0; j < kv_len; ++j) {
          want.push_back(spec::DropoutMultiplier(p, 99, row / q_len / heads, row / q_len % heads,
                                                 row % q_len, j, q_len, kv_len));
        }
      }
      CHECK(Difference(mask.Dense(), want) == "");
    }
  }
}

TEST_CASE("dropout keeps a share of 1 - p, and another seed keeps others") {
  const size_t n = 1000;
  for (float p : {0.0f, 0.25f, 0.9f}) {
    Tensor<float> mask({1, 1, n, n}), other({1, 1, n, n});
    REQUIRE(dropout_mask(p, 1, mask.mutable_view()).ok());
    REQUIRE(dropout_mask(p, 2, other.mutable_view()).ok());
    size_t kept = 0, same = 0;
    for (size_t i = 0; i < n * n; ++i) {
      kept += mask[i] != 0.0f;
      same += (mask[i] != 0.0f) == (other[i] != 0.0f);
      if (mask[i] != 0.0f) REQUIRE(mask[i] == 1.0f / (1.0f - p));
    }
    const double keep = 1.0 - double{p};
    // Five standard deviations of a million draws.
    CHECK(std::fabs(static_cast<double>(kept) / (n * n) - keep) <=
          5e-3 * std::sqrt(keep * (1 - keep)));
    CHECK((same == n * n) == (p == 0.0f));
  }
}

TEST_CASE("attention's dropout is the mask of dropout_mask, and the same for chunks of queries") {
  const AttentionProblem p({2, 12, 90, 2, 1, 16, 16},
                           {.causal = true, .weights = true, .dropout = 0.4f, .seed = 7});
  Tensor<float> mask({2, 2, 12, 90});
  REQUIRE(dropout_mask(0.4f, 7, mask.mutable_view()).ok());
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const AttentionAnswer want = p.Run(*runner.context);
    AttentionProblem masked = p;
    masked.given.dropout = 0.0f;
    masked.given.dropout_mask = true;
    masked.dropout_mask = mask;
    CHECK(Difference(masked.Run(*runner.context), want) == "");

    Tensor<float> chunks({2, 12, 2, 16});
    for (size_t end : {size_t{5}, size_t{6}, size_t{12}}) {
      const size_t begin = end == 5 ? 0 : end == 6 ? 5 : 6, keys = 90 - 12 + end;
      REQUIRE(attention(p.q.view().slice(1, begin, end), p.k.view().slice(1, 0, keys),
                        p.v.view().slice(1, 0, keys), chunks.mutable_view().slice(1, begin, end),
                        p.Options(), *runner.context)
                  .ok());
    }
    CHECK(Difference(chunks.Dense(), want.out) == "");
  }
}

TEST_CASE("dropout of probability 0 changes nothing") {
  AttentionProblem p({1, 5, 40, 1, 1, 16, 16}, {});
  for (Runner& runner : Runners()) {
    AttentionOptions options;
    options.dropout.seed = 5;
    Tensor<float> out({1, 5, 1, 16});
    REQUIRE(
        attention(p.q.view(), p.k.view(), p.v.view(), out.mutable_view(), options, *runner.context)
            .ok());
    CHECK(Difference(out.Dense(), p.Run(*runner.context).out) == "");
  }
}

}  // namespace
}  // namespace heed::test
