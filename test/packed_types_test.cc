// Packed matrices of every stored type: a product is that of the numbers that the elements stand
// for, bit for bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/matmul.hpp"
#include "src/base/half.h"
#include "src/base/quantize.h"
#include "src/matmul/packed_matrix.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;

const std::vector<PackOptions>& AllOptions() {
  static const std::vector<PackOptions> all = {
      {DType::kF32},      {DType::kF16},      {DType::kBF16},     {DType::kInt8},
      {DType::kInt8, 16}, {DType::kInt8, 32}, {DType::kInt8, 64}, {DType::kInt8, 128},
      {DType::kInt4, 16}, {DType::kInt4, 32}, {DType::kInt4, 64}, {DType::kInt4, 128}};
  return all;
}

std::string NameOf(const PackOptions& options) {
  return std::string(name_of(options.dtype)) + ", group " + std::to_string(options.group);
}

size_t GroupSteps(const PackOptions& options, size_t in) {
  return options.group == 0 ? std::max<size_t>(in, 1) : options.group;
}

// What the elements of b [in, out] stand for once they are stored.
std::vector<float> Stored(const std::vector<float>& b, size_t in, size_t out,
                          const PackOptions& options) {
  std::vector<float> stored(b.size());
  const size_t group = GroupSteps(options, in);
  for (size_t i = 0; i < b.size(); ++i) {
    const size_t k = i / out / group * group, c = i % out;
    const float extreme =
        Extreme(&b[k * out + c], static_cast<ptrdiff_t>(out), std::min(group, in - k));
    const float int8_scale = Int8Scale(extreme), int4_scale = ToFloat(Int4Scale(extreme));
    switch (options.dtype) {
      case DType::kF16:
        stored[i] = ToFloat(ToF16(b[i]));
        break;
      case DType::kBF16:
        stored[i] = ToFloat(ToBf16(b[i]));
        break;
      case DType::kInt8:
        stored[i] = Int8Code(b[i], int8_scale) * int8_scale;
        break;
      case DType::kInt4:
        stored[i] = Int4Code(b[i], int4_scale) * int4_scale + 0.0f;
        break;
      default:
        stored[i] = b[i];
    }
  }
  return stored;
}

struct Size {
  size_t m, in, out;
};

struct Problem {
  Size size;
  std::vector<float> a, bias;
  PerFamily<std::vector<float>> want;

  Problem(const Size& s, const std::vector<float>& b, Random& random)
      : size(s), a(Some(s.m * s.in, random)), bias(Some(s.out, random)), want([&](Family family) {
          std::vector<float> c(s.m * s.out);
          WithSpec(family, [&](auto spec) {
            spec.Matmul(a.data(), b.data(), bias.data(), c.data(), s.m, s.in, s.out);
          });
          return c;
        }) {}

  static std::vector<float> Some(size_t n, Random& random) {
    std::vector<float> values(n);
    for (float& x : values) x = random.Normal();
    return values;
  }

  std::string Fault(const PackedMatrix& b, Runner& runner) const {
    Tensor<float> c({size.m, size.out});
    MatmulOptions options;
    options.bias = TensorView(bias.data(), {size.out});
    const Status status = matmul(TensorView(a.data(), {size.m, size.in}), b, c.mutable_view(),
                                 options, *runner.context);
    if (!status.ok()) return status.message();
    return Difference(c.Dense(), want[runner.family]);
  }

  void Check(const PackedMatrix& b, bool all_runners) const {
    CHECK(b.in() == size.in);
    CHECK(b.out() == size.out);
    for (Runner& runner : Runners()) {
      if (!all_runners && !runner.first_of_target) continue;
      INFO(size.m << " x " << size.in << " x " << size.out << ", " << NameOf({b.dtype(), b.group()})
                  << ", " << runner.name);
      CHECK(Fault(b, runner) == "");
    }
  }
};

// A matrix [in, out] as a tensor in any layout, for both orders of weights.
Tensor<float> Given(const std::vector<float>& b, const Size& s, WeightLayout layout,
                    Layout memory) {
  const bool out_in = layout == WeightLayout::kOutIn;
  Tensor<float> given(out_in ? std::vector<size_t>{s.out, s.in} : std::vector<size_t>{s.in, s.out},
                      memory);
  for (size_t i = 0; i < b.size(); ++i) {
    given[out_in ? i % s.out * s.in + i / s.out : i] = b[i];
  }
  return given;
}

void CheckSize(const Size& size, const PackOptions& options, bool all_runners) {
  Random random(size.m * 1000003 + size.in * 1009 + size.out);
  const std::vector<float> b = Problem::Some(size.in * size.out, random);
  const Problem problem(size, Stored(b, size.in, size.out, options), random);
  const bool turn = (size.in + size.out) % 2 == 0;
  const WeightLayout layout = turn ? WeightLayout::kInOut : WeightLayout::kOutIn;
  const Tensor<float> given = Given(b, size, layout, kAllLayouts[size.out % 6]);
  Context context;
  const Result<PackedMatrix> packed = PackedMatrix::pack(given.view(), layout, options, context);
  REQUIRE(std::string(packed.status().message()) == "");
  CHECK(packed->dtype() == options.dtype);
  CHECK(packed->group() == options.group);
  problem.Check(*packed, all_runners);
}

TEST_CASE("a product with a stored matrix is that of its numbers, at every edge size") {
  const std::vector<size_t> outs = {1, 15, 16, 17, 33, 47, 63, 64, 65, 96, 130};
  const std::vector<size_t> ins = {1,  2,  3,   15,  16,  17,  31,  33,
                                   47, 64, 100, 129, 255, 256, 257, 300};
  size_t turn = 0;
  for (size_t m : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 13u}) {
    for (size_t out : outs) {
      for (size_t in : ins) {
        for (const PackOptions& options : AllOptions()) {
          if (++turn % (Quick() ? 67 : 5) != 0) continue;
          CheckSize({m, in, out}, options, false);
        }
      }
    }
  }
}

TEST_CASE("a product with a stored matrix has the same bits with any number of threads") {
  const Size sizes[] = {{1, 700, 301}, {4, 270, 301},   {101, 300, 65},
                        {49, 520, 96}, {200, 260, 200}, {27, 1100, 130}};
  for (const Size& size : sizes) {
    for (const PackOptions& options : AllOptions()) {
      if (Quick() && options.group % 64 != 0) continue;
      CheckSize(size, options, true);
    }
  }
}

TEST_CASE("a stored matrix of many magnitudes keeps its numbers") {
  const Size size{3, 200, 50};
  for (const PackOptions& options : AllOptions()) {
    Random random(7);
    std::vector<float> b = Problem::Some(size.in * size.out, random);
    for (size_t i = 0; i < b.size(); ++i) {  // from subnormal scales to 2^13
      b[i] = std::ldexp(b[i], static_cast<int>(i % size.out * 3) - 137);
      if (i % 11 == 0) b[i] = 0.0f;
      if (i % size.out == 9) b[i] = -0.0f;
    }
    const Problem problem(size, Stored(b, size.in, size.out, options), random);
    Context context;
    const Result<PackedMatrix> packed = PackedMatrix::pack(
        TensorView(b.data(), {size.in, size.out}), WeightLayout::kInOut, options, context);
    REQUIRE(std::string(packed.status().message()) == "");
    problem.Check(*packed, false);
  }
}

TEST_CASE("16-bit matrices are stored in any type, and in their own exactly") {
  const Size size{6, 70, 45};
  Random random(11);
  const std::vector<float> b = Problem::Some(size.in * size.out, random);
  std::vector<bf16> narrow(b.size());
  std::vector<float> wide(b.size());
  for (size_t i = 0; i < b.size(); ++i) {
    narrow[i] = ToBf16(b[i]);
    wide[i] = ToFloat(narrow[i]);
  }
  Context context;
  for (const PackOptions& options : AllOptions()) {
    const std::vector<float> stored = Stored(wide, size.in, size.out, options);
    if (options.dtype == DType::kBF16) CHECK(stored == wide);
    const Problem problem(size, stored, random);
    const Result<PackedMatrix> packed = PackedMatrix::pack(
        TensorView(narrow.data(), {size.in, size.out}), WeightLayout::kInOut, options, context);
    REQUIRE(packed.ok());
    problem.Check(*packed, false);
  }
}

std::vector<uint8_t> Bytes(const PackedMatrix& matrix) {
  const uint8_t* data = PackedMatrix::Impl::Of(matrix)->data;
  return std::vector<uint8_t>(data, data + matrix.bytes());
}

TEST_CASE("a stored matrix has the same bytes whatever the threads and the target that pack it") {
  Random random(5);
  const Tensor<float> parts[] = {Normal({270, 100}, random), Normal({270, 3}, random),
                                 Normal({270, 150}, random)};
  const TensorView views[] = {parts[0].view(), parts[1].view(), parts[2].view()};
  for (const PackOptions& options : AllOptions()) {
    Context one({.num_threads = 1});
    const Result<PackedMatrix> want =
        PackedMatrix::pack(views, 3, WeightLayout::kInOut, options, one);
    REQUIRE(want.ok());
    for (Runner& runner : Runners()) {
      INFO(NameOf(options) << ", " << runner.name);
      const Result<PackedMatrix> got =
          PackedMatrix::pack(views, 3, WeightLayout::kInOut, options, *runner.context);
      REQUIRE(got.ok());
      CHECK((Bytes(*got) == Bytes(*want)));
    }
  }
}

TEST_CASE("bytes() is what the type says") {
  const std::vector<float> b(4096 * 64, 1.0f);
  Context context;
  const auto bytes = [&](DType dtype, size_t group) {
    const Result<PackedMatrix> packed = PackedMatrix::pack(
        TensorView(b.data(), {4096, 64}), WeightLayout::kInOut, {dtype, group}, context);
    return packed.ok() ? packed->bytes() : 0;
  };
  const size_t n = b.size();
  CHECK(bytes(DType::kF32, 0) == 4 * n);
  CHECK(bytes(DType::kF16, 0) == 2 * n);
  CHECK(bytes(DType::kBF16, 0) == 2 * n);
  CHECK(bytes(DType::kInt8, 0) == n + 4 * 64);
  CHECK(bytes(DType::kInt8, 32) == n + 4 * n / 32);
  CHECK(bytes(DType::kInt4, 32) == n / 2 + 2 * n / 32);
  CHECK(bytes(DType::kInt4, 128) == n / 2 + 2 * n / 128);
}

// Codes and scales, [in, out] and [groups, out], and what they stand for.
struct Quantized {
  size_t in, out, groups;
  std::vector<int8_t> codes;
  std::vector<float> scales, numbers;

  Quantized(size_t rows, size_t columns, const PackOptions& options, Random& random)
      : in(rows), out(columns), codes(in * out), numbers(in * out) {
    const size_t group = GroupSteps(options, in);
    groups = (in + group - 1) / group;
    scales.resize(groups * out);
    for (float& scale : scales) {
      scale = ToFloat(ToF16(random.Normal()));
      if (options.dtype == DType::kInt8) scale *= 1.0f / 3.0f;
      if (random.Below(9) == 0) scale = random.Below(2) == 0 ? 0.0f : -0.0f;
    }
    const bool int8 = options.dtype == DType::kInt8;
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<int8_t>(int8 ? static_cast<int>(random.Below(255)) - 127
                                          : static_cast<int>(random.Below(16)) - 8);
      numbers[i] = codes[i] * scales[i / out / group * out + i % out] + 0.0f;
    }
  }
  QuantizedView view() const {
    return {TensorView(codes.data(), {in, out}), TensorView(scales.data(), {groups, out})};
  }
};

TEST_CASE("codes and scales that are given are kept, also of several matrices") {
  for (const PackOptions& options : AllOptions()) {
    if (!HasScales(options.dtype)) continue;
    for (const size_t in : {1u, 31u, 64u, 300u, 515u}) {
      Random random(in + options.group);
      const Quantized first(in, 20, options, random), second(in, 45, options, random);
      std::vector<float> all;
      for (size_t k = 0; k < in; ++k) {
        all.insert(all.end(), &first.numbers[k * 20], &first.numbers[k * 20] + 20);
        all.insert(all.end(), &second.numbers[k * 45], &second.numbers[k * 45] + 45);
      }
      Context context;
      const QuantizedView views[] = {first.view(), second.view()};
      const Result<PackedMatrix> packed =
          PackedMatrix::pack_quantized(views, 2, WeightLayout::kInOut, options, context);
      REQUIRE(std::string(packed.status().message()) == "");
      for (const size_t m : {1u, 3u, 9u}) Problem({m, in, 65}, all, random).Check(*packed, false);

      // The same from their transposes.
      Tensor<float> scales({second.groups, 45}, Layout::kLastFirst);
      scales.Assign(second.scales);
      std::vector<int8_t> codes(second.codes.size());
      for (size_t i = 0; i < codes.size(); ++i) codes[i % 45 * in + i / 45] = second.codes[i];
      const QuantizedView turned = {TensorView(codes.data(), {45, in}),
                                    scales.view().transpose(0, 1)};
      const Result<PackedMatrix> out_in =
          PackedMatrix::pack_quantized(&turned, 1, WeightLayout::kOutIn, options, context);
      REQUIRE(std::string(out_in.status().message()) == "");
      Problem({2, in, 45}, second.numbers, random).Check(*out_in, false);
    }
  }
}

// Products that underflow leave zeros of either sign, which zeros of elements may not change.
TEST_CASE("a negative scale of int4 gives no zeros of its own") {
  const PackOptions options{DType::kInt4, 32};
  const std::vector<int8_t> codes(40 * 64, 0);
  std::vector<int8_t> some = codes;
  std::fill(some.begin(), some.begin() + 64, int8_t{1});
  const std::vector<float> scales(2 * 64, -1.0f);
  const QuantizedView view = {TensorView(some.data(), {40, 64}),
                              TensorView(scales.data(), {2, 64})};
  Context context;
  const Result<PackedMatrix> packed =
      PackedMatrix::pack_quantized(&view, 1, WeightLayout::kInOut, options, context);
  REQUIRE(packed.ok());
  for (const size_t m : {1u, 2u, 7u}) {
    const std::vector<float> a(m * 40, 1.0f), zeros(m * 40, -0.0f);
    for (Runner& runner : Runners()) {
      std::vector<float> c(m * 64);
      REQUIRE(matmul(TensorView(zeros.data(), {m, 40}), *packed,
                     MutableTensorView(c.data(), {m, 64}), {}, *runner.context)
                  .ok());
      CHECK(Difference(c, std::vector<float>(c.size(), 0.0f)) == "");
    }
  }
}

TEST_CASE("pack refuses types, groups and numbers that can't be stored") {
  std::vector<float> b(40 * 5, 1.0f);
  Context context;
  const auto packed = [&](const PackOptions& options) {
    return PackedMatrix::pack(TensorView(b.data(), {40, 5}), WeightLayout::kInOut, options, context)
        .status();
  };
  CHECK(WrongRefusal(packed({DType::kI32}), StatusCode::kUnsupported, "dtype") == "");
  CHECK(WrongRefusal(packed({DType::kU8}), StatusCode::kUnsupported, "dtype") == "");
  CHECK(WrongRefusal(packed({static_cast<DType>(99)}), StatusCode::kUnsupported, "dtype") == "");
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    CHECK(WrongRefusal(packed({dtype, 32}), kInvalid, "group") == "");
  }
  for (const size_t group : {1u, 8u, 24u, 48u, 256u}) {
    CHECK(WrongRefusal(packed({DType::kInt8, group}), kInvalid, "group") == "");
    CHECK(WrongRefusal(packed({DType::kInt4, group}), kInvalid, "group") == "");
  }
  CHECK(WrongRefusal(packed({DType::kInt4, 0}), kInvalid, "group") == "");
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 1e6f}) {
    b[17] = bad;
    CHECK(packed({DType::kBF16}).ok());
    CHECK(packed({DType::kF16}).ok());
    CHECK(packed({DType::kInt8}).ok() == (bad == 1e6f));
    CHECK(packed({DType::kInt8, 32}).ok() == (bad == 1e6f));
    CHECK(WrongRefusal(packed({DType::kInt4, 32}), kInvalid, "b") == "");
  }
}

TEST_CASE("pack_quantized refuses codes and scales that can't be") {
  std::vector<int8_t> codes(40 * 5, 3);
  std::vector<float> scales(2 * 5, 0.5f);
  const TensorView code_view(codes.data(), {40, 5}), scale_view(scales.data(), {2, 5});
  Context context;
  const auto refused = [&](const QuantizedView& view, const PackOptions& options, StatusCode code,
                           const char* name) {
    CHECK(
        WrongRefusal(
            PackedMatrix::pack_quantized(&view, 1, WeightLayout::kInOut, options, context).status(),
            code, name) == "");
  };
  const PackOptions int8{DType::kInt8, 32}, int4{DType::kInt4, 32};
  const QuantizedView good{code_view, scale_view};
  CHECK(PackedMatrix::pack_quantized(&good, 1, WeightLayout::kInOut, int8, context).ok());
  CHECK(PackedMatrix::pack_quantized(&good, 1, WeightLayout::kInOut, int4, context).ok());
  refused(good, {DType::kBF16}, StatusCode::kUnsupported, "dtype");
  refused(good, {DType::kInt8, 20}, kInvalid, "group");
  refused(good, {DType::kInt8, 64}, kInvalid, "scales");
  refused({code_view, TensorView()}, int8, kInvalid, "scales");
  refused({TensorView(), scale_view}, int8, kInvalid, "codes");
  refused({scale_view, scale_view}, int8, StatusCode::kUnsupported, "codes");
  refused({code_view, code_view}, int8, StatusCode::kUnsupported, "scales");
  refused({code_view.slice(1, 0, 4), scale_view}, int8, kInvalid, "scales");
  const QuantizedView two[] = {good, {code_view.slice(0, 0, 33), scale_view}};
  CHECK(WrongRefusal(
            PackedMatrix::pack_quantized(two, 2, WeightLayout::kInOut, int8, context).status(),
            kInvalid, "b") == "");
  CHECK(!PackedMatrix::pack_quantized(nullptr, 1, WeightLayout::kInOut, int8, context).ok());
  CHECK(!PackedMatrix::pack_quantized(two, 0, WeightLayout::kInOut, int8, context).ok());
  codes[199] = -128;
  refused(good, int8, kInvalid, "codes");
  codes[199] = 8;
  refused(good, int4, kInvalid, "codes");
  codes[199] = -9;
  refused(good, int4, kInvalid, "codes");
  codes[199] = -8;
  CHECK(PackedMatrix::pack_quantized(&good, 1, WeightLayout::kInOut, int4, context).ok());
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    scales[9] = bad;
    refused(good, int8, kInvalid, "scales");
    refused(good, int4, kInvalid, "scales");
  }
  scales[9] = 0.1f;
  refused(good, int4, kInvalid, "scales");  // is no f16
}

TEST_CASE("matrices of no inputs or no outputs can be stored in any type") {
  Context context;
  const float nothing = 0.0f;
  for (const PackOptions& options : AllOptions()) {
    const Result<PackedMatrix> no_out =
        PackedMatrix::pack(TensorView(&nothing, {3, 0}), WeightLayout::kInOut, options, context);
    REQUIRE(no_out.ok());
    CHECK(no_out->bytes() == 0);
    const Result<PackedMatrix> no_in =
        PackedMatrix::pack(TensorView(&nothing, {0, 3}), WeightLayout::kInOut, options, context);
    REQUIRE(no_in.ok());
    CHECK(no_in->bytes() == 0);
    std::vector<float> c(6, -1.0f);
    CHECK(matmul(TensorView(&nothing, {2, 0}), *no_in, MutableTensorView(c.data(), {2, 3}), {},
                 context)
              .ok());
    CHECK(c == std::vector<float>(6, 0.0f));
  }
}

}  // namespace
}  // namespace heed::test
