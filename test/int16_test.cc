// Products in Compute::kInt16 against the specification, which knows no family, and float64.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "src/base/context.h"
#include "src/base/half.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
using Spec = spec::Spec<Family::kMultiplyAdd>;  // or kFma: it is the same

const std::vector<PackOptions>& AllOptions() {
  static const std::vector<PackOptions> all = {
      {DType::kInt8},     {DType::kInt8, 16},  {DType::kInt8, 32},
      {DType::kInt8, 64}, {DType::kInt8, 128}, {DType::kInt4, 16},
      {DType::kInt4, 32}, {DType::kInt4, 64},  {DType::kInt4, 128}};
  return all;
}

std::vector<float> Some(size_t n, Random& random) {
  std::vector<float> values(n);
  for (float& x : values) x = random.Normal();
  return values;
}

// a, codes and scales of b, and what their product is.
struct Problem {
  size_t m, k, n, group;
  std::vector<float> a, bias, scales;
  std::vector<int8_t> codes;
  PackedMatrix packed;

  Problem(size_t rows, size_t depth, size_t columns, const PackOptions& options)
      : m(rows), k(depth), n(columns), group(options.group > 0 ? options.group : depth) {
    Random random(m * 1000003 + k * 1009 + n + options.group);
    a = Some(m * k, random);
    bias = Some(n, random);
    codes.resize(k * n);
    scales.resize((k + group - 1) / group * n);
    const bool int8 = options.dtype == DType::kInt8;
    for (int8_t& code : codes) {
      code = static_cast<int8_t>(int8 ? static_cast<int>(random.Below(255)) - 127
                                      : static_cast<int>(random.Below(16)) - 8);
    }
    for (float& scale : scales) scale = ToFloat(ToF16(random.Normal()));
    const QuantizedView view = {TensorView(codes.data(), {k, n}),
                                TensorView(scales.data(), {scales.size() / n, n})};
    Context context;
    Result<PackedMatrix> made =
        PackedMatrix::pack_quantized(&view, 1, WeightLayout::kInOut, options, context);
    REQUIRE(std::string(made.status().message()) == "");
    packed = std::move(*made);
  }

  std::vector<float> Want(bool has_bias) const {
    std::vector<float> c(m * n);
    Spec::MatmulInt16(a.data(), {k, n, group, codes.data(), scales.data()},
                      has_bias ? bias.data() : nullptr, c.data(), m);
    return c;
  }

  MatmulOptions Options(bool has_bias) const {
    MatmulOptions options;
    options.compute = Compute::kInt16;
    if (has_bias) options.bias = TensorView(bias.data(), {n});
    return options;
  }

  // On every runner or on one per target, with an L2 of so many bytes, or its own.
  void Check(bool all_runners, size_t l2_bytes = 0) const {
    const size_t turn = m + k + n;
    const bool has_bias = turn % 3 != 0;
    const std::vector<float> want = Want(has_bias);
    Tensor<float> given({m, k}, kAllLayouts[turn % 6]);
    given.Assign(a);
    for (Runner& runner : Runners()) {
      if (!all_runners && !runner.first_of_target) continue;
      INFO(m << " x " << k << " x " << n << ", " << std::string(name_of(packed.dtype()))
             << ", group " << packed.group() << ", " << runner.name);
      size_t& l2 = Context::Impl::Of(*runner.context)->l2_bytes;
      const size_t own = l2;
      if (l2_bytes > 0) l2 = l2_bytes;
      Tensor<float> c({m, n}, turn % 2 == 0 ? Layout::kPadded : Layout::kContiguous);
      const Status status =
          matmul(given.view(), packed, c.mutable_view(), Options(has_bias), *runner.context);
      l2 = own;
      CHECK(std::string(status.message()) == "");
      CHECK(c.GapsIntact());
      CHECK(Difference(c.Dense(), want) == "");
    }
  }
};

TEST_CASE("int16 products equal their specification on every target, at every edge size") {
  size_t turn = 0;
  for (size_t m : {1u, 2u, 3u, 5u, 6u, 7u, 11u, 12u, 13u, 16u, 20u, 23u}) {
    for (size_t n : {1u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 47u, 65u, 96u}) {
      for (size_t k : {1u, 2u, 3u, 15u, 16u, 17u, 31u, 33u, 100u, 255u, 256u, 257u, 300u, 517u}) {
        for (const PackOptions& options : AllOptions()) {
          if (++turn % (Quick() ? 151 : 17) != 0) continue;
          Problem(m, k, n, options).Check(false);
        }
      }
    }
  }
}

TEST_CASE("int16 products have the same bits with any number of threads, and any L2") {
  struct Size {
    size_t m, k, n;
  };
  size_t turn = 0;
  for (const Size& size : {Size{1, 700, 301}, Size{101, 300, 65}, Size{49, 520, 96},
                           Size{200, 260, 200}, Size{27, 1100, 130}, Size{150, 33, 40}}) {
    for (const PackOptions& options : AllOptions()) {
      if (++turn % 2 == 0 && Quick()) continue;
      const Problem problem(size.m, size.k, size.n, options);
      problem.Check(true);
      problem.Check(false, /*l2_bytes=*/4096);  // k in stretches
    }
  }
}

TEST_CASE("a row has the same bits in a batch and alone") {
  const Problem p(29, 600, 70, {DType::kInt8});
  const std::vector<float> want = p.Want(true);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    for (size_t i = 0; i < p.m; i += 4) {
      std::vector<float> c(p.n);
      REQUIRE(matmul(TensorView(p.a.data() + i * p.k, {1, p.k}), p.packed,
                     MutableTensorView(c.data(), {1, p.n}), p.Options(true), *runner.context)
                  .ok());
      CHECK(Difference(c, {want.begin() + static_cast<ptrdiff_t>(i * p.n),
                           want.begin() + static_cast<ptrdiff_t>((i + 1) * p.n)}) == "");
    }
  }
}

TEST_CASE("int16 products take rows and results of 16 bits") {
  Problem p(17, 270, 40, {DType::kInt4, 32});
  std::vector<bf16> a(p.a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = ToBf16(p.a[i]);
    p.a[i] = ToFloat(a[i]);
  }
  std::vector<float> want = p.Want(true);
  for (float& x : want) x = ToFloat(ToF16(x));
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    std::vector<f16> c(p.m * p.n);
    REQUIRE(matmul(TensorView(a.data(), {p.m, p.k}), p.packed,
                   MutableTensorView(c.data(), {p.m, p.n}), p.Options(true), *runner.context)
                .ok());
    std::vector<float> got(c.size());
    for (size_t i = 0; i < c.size(); ++i) got[i] = ToFloat(c[i]);
    CHECK(Difference(got, want) == "");
  }
}

// From subnormal to the largest, ties, zeros, and rows with what is no number.
TEST_CASE("int16 products quantize rows of every magnitude as specified") {
  Problem p(40, 300, 20, {DType::kInt8, 64});
  constexpr float kMost = 0x1p100f;
  for (size_t i = 0; i < p.m; ++i) {
    float* row = p.a.data() + i * p.k;
    for (size_t k = 0; k < p.k; ++k) {
      row[k] = std::ldexp(std::clamp(row[k], -1.9f, 1.9f), static_cast<int>(i) * 7 - 149);
      if (i == 3) row[k] = k % 2 == 0 ? 0.0f : -0.0f;
      if (i == 4) row[k] = static_cast<float>(k) + 0.5f;  // halves of codes: 32767 comes last
      if (i == 5) row[k] = k % 3 == 0 ? kMost : -kMost;
      if (i == 6) row[k] = k == 17 ? 0x1p-110f : 0x1p-149f;
    }
    if (i == 4) row[255] = row[299] = -32767.0f;
  }
  p.a[7 * p.k + 299] = std::numeric_limits<float>::infinity();
  p.a[8 * p.k + 0] = std::numeric_limits<float>::quiet_NaN();
  p.a[9 * p.k + 256] = -std::numeric_limits<float>::infinity();
  p.Check(true);
  const std::vector<float> want = p.Want(false);
  for (size_t i = 0; i < p.m; ++i) {
    CHECK(std::isnan(want[i * p.n]) == (i >= 7 && i <= 9));
  }
}

TEST_CASE("the largest sums of int16 products fit") {
  Problem p(7, 512, 17, {DType::kInt8});
  std::fill(p.a.begin(), p.a.end(), -2.0f);
  std::fill(p.codes.begin(), p.codes.end(), int8_t{127});
  std::fill(p.scales.begin(), p.scales.end(), 0.5f);
  const QuantizedView view = {TensorView(p.codes.data(), {p.k, p.n}),
                              TensorView(p.scales.data(), {1, p.n})};
  Context context;
  Result<PackedMatrix> packed =
      PackedMatrix::pack_quantized(&view, 1, WeightLayout::kInOut, {DType::kInt8}, context);
  REQUIRE(packed.ok());
  p.packed = std::move(*packed);
  p.Check(true);
  const float got = p.Want(false)[0];
  CHECK(std::fabs(got + 127.0f * 512.0f) < 0.1f);
}

// The bound of numerics.md: rounding of a, and of f32 sums.
TEST_CASE("an int16 product is as near to float64 as numerics.md says") {
  for (const PackOptions& options : AllOptions()) {
    for (const size_t k : {20u, 256u, 1000u}) {
      const Problem p(9, k, 33, options);
      const std::vector<float> got = p.Want(false);
      double rms = 0.0, size = 0.0;
      for (size_t i = 0; i < p.m; ++i) {
        for (size_t j = 0; j < p.n; ++j) {
          double exact = 0.0, bound = 0.0, sum = 0.0, roundings = 2.0;
          for (size_t begin = 0; begin < k; begin += kSumChunk) {
            const size_t end = std::min(k, begin + kSumChunk);
            double largest = 0.0, of_b = 0.0;
            for (size_t l = begin; l < end; ++l) {
              const double x = double{p.a[i * k + l]};
              const double b = p.codes[l * p.n + j] * double{p.scales[l / p.group * p.n + j]};
              exact += x * b;
              sum += std::fabs(x * b);
              largest = std::max(largest, std::fabs(x));
              of_b += std::fabs(b);
            }
            bound += 0.51 / 32767 * largest * of_b;
            roundings += 2 + static_cast<double>(CeilDiv(end - begin, p.group));
          }
          const double error = std::fabs(double{got[i * p.n + j]} - exact);
          CHECK(error <= bound + roundings * 0x1p-23 * (sum + bound));
          rms += error * error;
          size += sum * sum;
        }
      }
      CHECK(std::sqrt(rms / size) < 1e-5);
      CHECK(rms > 0.0);
    }
  }
}

// A layer's steps, one by one.
struct Layer {
  static constexpr size_t kWidth = 300, kHeads = 4, kDim = 24, kSeq = 37, kAll = kHeads * kDim;

  Layer() {
    Random random(21);
    x = Some(kSeq * kWidth, random);
    for (std::vector<float>* w : {&q, &k, &v}) *w = Some(kWidth * kAll, random);
    out = Some(kAll * kWidth, random);
    bias = Some(kAll, random);
    config.d_in = kWidth;
    config.num_heads = kHeads;
    config.head_dim = kDim;
    weights.layout = WeightLayout::kInOut;
    const auto linear = [](const std::vector<float>& w, size_t in, const PackOptions& storage) {
      LinearWeights views;
      views.weight = TensorView(w.data(), {in, w.size() / in});
      views.storage = storage;
      views.compute = Compute::kInt16;
      return views;
    };
    weights.q = linear(q, kWidth, {DType::kInt8});
    weights.k = linear(k, kWidth, {DType::kInt8});
    weights.v = linear(v, kWidth, {DType::kInt8});
    weights.v.compute = Compute::kF32;
    weights.out = linear(out, kAll, {DType::kInt4, 32});
    weights.k.bias = TensorView(bias.data(), {kAll});
  }

  std::vector<float> Multiply(const std::vector<float>& from, const LinearWeights& w,
                              Context& context) const {
    const Result<PackedMatrix> packed =
        PackedMatrix::pack(w.weight, weights.layout, w.storage, context);
    REQUIRE(packed.ok());
    std::vector<float> to(kSeq * packed->out());
    MatmulOptions options;
    options.bias = w.bias;
    options.compute = w.compute;
    REQUIRE(matmul(TensorView(from.data(), {kSeq, packed->in()}), *packed,
                   MutableTensorView(to.data(), {kSeq, packed->out()}), options, context)
                .ok());
    return to;
  }
  std::vector<float> StepByStep(Context& context) const {
    const std::vector<float> qs = Multiply(x, weights.q, context),
                             ks = Multiply(x, weights.k, context),
                             vs = Multiply(x, weights.v, context);
    const auto heads = [](const std::vector<float>& of) {
      return TensorView(of.data(), {1, kSeq, kHeads, kDim});
    };
    std::vector<float> joined(kSeq * kAll);
    AttentionOptions options;
    options.causal = true;
    REQUIRE(attention(heads(qs), heads(ks), heads(vs),
                      MutableTensorView(joined.data(), {1, kSeq, kHeads, kDim}), options, context)
                .ok());
    return Multiply(joined, weights.out, context);
  }
  // With a cache, so many tokens at a time; 0: without one.
  std::vector<float> Forward(size_t chunk, Context& context) const {
    const Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, context);
    REQUIRE(std::string(layer.status().message()) == "");
    std::vector<float> y(kSeq * kWidth);
    const TensorView from(x.data(), {kSeq, kWidth});
    const MutableTensorView to(y.data(), {kSeq, kWidth});
    if (chunk == 0) {
      REQUIRE(layer->forward(from, to, {}, context).ok());
      return y;
    }
    Result<KvCache> cache = layer->create_cache(1, kSeq);
    REQUIRE(cache.ok());
    for (size_t i = 0; i < kSeq; i += chunk) {
      const size_t end = std::min(kSeq, i + chunk);
      REQUIRE(layer->forward(from.slice(0, i, end), to.slice(0, i, end), *cache, context).ok());
    }
    return y;
  }

  std::vector<float> x, q, k, v, out, bias;
  MultiHeadAttentionConfig config;
  MultiHeadAttentionWeights weights;
};

TEST_CASE("a layer's projections are int16 products where it says so, in prefill and in decode") {
  const Layer layer;
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    const std::vector<float> want = layer.StepByStep(*runner.context);
    for (const size_t chunk : {0u, 37u, 8u, 1u}) {
      INFO("chunks of " << chunk);
      CHECK(Difference(layer.Forward(chunk, *runner.context), want) == "");
    }
  }
}

TEST_CASE("a layer refuses to compute projections of other types in int16") {
  Layer layer;
  Context context;
  layer.weights.k.storage = {DType::kBF16};
  const auto create = [&] {
    return MultiHeadAttention::create(layer.config, layer.weights, context).status();
  };
  CHECK(WrongRefusal(create(), kInvalid, "k.compute") == "");
  layer.weights.k.storage = {DType::kInt8};
  layer.weights.out.storage = {};
  CHECK(WrongRefusal(create(), kInvalid, "out.compute") == "");
}

TEST_CASE("compute is refused by name where it can't be") {
  const std::vector<float> a(6 * 40, 1.0f), b(40 * 5, 1.0f);
  std::vector<float> c(6 * 5, -7.0f);
  const TensorView a_view(a.data(), {6, 40}), b_view(b.data(), {40, 5});
  const MutableTensorView c_view(c.data(), {6, 5});
  Context context;
  MatmulOptions options;
  options.compute = Compute::kInt16;
  CHECK(WrongRefusal(matmul(a_view, b_view, c_view, options, context), kInvalid, "compute") == "");
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Result<PackedMatrix> packed =
        PackedMatrix::pack(b_view, WeightLayout::kInOut, {dtype}, context);
    REQUIRE(packed.ok());
    CHECK(WrongRefusal(matmul(a_view, *packed, c_view, options, context), kInvalid, "compute") ==
          "");
  }
  const Result<PackedMatrix> packed =
      PackedMatrix::pack(b_view, WeightLayout::kInOut, {DType::kInt8}, context);
  REQUIRE(packed.ok());
  options.compute = static_cast<Compute>(2);
  CHECK(WrongRefusal(matmul(a_view, *packed, c_view, options, context), kInvalid, "compute") == "");
  CHECK(c == std::vector<float>(6 * 5, -7.0f));
}

TEST_CASE("an int16 product of nothing is zeros or the bias, or nothing") {
  float nothing = 0.0f;
  Context context;
  const Result<PackedMatrix> no_in = PackedMatrix::pack(
      TensorView(&nothing, {0, 3}), WeightLayout::kInOut, {DType::kInt8}, context);
  REQUIRE(no_in.ok());
  std::vector<float> c(6, -1.0f);
  MatmulOptions options;
  options.compute = Compute::kInt16;
  const TensorView a(&nothing, {2, 0});
  CHECK(matmul(a, *no_in, MutableTensorView(c.data(), {2, 3}), options, context).ok());
  CHECK(c == std::vector<float>(6, 0.0f));
  const float bias[] = {1.0f, 2.0f, 3.0f};
  options.bias = TensorView(bias, {3});
  CHECK(matmul(a, *no_in, MutableTensorView(c.data(), {2, 3}), options, context).ok());
  const std::vector<float> biases = {1.0f, 2.0f, 3.0f, 1.0f, 2.0f, 3.0f};
  CHECK(c == biases);

  const float weights[] = {1.0f, 2.0f, 3.0f};
  const auto pack = [&](size_t columns) {
    return PackedMatrix::pack(TensorView(weights, {1, columns}), WeightLayout::kInOut,
                              {DType::kInt8}, context);
  };
  const Result<PackedMatrix> some = pack(3), no_out = pack(0);
  REQUIRE(some.ok());
  CHECK(matmul(TensorView(weights, {0, 1}), *some, MutableTensorView(c.data(), {0, 3}), options,
               context)
            .ok());
  REQUIRE(no_out.ok());
  options.bias = {};
  CHECK(matmul(TensorView(weights, {2, 1}), *no_out, MutableTensorView(c.data(), {2, 0}), options,
               context)
            .ok());
  CHECK(c == biases);
}

}  // namespace
}  // namespace heed::test
