// Tensors of f16 and bf16, keys and values of int8 and int4 too: what heed gives is what it gives
// for the same numbers in f32, rounded once to the type of the result. Random calls of attention
// (random_attention_test.cc) have all types, too.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "src/kernels/panels.h"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/layer.h"
#include "test/support/mode.h"
#include "test/support/placements.h"
#include "test/support/refusal.h"
#include "test/support/stored_tensor.h"
#include "test/support/stored_tokens.h"

namespace heed::test {
namespace {

constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};

TEST_CASE("every combination of types of q, k, v and out gives f32's bits, rounded once") {
  for (const DType q : kFloats) {
    for (const DType k : kAllStored) {
      for (const DType v : kAllStored) {
        for (const DType out : kFloats) {
          // How q and out are read and written does not depend on codes.
          if ((HasScales(k) || HasScales(v)) && q != out) continue;
          AttentionCase c;
          c.shape = {1, 3, 37, 4, 2, 19, 21};
          c.causal = c.lse = true;
          c.q_dtype = q, c.k_dtype = k, c.v_dtype = v, c.out_dtype = out;
          INFO(Text(c));
          CHECK(AttentionProblem(c).Fault() == "");
        }
      }
    }
  }
}

// One row, few and many, panels and blocks that are full and not.
TEST_CASE("attention of 16-bit tensors has f32's bits in every size and layout") {
  const AttentionShape shapes[] = {{1, 1, 1, 1, 1, 1, 1},     {1, 1, 300, 2, 1, 64, 64},
                                   {2, 8, 129, 2, 2, 33, 17}, {1, 70, 257, 6, 2, 32, 48},
                                   {1, 25, 128, 1, 1, 80, 5}, {1, 2, 1100, 3, 1, 16, 16}};
  for (const AttentionShape& shape : shapes) {
    for (const Layout layout : kAllLayouts) {
      for (const DType dtype : {DType::kF16, DType::kBF16}) {
        AttentionCase c;
        c.shape = shape;
        c.layout = layout;
        c.out_layout = layout <= Layout::kBackwards ? layout : Layout::kPadded;
        c.causal = c.lse = c.weights = true;
        c.q_dtype = c.k_dtype = c.v_dtype = c.out_dtype = dtype;
        INFO(Text(c));
        CHECK(AttentionProblem(c).Fault() == "");
      }
    }
  }
}

TEST_CASE("attention of int8 and int4 tensors has f32's bits in every size and layout") {
  const AttentionShape shapes[] = {{1, 1, 1, 1, 1, 1, 1},     {1, 1, 300, 2, 1, 64, 64},
                                   {2, 8, 129, 2, 2, 33, 17}, {1, 70, 257, 6, 2, 32, 48},
                                   {1, 25, 128, 1, 1, 80, 5}, {1, 2, 1100, 3, 1, 16, 16}};
  constexpr Source kSources[] = {Source::kTensors, Source::kPacked, Source::kParts};
  size_t turn = 0;
  for (const AttentionShape& shape : shapes) {
    for (const Layout layout : kAllLayouts) {
      AttentionCase c;
      c.shape = shape;
      c.layout = layout;
      c.source = kSources[(turn + turn / 6) % 3];  // each layout meets each
      c.causal = c.lse = true;
      c.kv_lens = c.source == Source::kPacked;
      c.k_dtype = turn % 2 == 0 ? DType::kInt8 : DType::kInt4;
      c.v_dtype = turn % 4 < 2 ? DType::kInt4 : DType::kInt8;
      ++turn;
      INFO(Text(c));
      CHECK(AttentionProblem(c).Fault() == "");
    }
  }
}

// What the quantizers don't write: codes of -128, scales below 0, of 0 and infinite ones.
TEST_CASE("every code and scale in tensors is float(code) * scale") {
  constexpr size_t kKeys = 300, kDim = 40, kGroups = 2;
  Random random(19);
  std::vector<int8_t> int8(kKeys * kDim);
  std::vector<uint8_t> int4(kKeys * kDim / 2);
  std::vector<int> nibbles(kKeys * kDim);
  std::vector<float> int8_scales(kKeys), k(kKeys * kDim), v(kKeys * kDim);
  std::vector<f16> int4_scales(kKeys * kGroups);
  const auto element = [](int code, float scale) {
    const bool zero = code == 0 && std::isfinite(scale);
    return zero ? 0.0f : static_cast<float>(code) * scale;
  };
  const auto scale_values = [&](size_t j, size_t group, f16 scale) {
    int4_scales[j * kGroups + group] = scale;
    for (size_t d = 32 * group; d < std::min(kDim, 32 * (group + 1)); ++d) {
      v[j * kDim + d] = element(nibbles[j * kDim + d], ToFloat(scale));
    }
  };
  for (size_t j = 0; j < kKeys; ++j) {
    int8_scales[j] = j % 9 == 0 ? 0.0f : 0.02f * random.Normal();
    for (size_t d = 0; d < kDim; ++d) {
      const size_t at = j * kDim + d;
      const int code = static_cast<int>(random.Below(256)) - 128;
      int8[at] = static_cast<int8_t>(code);
      k[at] = element(code, int8_scales[j]);
      nibbles[at] = static_cast<int>(random.Below(16)) - 8;
      const unsigned bits = static_cast<unsigned>(nibbles[at]) & 15u;
      int4[at / 2] = static_cast<uint8_t>(d % 2 == 0 ? bits : int4[at / 2] | bits << 4);
    }
    for (size_t g = 0; g < kGroups; ++g) scale_values(j, g, ToF16(random.Normal()));
  }
  const size_t int4_shape[] = {1, kKeys, 1, kDim / 2};
  AttentionOptions options;
  options.k_scales = TensorView(int8_scales.data(), {1, kKeys, 1});
  options.v_scales = TensorView(int4_scales.data(), {1, kKeys, 1, kGroups});
  for (const size_t q_len : {1u, 30u, 31u}) {  // the last ones with an infinite scale
    if (q_len == 31u) scale_values(290, 1, f16{0x7C00u});
    const Tensor<float> q = Normal({1, q_len, 1, kDim}, random);
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", " << q_len << " queries");
      Tensor<float> got({1, q_len, 1, kDim}), want({1, q_len, 1, kDim});
      RequireOk(attention(q.view(), TensorView(int8.data(), {1, kKeys, 1, kDim}),
                          TensorView(int4.data(), DType::kInt4, int4_shape, 4), got.mutable_view(),
                          options, *runner.context));
      RequireOk(attention(q.view(), TensorView(k.data(), {1, kKeys, 1, kDim}),
                          TensorView(v.data(), {1, kKeys, 1, kDim}), want.mutable_view(), {},
                          *runner.context));
      CHECK(Difference(got.Dense(), want.Dense()) == "");
    }
  }
}

// Scales of f32 and f16 of NaN, which what they multiply can't hide.
TEST_CASE("scales of hidden keys in tensors don't leak") {
  constexpr size_t kBatch = 2, kQueries = 5, kKeys = 300, kDim = 33, kLength = 290;
  Random random(23);
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    Tensor<float> k = Normal({kBatch, kKeys, 1, kDim}, random);
    Tensor<float> v = Normal({kBatch, kKeys, 1, kDim}, random);
    std::vector<uint8_t> key_mask(kBatch * kKeys, 1);
    for (size_t j = 0; j < kBatch * kKeys; j += 7) key_mask[j] = 0;
    const std::vector<int32_t> lengths(kBatch, kLength);
    const auto stored = [&](const Tensor<float>& of, bool spoil) {
      std::vector<float> dense = of.Dense();
      for (size_t i = 0; i < dense.size() && spoil; ++i) {  // NaN makes the scale NaN
        const size_t token = i / kDim, j = token % kKeys;
        const bool hidden = key_mask[token] == 0 || j >= kLength || j <= kLength - kQueries - 100;
        if (hidden) dense[i] = std::numeric_limits<float>::quiet_NaN();
      }
      return StoredTensor(dtype, of.shape(), Layout::kPadded, dense);
    };
    const Tensor<float> q = Normal({kBatch, kQueries, 2, kDim}, random);
    const StoredTensor good_k = stored(k, false), good_v = stored(v, false);
    const StoredTensor bad_k = stored(k, true), bad_v = stored(v, true);
    AttentionOptions options;
    options.causal = true;
    options.window = 100;
    options.key_mask = TensorView(key_mask.data(), {kBatch, kKeys});
    options.kv_lens = TensorView(lengths.data(), {kBatch});
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", " << name_of(dtype));
      const auto run = [&](const StoredTensor& keys, const StoredTensor& values) {
        Tensor<float> out({kBatch, kQueries, 2, kDim});
        options.k_scales = keys.scales_view();
        options.v_scales = values.scales_view();
        RequireOk(attention(q.view(), keys.view(), values.view(), out.mutable_view(), options,
                            *runner.context));
        return out.Dense();
      };
      const std::vector<float> want = run(good_k, good_v);
      CHECK(Difference(run(bad_k, bad_v), want) == "");
      CHECK(std::all_of(want.begin(), want.end(), [](float x) { return std::isfinite(x); }));
    }
  }
}

// Heads, tokens and a batch that all read one row.
TEST_CASE("16-bit keys and values with strides of 0 are read as f32's are") {
  const size_t len = 40, heads = 2, dim = 24;
  Random random(3);
  const Tensor<float> q = Normal({2, 5, 2 * heads, dim}, random);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    Tensor<float> row = Normal({dim}, random);
    RoundAll(row, dtype);
    const StoredTensor stored(dtype, {dim}, Layout::kContiguous, row.Dense());
    const auto spread = [&](const TensorView& of) {
      const size_t shape[] = {2, len, heads, dim};
      const ptrdiff_t strides[] = {0, 0, 0, 1};
      return TensorView(of.data, of.dtype, shape, 4, strides, 4);
    };
    for (Runner& runner : Runners()) {
      INFO(runner.name);
      Tensor<float> got({2, 5, 2 * heads, dim}), want({2, 5, 2 * heads, dim});
      const TensorView few = spread(stored.view()), all = spread(row.view());
      REQUIRE(attention(q.view(), few, few, got.mutable_view(), {}, *runner.context).ok());
      REQUIRE(attention(q.view(), all, all, want.mutable_view(), {}, *runner.context).ok());
      CHECK(Difference(got.Dense(), want.Dense()) == "");
    }
  }
}

// The parts' results, rounded, are what is joined.
TEST_CASE("finished results of any type are joined as their numbers are in f32") {
  const std::vector<size_t> shape = {2, 3, 2, 7}, lse_shape = {2, 2, 3};
  Random random(5);
  for (const DType a_type : kFloats) {
    for (const DType out_type : kFloats) {
      Tensor<float> a = Normal(shape, random);
      const Tensor<float> b = Normal(shape, random);
      const Tensor<float> lse_a = Normal(lse_shape, random), lse_b = Normal(lse_shape, random);
      RoundAll(a, a_type);
      const StoredTensor stored(a_type, shape, Layout::kScattered, a.Dense());
      Tensor<float> want(shape);
      StoredTensor got(out_type, shape, Layout::kPadded);
      Context context;
      REQUIRE(merge_attention(a.view(), lse_a.view(), b.view(), lse_b.view(), want.mutable_view(),
                              {}, context)
                  .ok());
      REQUIRE(merge_attention(stored.view(), lse_a.view(), b.view(), lse_b.view(),
                              got.mutable_view(), {}, context)
                  .ok());
      RoundAll(want, out_type);
      CHECK(got.GapsIntact());
      CHECK(Difference(got.Dense(), want.Dense()) == "");
    }
  }
}

// Through forks, whose last block is copied, and truncation.
TEST_CASE("pages of every type give f32's bits for the numbers that they store") {
  const size_t heads = 2, dim = 67, v_dim = 43, tokens = 150;
  for (const DType k_dtype : kAllStored) {
    for (const DType v_dtype : kAllStored) {
      INFO(name_of(k_dtype) << " " << name_of(v_dtype));
      auto cache = PagedKvCache::create({.num_blocks = 48,
                                         .block_size = 7,
                                         .num_kv_heads = heads,
                                         .head_dim = dim,
                                         .v_head_dim = v_dim,
                                         .k_dtype = k_dtype,
                                         .v_dtype = v_dtype});
      REQUIRE(cache.ok());
      Context context;
      Random random(7);
      const Tensor<float> k = Normal({1, tokens, heads, dim}, random, Layout::kScattered);
      const Tensor<float> v = Normal({1, tokens, heads, v_dim}, random, Layout::kSwapped);
      const auto append = [&](PagedSequence to, size_t begin, size_t end) {
        REQUIRE(
            cache->append(to, k.view().slice(1, begin, end), v.view().slice(1, begin, end), context)
                .ok());
      };
      const auto parent = cache->add();
      REQUIRE(parent.ok());
      append(*parent, 0, 10);
      const auto child = cache->fork(*parent);
      REQUIRE(child.ok());
      append(*child, 10, tokens);
      append(*parent, 15, 18);
      REQUIRE(cache->truncate(*parent, 6).ok());
      append(*parent, 6, 133);
      const PagedSequence names[] = {*parent, *child};
      const auto view = cache->view(names);
      REQUIRE(view.ok());
      const Tensor<float> keys = RoundTokens(k_dtype, k), values = RoundTokens(v_dtype, v);
      for (const size_t q_len : {1u, 30u}) {
        const Tensor<float> q = Normal({2, q_len, 2 * heads, dim}, random);
        for (Runner& runner : Runners()) {
          INFO(runner.name << ", " << q_len << " queries");
          Tensor<float> got({2, q_len, 2 * heads, v_dim});
          REQUIRE(attention(q.view(), *view, got.mutable_view(), {.causal = true}, *runner.context)
                      .ok());
          std::vector<float> want;
          for (size_t b = 0; b < 2; ++b) {
            Tensor<float> one({1, q_len, 2 * heads, v_dim});
            const size_t len = b == 0 ? 133 : tokens;
            REQUIRE(attention(q.view().slice(0, b, b + 1), keys.view().slice(1, 0, len),
                              values.view().slice(1, 0, len), one.mutable_view(), {.causal = true},
                              *runner.context)
                        .ok());
            const std::vector<float> dense = one.Dense();
            want.insert(want.end(), dense.begin(), dense.end());
          }
          CHECK(Difference(got.Dense(), want) == "");
        }
      }
    }
  }
}

TEST_CASE("pages take the bytes that their types say") {
  const auto bytes = [](DType dtype) {
    PagedKvCacheConfig config;
    config.num_blocks = 8;
    config.num_kv_heads = 4;
    config.head_dim = 64;
    config.k_dtype = config.v_dtype = dtype;
    const auto cache = PagedKvCache::create(config);
    REQUIRE(cache.ok());
    return cache->bytes();
  };
  const size_t f32 = bytes(DType::kF32), rows = 8 * 16 * 4 * 2;
  CHECK(f32 == rows * 64 * 4);
  CHECK(bytes(DType::kF16) * 2 == f32);
  CHECK(bytes(DType::kBF16) * 2 == f32);
  CHECK(bytes(DType::kInt8) == rows * (64 + 4));
  CHECK(bytes(DType::kInt4) == rows * (32 + 4));
}

// Codes in the caller's memory, of 2 keys, 1 head of 33 channels: pages of one block, or tensors,
// which look the same.
struct CodedOperands {
  std::vector<int8_t> int8 = std::vector<int8_t>(2 * 33, 3);
  std::vector<uint8_t> int4 = std::vector<uint8_t>(2 * 17, 0x21);
  std::vector<float> f32 = std::vector<float>(2 * 33, 3.0f);
  std::vector<float> int8_scales = std::vector<float>(2, 0.5f);
  std::vector<f16> int4_scales = std::vector<f16>(4, ToF16(-0.25f));
  std::vector<int32_t> table = {0}, lens = {2};
  std::vector<float> q = std::vector<float>(33, 1.0f), out = std::vector<float>(33, -7.0f);
  const size_t int4_shape[4] = {1, 2, 1, 17};
  PagedKv kv = {.k = TensorView(int8.data(), {1, 2, 1, 33}),
                .v = TensorView(int4.data(), DType::kInt4, int4_shape, 4),
                .block_table = TensorView(table.data(), {1, 1}),
                .seq_lens = TensorView(lens.data(), {1}),
                .k_scales = TensorView(int8_scales.data(), {1, 2, 1}),
                .v_scales = TensorView(int4_scales.data(), {1, 2, 1, 2})};

  Status Run(bool as_pages, Context& context) {
    const TensorView queries(q.data(), {1, 1, 1, 33});
    const MutableTensorView result(out.data(), {1, 1, 1, 33});
    if (as_pages) return attention(queries, kv, result, {}, context);
    AttentionOptions options;
    options.k_scales = kv.k_scales;
    options.v_scales = kv.v_scales;
    return attention(queries, kv.k, kv.v, result, options, context);
  }
};

TEST_CASE("codes are multiplied by their scales, the low nibble first") {
  Context context;
  for (const bool as_pages : {false, true}) {
    CodedOperands operands;
    CHECK(std::string(operands.Run(as_pages, context).message()) == "");
    for (size_t d = 0; d < 33; ++d) CHECK(operands.out[d] == (d % 2 == 0 ? -0.25f : -0.5f));
  }
}

TEST_CASE("without keys of codes the output is zeros") {
  Context context;
  CodedOperands operands;
  for (TensorView* view :
       {&operands.kv.k, &operands.kv.v, &operands.kv.k_scales, &operands.kv.v_scales}) {
    view->shape[1] = 0;
    view->data = nullptr;
  }
  RequireOk(operands.Run(/*as_pages=*/false, context));
  CHECK(operands.out == std::vector<float>(33, 0.0f));
}

// 128 keys leave a negative sum; 128 of far higher score multiply it by 0, which leaves -0, and add
// their values: codes of 0 with a negative scale.
TEST_CASE("a code of 0 is +0, whatever the sign of its scale") {
  constexpr size_t kKeys = 2 * kKeyBlock;
  std::vector<int8_t> k(kKeys, 0), v(kKeys, 5);
  std::vector<float> k_scales(kKeys, 2.0f), v_scales(kKeys, -1.0f);
  for (size_t j = kKeyBlock; j < kKeys; ++j) {
    k[j] = 127;
    v[j] = 0;
  }
  const int32_t blocks[] = {0, 1}, length = kKeys;
  PagedKv kv;
  kv.k = TensorView(k.data(), {2, kKeyBlock, 1, 1});
  kv.v = TensorView(v.data(), {2, kKeyBlock, 1, 1});
  kv.k_scales = TensorView(k_scales.data(), {2, kKeyBlock, 1});
  kv.v_scales = TensorView(v_scales.data(), {2, kKeyBlock, 1});
  kv.block_table = TensorView(blocks, {1, 2});
  kv.seq_lens = TensorView(&length, {1});
  const float q = 1.0f;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const TensorView query(&q, {1, 1, 1, 1});
    float out = -1.0f;
    const MutableTensorView result(&out, {1, 1, 1, 1});
    RequireOk(attention(query, kv, result, {}, *runner.context));
    CHECK(SameBits(out, 0.0f));
    out = -1.0f;
    AttentionOptions options;
    options.k_scales = TensorView(k_scales.data(), {1, kKeys, 1});
    options.v_scales = TensorView(v_scales.data(), {1, kKeys, 1});
    RequireOk(attention(query, TensorView(k.data(), {1, kKeys, 1, 1}),
                        TensorView(v.data(), {1, kKeys, 1, 1}), result, options, *runner.context));
    CHECK(SameBits(out, 0.0f));
  }
}

TEST_CASE("codes whose types, shapes and scales do not go together are refused by name") {
  const struct {
    const char* what;
    StatusCode code;
    const char* argument;
    void (*spoil)(CodedOperands&);
  } bad[] = {
      {"no scales of int8", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) { p.kv.k_scales = {}; }},
      {"no scales of int4", StatusCode::kInvalidArgument, "v_scales",
       [](CodedOperands& p) { p.kv.v_scales = {}; }},
      {"scales of f32", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) {
         p.kv.k = TensorView(p.f32.data(), {1, 2, 1, 33});
       }},
      {"f32 scales of int4", StatusCode::kUnsupported, "v_scales",
       [](CodedOperands& p) { p.kv.v_scales.dtype = DType::kF32; }},
      {"f16 scales of int8", StatusCode::kUnsupported, "k_scales",
       [](CodedOperands& p) { p.kv.k_scales.dtype = DType::kF16; }},
      {"a slot too few", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) { p.kv.k_scales.shape[1] = 1; }},
      {"a group too few", StatusCode::kInvalidArgument, "v_scales",
       [](CodedOperands& p) { p.kv.v_scales.shape[3] = 1; }},
      {"scales of int8 by groups", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) {
         p.kv.k_scales = TensorView(p.int8_scales.data(), {1, 2, 1, 1});
       }},
      {"scales without a batch", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) {
         p.kv.k_scales = TensorView(p.int8_scales.data(), {2, 1});
       }},
      {"null scales", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) { p.kv.k_scales.data = nullptr; }},
      {"codes that are not side by side", StatusCode::kInvalidArgument, "k",
       [](CodedOperands& p) { p.kv.k.strides[3] = 2; }},
      {"scales that are not side by side", StatusCode::kInvalidArgument, "v_scales",
       [](CodedOperands& p) { p.kv.v_scales.strides[3] = 2; }},
      {"a byte for each code of int4", StatusCode::kInvalidArgument, "v",
       [](CodedOperands& p) { p.kv.v.shape[3] = 33; }},
      {"unsigned bytes", StatusCode::kUnsupported, "k",
       [](CodedOperands& p) { p.kv.k.dtype = DType::kU8; }},
      {"a type that does not exist", StatusCode::kUnsupported, "v",
       [](CodedOperands& p) { p.kv.v.dtype = static_cast<DType>(77); }},
      {"scales in the result", StatusCode::kInvalidArgument, "k_scales",
       [](CodedOperands& p) { p.kv.k_scales.data = p.out.data(); }},
  };
  Context context;
  for (const auto& call : bad) {
    for (const bool as_pages : {false, true}) {
      INFO(call.what << (as_pages ? ", pages" : ", tensors"));
      CodedOperands operands;
      call.spoil(operands);
      const std::vector<float> before = operands.out;
      CHECK(WrongRefusal(operands.Run(as_pages, context), call.code, call.argument) == "");
      CHECK(operands.out == before);
    }
  }
  PagedKvCacheConfig config = {.num_blocks = 1, .num_kv_heads = 1, .head_dim = 8};
  config.v_dtype = DType::kU8;
  CHECK(WrongRefusal(PagedKvCache::create(config).status(), StatusCode::kUnsupported, "v_dtype") ==
        "");
}

DType DrawFloat(Random& random) { return kFloats[random.Below(3)]; }

// Few rows and many, chunks of the depth, edges of panels; several pieces (own pool, small cache).
TEST_CASE("matmul of 16-bit operands has f32's bits, rounded once") {
  const struct {
    size_t m, k, n;
  } shapes[] = {{1, 1, 1},   {1, 300, 200}, {3, 257, 65},  {5, 16, 33},
                {6, 40, 17}, {25, 600, 70}, {430, 33, 48}, {2, 0, 5}};
  Random random(11);
  for (const auto& shape : shapes) {
    const size_t m = shape.m, k = shape.k, n = shape.n;
    for (size_t draw = 0; draw < (Quick() ? 4u : 12u); ++draw) {
      const DType types[] = {DrawFloat(random), DrawFloat(random), DrawFloat(random),
                             DrawFloat(random)};
      const bool with_bias = draw % 3 != 0, packs = draw % 4 == 3;
      const Layout a_layout = kAllLayouts[random.Below(6)], b_layout = kAllLayouts[random.Below(6)];
      Tensor<float> a({m, k}, a_layout), b({k, n}, b_layout), bias({n});
      a.FillNormal(random), b.FillNormal(random), bias.FillNormal(random);
      RoundAll(a, types[0]), RoundAll(b, types[1]), RoundAll(bias, types[2]);
      const StoredTensor a_stored(types[0], {m, k}, a_layout, a.Dense());
      const StoredTensor b_stored(types[1], {k, n}, b_layout, b.Dense());
      const StoredTensor bias_stored(types[2], {n}, Layout::kContiguous, bias.Dense());
      MatmulOptions options, stored_options;
      if (with_bias) options.bias = bias.view(), stored_options.bias = bias_stored.view();
      for (Runner& runner : Runners()) {
        INFO(runner.name << " " << m << "x" << k << "x" << n << " " << name_of(types[0]) << " "
                         << name_of(types[1]) << " " << name_of(types[2]) << " "
                         << name_of(types[3]) << " packed " << packs);
        Tensor<float> want({m, n});
        StoredTensor got(types[3], {m, n}, Layout::kPadded);
        RequireOk(matmul(a.view(), b.view(), want.mutable_view(), options, *runner.context));
        if (packs) {
          const auto packed = PackedMatrix::pack(b.view(), WeightLayout::kInOut, *runner.context);
          REQUIRE(packed.ok());
          RequireOk(matmul(a_stored.view(), *packed, got.mutable_view(), stored_options,
                           *runner.context));
        } else {
          RequireOk(matmul(a_stored.view(), b_stored.view(), got.mutable_view(), stored_options,
                           *runner.context));
        }
        RoundAll(want, types[3]);
        CHECK(got.GapsIntact());
        CHECK(Difference(got.Dense(), want.Dense()) == "");
      }
    }
  }
}

TEST_CASE("a few rows times a matrix of 16-bit numbers take no copy of it") {
  constexpr size_t kIn = 512, kOut = 384;
  Random random(12);
  const Tensor<float> x = Normal({5, kIn}, random), dense = Normal({kIn, kOut}, random);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const Layout layout : {Layout::kContiguous, Layout::kLastFirst}) {
      const StoredTensor b(dtype, {kIn, kOut}, layout, dense.Dense());
      for (const size_t m : {1u, 5u}) {
        INFO(name_of(dtype) << ", " << m << " rows, layout " << static_cast<int>(layout));
        Context context({.num_threads = 1});
        Tensor<float> c({m, kOut});
        RequireOk(matmul(x.view().slice(0, 0, m), b.view(), c.mutable_view(), {}, context));
        CHECK(context.workspace_bytes() <= 5 * (kIn + kOut) * sizeof(float) + 64);
      }
    }
  }
}

TEST_CASE("softmax of 16-bit tensors has f32's bits, rounded once, in place too") {
  Random random(13);
  for (const std::vector<size_t>& shape :
       {std::vector<size_t>{1}, {3, 17}, {2, 40, 5}, {70, 300}, {2, 5000}}) {
    for (const DType x_type : kFloats) {
      for (const DType y_type : kFloats) {
        for (const Layout layout : kUnitStrideLayouts) {
          Tensor<float> x(shape, layout);
          x.FillNormal(random, 5.0f);
          RoundAll(x, x_type);
          StoredTensor stored(x_type, shape, layout, x.Dense());
          for (Runner& runner : Runners()) {
            INFO(runner.name << " " << name_of(x_type) << " " << name_of(y_type));
            Tensor<float> want(shape);
            StoredTensor got(y_type, shape, Layout::kPadded);
            RequireOk(softmax(x.view(), want.mutable_view(), {.scale = 0.7f}, *runner.context));
            RequireOk(softmax(stored.view(), got.mutable_view(), {.scale = 0.7f}, *runner.context));
            RoundAll(want, y_type);
            CHECK(got.GapsIntact());
            CHECK(Difference(got.Dense(), want.Dense()) == "");
            if (x_type != y_type) continue;
            StoredTensor itself(x_type, shape, layout, x.Dense());
            RequireOk(
                softmax(itself.view(), itself.mutable_view(), {.scale = 0.7f}, *runner.context));
            CHECK(Difference(itself.Dense(), want.Dense()) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("rope of 16-bit tensors has f32's bits, rounded once, in place too") {
  Random random(17);
  const std::vector<size_t> shape = {2, 7, 3, 22};
  const std::vector<int32_t> positions = {0, 1, 2, 3, 100, 5, 60000};
  const TensorView at(positions.data(), {7});
  for (const bool interleaved : {false, true}) {
    for (const DType x_type : kFloats) {
      for (const DType y_type : kFloats) {
        for (const Layout layout : kUnitStrideLayouts) {
          RopeOptions options;
          options.rope_dim = 18;
          options.interleaved = interleaved;
          Tensor<float> x(shape, layout);
          x.FillNormal(random);
          RoundAll(x, x_type);
          StoredTensor stored(x_type, shape, layout, x.Dense());
          for (Runner& runner : Runners()) {
            Tensor<float> want(shape);
            StoredTensor got(y_type, shape, Layout::kSwapped);
            RequireOk(rope(x.view(), at, want.mutable_view(), options, *runner.context));
            RequireOk(rope(stored.view(), at, got.mutable_view(), options, *runner.context));
            RoundAll(want, y_type);
            CHECK(got.GapsIntact());
            CHECK(Difference(got.Dense(), want.Dense()) == "");
            if (x_type != y_type) continue;
            StoredTensor itself(x_type, shape, layout, x.Dense());
            RequireOk(rope(itself.view(), at, itself.mutable_view(), options, *runner.context));
            CHECK(Difference(itself.Dense(), want.Dense()) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("a layer's x and y of 16 bits have f32's bits, rounded once") {
  for (const bool has_output : {true, false}) {
    LayerForm form;
    form.has_output = has_output;
    form.bias = true;
    form.rope = RopeOptions{};
    LayerProblem problem(form, 2, 9);
    const std::vector<size_t> y_shape = {2, 9, problem.d_out()};
    const std::vector<size_t> heads_shape = {2, 9, form.num_heads * form.head_dim};
    for (const DType x_type : kFloats) {
      for (const DType y_type : kFloats) {
        for (const Layout layout : kAllLayouts) {
          Tensor<float> x(problem.x.shape(), layout);
          x.Assign(problem.x.Dense());
          RoundAll(x, x_type);
          const StoredTensor stored(x_type, x.shape(), layout, x.Dense());
          for (Runner& runner : Runners()) {
            INFO(runner.name << " " << name_of(x_type) << " " << name_of(y_type));
            Tensor<float> want(y_shape), want_heads(heads_shape), heads(heads_shape);
            StoredTensor got(y_type, y_shape, Layout::kSwapped), alone(y_type, y_shape);
            ForwardOptions options;
            options.context = want_heads.mutable_view();
            RequireOk(
                problem.layer().forward(x.view(), want.mutable_view(), options, *runner.context));
            options.context = heads.mutable_view();
            RequireOk(problem.layer().forward(stored.view(), got.mutable_view(), options,
                                              *runner.context));
            options.context = {};
            RequireOk(problem.layer().forward(stored.view(), alone.mutable_view(), options,
                                              *runner.context));
            RoundAll(want, y_type);
            CHECK(got.GapsIntact());
            CHECK(Difference(got.Dense(), want.Dense()) == "");
            CHECK(Difference(alone.Dense(), want.Dense()) == "");
            CHECK(Difference(heads.Dense(), want_heads.Dense()) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("types that are no floats are refused by name, and nothing is written") {
  Context context;
  std::vector<float> data(64, 1.0f), out(64, -3.0f);
  const std::vector<float> before = out;
  const TensorView a(data.data(), {4, 4}), b(data.data(), {4, 4});
  const MutableTensorView c(out.data(), {4, 4});
  const auto as = [](auto view, DType dtype) {
    view.dtype = dtype;
    return view;
  };
  constexpr StatusCode kNo = StatusCode::kUnsupported;
  for (const DType dtype : {DType::kInt8, DType::kInt4, DType::kU8, DType::kI32}) {
    INFO(name_of(dtype));
    CHECK(WrongRefusal(matmul(as(a, dtype), b, c, {}, context), kNo, "a") == "");
    CHECK(WrongRefusal(matmul(a, as(b, dtype), c, {}, context), kNo, "b") == "");
    CHECK(WrongRefusal(matmul(a, b, as(c, dtype), {}, context), kNo, "c") == "");
    MatmulOptions options;
    options.bias = as(TensorView(data.data(), {4}), dtype);
    CHECK(WrongRefusal(matmul(a, b, c, options, context), kNo, "bias") == "");
    CHECK(WrongRefusal(softmax(as(a, dtype), c, {}, context), kNo, "x") == "");
    CHECK(WrongRefusal(softmax(a, as(c, dtype), {}, context), kNo, "y") == "");
  }
  CHECK(out == before);
}

}  // namespace
}  // namespace heed::test
