// Quantizers and the errors they return, against the definition element by element.
#include "heed/quantize.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/convert.hpp"
#include "src/base/half.h"
#include "src/base/quantize.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/placements.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

// The numbers that rows of n elements are stored as.
struct Stored {
  std::vector<int8_t> codes;
  std::vector<float> scales, numbers;
};

Stored StoredAs(DType dtype, const std::vector<float>& x, size_t n, size_t group) {
  Stored stored;
  for (size_t row = 0; n > 0 && row < x.size(); row += n) {
    for (size_t begin = 0; begin < n; begin += group) {
      const float* from = x.data() + row + begin;
      const size_t count = std::min(group, n - begin);
      const float extreme = Extreme(from, 1, count);
      const float scale = dtype == DType::kInt8 ? Int8Scale(extreme) : ToFloat(Int4Scale(extreme));
      stored.scales.push_back(scale);
      for (size_t i = 0; i < count; ++i) {
        stored.codes.push_back(dtype == DType::kInt8 ? Int8Code(from[i], scale)
                                                     : Int4Code(from[i], scale));
        stored.numbers.push_back(static_cast<float>(stored.codes.back()) * scale + 0.0f);
      }
    }
  }
  return stored;
}

struct Errors {
  std::vector<float> rms, largest, relative;
};

// Of each row, then of all.
Errors ErrorsOf(const std::vector<float>& stored, const std::vector<float>& x, size_t n) {
  Errors errors;
  double all = 0.0, all_given = 0.0, all_largest = 0.0;
  const auto add = [&](double sum, double given, double largest, size_t count) {
    errors.rms.push_back(static_cast<float>(std::sqrt(sum / static_cast<double>(count))));
    errors.largest.push_back(static_cast<float>(largest));
    errors.relative.push_back(sum == 0.0 ? 0.0f : static_cast<float>(std::sqrt(sum / given)));
  };
  for (size_t row = 0; row < x.size(); row += n) {
    double sum = 0.0, given = 0.0, largest = 0.0;
    for (size_t i = row; i < row + n; ++i) {
      const double e = static_cast<double>(stored[i]) - static_cast<double>(x[i]);
      sum += e * e;
      given += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      largest = std::max(largest, std::fabs(e));
    }
    add(sum, given, largest, n);
    all += sum;
    all_given += given;
    all_largest = std::max(all_largest, largest);
  }
  add(all, all_given, all_largest, x.size());
  return errors;
}

void CheckErrors(const QuantizationError& got, const Errors& want) {
  CHECK(SameBits(got.rms, want.rms.back()));
  CHECK(SameBits(got.largest, want.largest.back()));
  CHECK(SameBits(got.relative, want.relative.back()));
}

std::vector<float> WithoutLast(std::vector<float> values) {
  values.pop_back();
  return values;
}

// int8 codes in rows that lie `stride` apart, `step` between elements.
struct Codes {
  std::vector<int8_t> data;
  size_t rows, n, step;
  Codes(size_t count, size_t of, size_t apart)
      : data(count * of * apart + 1, int8_t{99}), rows(count), n(of), step(apart) {}
  MutableTensorView view(std::initializer_list<size_t> shape) {
    const std::vector<size_t> sizes(shape);
    std::vector<ptrdiff_t> strides(sizes.size());
    ptrdiff_t stride = static_cast<ptrdiff_t>(step);
    for (size_t i = sizes.size(); i-- > 0;) {
      strides[i] = stride;
      stride *= static_cast<ptrdiff_t>(sizes[i]);
    }
    return MutableTensorView(data.data(), DType::kInt8, sizes.data(), sizes.size(), strides.data(),
                             strides.size());
  }
  std::vector<int8_t> Dense() const {
    std::vector<int8_t> dense;
    for (size_t i = 0; i < rows * n; ++i) dense.push_back(data[i * step]);
    return dense;
  }
  bool GapsIntact() const {
    for (size_t i = 0; i < data.size(); ++i) {
      if ((i % step != 0 || i / step >= rows * n) && data[i] != 99) return false;
    }
    return true;
  }
};

// Codes of int4, two a byte: the same codes and scales, and dequantized the same numbers.
void CheckTwoAByte(const Tensor<float>& x, size_t group, size_t step, const Stored& want,
                   Context& context) {
  const size_t n = x.shape()[2], rows = 6, bytes = (n + 1) / 2;
  const size_t groups = group == 0 ? 1 : (n + group - 1) / group;
  Codes codes(rows, bytes, step);
  MutableTensorView view = codes.view({2, 3, bytes});
  view.dtype = DType::kInt4;
  Tensor<float> scales({2, 3, groups}), y({2, 3, n}, Layout::kScattered);
  RequireOk(
      quantize(x.view(), DType::kInt4, group, view, scales.mutable_view(), {}, context).status());
  const std::vector<int8_t> dense = codes.Dense();
  std::vector<int8_t> got;
  for (size_t i = 0; i < rows * bytes; ++i) {
    const int byte = static_cast<uint8_t>(dense[i]);
    const bool has_upper = 2 * (i % bytes) + 1 < n;
    got.push_back(static_cast<int8_t>((byte % 16 ^ 8) - 8));
    if (has_upper) got.push_back(static_cast<int8_t>((byte / 16 ^ 8) - 8));
    CHECK((has_upper || byte < 16));
  }
  CHECK(got == want.codes);
  CHECK(codes.GapsIntact());
  CHECK(Difference(scales.Dense(), want.scales) == "");
  RequireOk(dequantize(view, scales.view(), group, y.mutable_view(), context));
  CHECK(Difference(y.Dense(), want.numbers) == "");
  CHECK(y.GapsIntact());
}

void CheckQuantize(DType dtype, const Tensor<float>& x, size_t group, Layout layout) {
  const size_t n = x.shape()[2], rows = 6, width = group == 0 ? n : group;
  const size_t groups = (n + width - 1) / width;
  const Stored want = StoredAs(dtype, x.Dense(), n, width);
  const Errors want_errors = ErrorsOf(want.numbers, x.Dense(), n);
  for (Runner& runner : Runners()) {
    INFO(runner.name << ", " << name_of(dtype) << ", group " << group << ", n " << n);
    Codes codes(rows, n, layout == Layout::kContiguous ? 1 : 3);
    Tensor<float> scales({2, 3, groups}, layout), y({2, 3, n}, layout);
    Tensor<float> rms({2, 3}, layout), largest({2, 3}, layout), relative({2, 3}, layout);
    const RowErrors errors = {rms.mutable_view(), largest.mutable_view(), relative.mutable_view()};
    const auto error = quantize(x.view(), dtype, group, codes.view({2, 3, n}),
                                scales.mutable_view(), errors, *runner.context);
    RequireOk(error.status());
    CHECK(codes.Dense() == want.codes);
    CHECK(codes.GapsIntact());
    CHECK(Difference(scales.Dense(), want.scales) == "");
    CheckErrors(*error, want_errors);
    CHECK(Difference(rms.Dense(), WithoutLast(want_errors.rms)) == "");
    CHECK(Difference(largest.Dense(), WithoutLast(want_errors.largest)) == "");
    CHECK(Difference(relative.Dense(), WithoutLast(want_errors.relative)) == "");
    for (const Tensor<float>* tensor : {&scales, &rms, &largest, &relative}) {
      CHECK(tensor->GapsIntact());
    }
    RequireOk(
        dequantize(codes.view({2, 3, n}), scales.view(), group, y.mutable_view(), *runner.context));
    CHECK(Difference(y.Dense(), want.numbers) == "");
    CHECK(y.GapsIntact());
    if (dtype == DType::kInt4) {
      CheckTwoAByte(x, group, layout == Layout::kContiguous ? 1 : 3, want, *runner.context);
    }
  }
}

// Head dimensions that fill their last byte and their last group, or do not.
TEST_CASE("what quantize makes of keys and values, attention takes as it is") {
  constexpr size_t kKeys = 70, kHeads = 2;
  Random random(7);
  for (const size_t dim : {35u, 64u}) {
    const Tensor<float> k = Normal({1, kKeys, kHeads, dim}, random);
    const Tensor<float> v = Normal({1, kKeys, kHeads, dim}, random);
    const Tensor<float> q = Normal({1, 3, 2 * kHeads, dim}, random);
    for (Runner& runner : Runners()) {
      for (const DType dtype : {DType::kInt8, DType::kInt4}) {
        INFO(runner.name << ", " << name_of(dtype) << ", head_dim " << dim);
        Context& context = *runner.context;
        const bool int4 = dtype == DType::kInt4;
        const size_t bytes = int4 ? (dim + 1) / 2 : dim, groups = int4 ? (dim + 31) / 32 : 1;
        struct Quantized {
          Tensor<int8_t> codes;
          Tensor<float> int8_scales;
          Tensor<f16> int4_scales;
          Tensor<float> numbers;
          MutableTensorView codes_view, scales_view;
        };
        const auto make = [&](const Tensor<float>& x) {
          Quantized made{Tensor<int8_t>({1, kKeys, kHeads, bytes}),
                         Tensor<float>({1, kKeys, kHeads, groups}),
                         Tensor<f16>({1, kKeys, kHeads, groups}),
                         Tensor<float>({1, kKeys, kHeads, dim}),
                         {},
                         {}};
          made.codes_view = made.codes.mutable_view();
          made.codes_view.dtype = dtype;
          made.scales_view =
              int4 ? made.int4_scales.mutable_view() : made.int8_scales.mutable_view();
          const size_t group = int4 ? 32 : 0;
          RequireOk(quantize(x.view(), dtype, group, made.codes_view, made.scales_view, {}, context)
                        .status());
          RequireOk(dequantize(made.codes_view, made.scales_view, group,
                               made.numbers.mutable_view(), context));
          if (!int4) made.scales_view.rank = 3;
          return made;
        };
        const Quantized keys = make(k), values = make(v);
        Tensor<float> got({1, 3, 2 * kHeads, dim}), want({1, 3, 2 * kHeads, dim});
        AttentionOptions options;
        options.causal = true;
        RequireOk(attention(q.view(), keys.numbers.view(), values.numbers.view(),
                            want.mutable_view(), options, context));
        options.k_scales = keys.scales_view;
        options.v_scales = values.scales_view;
        RequireOk(attention(q.view(), keys.codes_view, values.codes_view, got.mutable_view(),
                            options, context));
        CHECK(Difference(got.Dense(), want.Dense()) == "");
      }
    }
  }
}

TEST_CASE("quantize has the codes, scales and errors of the definition, in any layout") {
  Random random(1);
  for (const Layout layout : kAllLayouts) {
    for (const size_t n : {1u, 31u, 64u, 80u}) {
      const Tensor<float> x = Normal({2, 3, n}, random, layout);
      for (const DType dtype : {DType::kInt8, DType::kInt4}) {
        for (const size_t group : {0u, 7u, 32u, 100u}) CheckQuantize(dtype, x, group, layout);
      }
    }
  }
}

TEST_CASE("quantize takes f16 and bf16, and writes scales of int4 as f16") {
  Random random(2);
  Context context;
  const Tensor<float> x = Normal({3, 64}, random);
  Tensor<bf16> brain({3, 64});
  Tensor<float> widened({3, 64});
  RequireOk(convert(x.view(), brain.mutable_view(), context));
  RequireOk(convert(brain.view(), widened.mutable_view(), context));
  const Stored want = StoredAs(DType::kInt4, widened.Dense(), 64, 32);
  Codes codes(3, 64, 1);
  Tensor<f16> scales({3, 2});
  Tensor<float> y({3, 64});
  const auto error = quantize(brain.view(), DType::kInt4, 32, codes.view({3, 64}),
                              scales.mutable_view(), {}, context);
  RequireOk(error.status());
  CheckErrors(*error, ErrorsOf(want.numbers, widened.Dense(), 64));
  CHECK(codes.Dense() == want.codes);
  for (size_t i = 0; i < 6; ++i) CHECK(ToFloat(scales[i]) == want.scales[i]);
  RequireOk(dequantize(codes.view({3, 64}), scales.view(), 32, y.mutable_view(), context));
  CHECK(Difference(y.Dense(), want.numbers) == "");
}

TEST_CASE("a group with an element that is no number reads as NaN, and its neighbours do not") {
  Context context;
  Random random(3);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e6f}) {
    for (const DType dtype : {DType::kInt8, DType::kInt4}) {
      if (bad == 1e6f && dtype == DType::kInt8) continue;  // its scale is an f32
      CAPTURE(bad);
      Tensor<float> x = Normal({2, 96}, random), y({2, 96}), scales({2, 3}), rms({2});
      x[40] = bad;
      Codes codes(2, 96, 1);
      const auto error = quantize(x.view(), dtype, 32, codes.view({2, 96}), scales.mutable_view(),
                                  {rms.mutable_view(), {}, {}}, context);
      RequireOk(error.status());
      CHECK(std::isnan(error->rms));
      CHECK(std::isnan(error->largest));
      CHECK(std::isnan(error->relative));
      CHECK(std::isnan(rms[0]));
      CHECK(rms[1] > 0.0f);
      RequireOk(dequantize(codes.view({2, 96}), scales.view(), 32, y.mutable_view(), context));
      for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i / 32 == 1));
    }
  }
}

TEST_CASE(
    "an element errs by half its scale at most, or by one where it lies beyond the codes of int4") {
  Random random(4);
  Context context;
  const Tensor<float> x = Normal({64, 128}, random);
  Codes codes(64, 128, 1);
  Tensor<float> scales({64, 4}), y({64, 128});
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    RequireOk(
        quantize(x.view(), dtype, 32, codes.view({64, 128}), scales.mutable_view(), {}, context)
            .status());
    RequireOk(dequantize(codes.view({64, 128}), scales.view(), 32, y.mutable_view(), context));
    for (size_t i = 0; i < x.size(); ++i) {
      const float scale = std::fabs(scales[i / 32]);
      // A number of the other sign than the extreme's may lie beyond 7 scales, up to 8 of them.
      const bool beyond = dtype == DType::kInt4 && x[i] / scales[i / 32] > 7.5f;
      CHECK(std::fabs(y[i] - x[i]) <= (beyond ? 1.01f : 0.501f) * scale);
    }
  }
}

// What PackedMatrix stores, in f32.
std::vector<float> Packed(const PackOptions& options, const std::vector<float>& rows, size_t n) {
  if (options.dtype == DType::kInt8 || options.dtype == DType::kInt4) {
    return StoredAs(options.dtype, rows, n, options.group == 0 ? n : options.group).numbers;
  }
  std::vector<float> stored;
  for (const float x : rows) {
    stored.push_back(options.dtype == DType::kF16    ? ToFloat(ToF16(x))
                     : options.dtype == DType::kBF16 ? ToFloat(ToBf16(x))
                                                     : x);
  }
  return stored;
}

TEST_CASE("storage_error is the error of each output channel, whichever way a matrix lies") {
  Random random(5);
  constexpr size_t kIn = 131, kOut = 37;
  for (const PackOptions options :
       {PackOptions{DType::kF32, 0}, PackOptions{DType::kF16, 0}, PackOptions{DType::kBF16, 0},
        PackOptions{DType::kInt8, 0}, PackOptions{DType::kInt8, 64}, PackOptions{DType::kInt4, 16},
        PackOptions{DType::kInt4, 128}}) {
    for (const Layout layout : {Layout::kContiguous, Layout::kLastFirst, Layout::kScattered}) {
      const Tensor<float> w = Normal({kOut, kIn}, random, layout);
      const Errors want = ErrorsOf(Packed(options, w.Dense(), kIn), w.Dense(), kIn);
      for (Runner& runner : Runners()) {
        INFO(runner.name << ", " << name_of(options.dtype) << ", group " << options.group);
        Tensor<float> rms({kOut}), largest({kOut}), relative({kOut});
        const RowErrors channels = {rms.mutable_view(), largest.mutable_view(),
                                    relative.mutable_view()};
        const auto error =
            storage_error(w.view(), WeightLayout::kOutIn, options, channels, *runner.context);
        RequireOk(error.status());
        CheckErrors(*error, want);
        CHECK(Difference(rms.Dense(), WithoutLast(want.rms)) == "");
        CHECK(Difference(largest.Dense(), WithoutLast(want.largest)) == "");
        CHECK(Difference(relative.Dense(), WithoutLast(want.relative)) == "");
        const auto of_in_out = storage_error(w.view().transpose(0, 1), WeightLayout::kInOut,
                                             options, {}, *runner.context);
        RequireOk(of_in_out.status());
        CheckErrors(*of_in_out, want);
      }
    }
  }
}

TEST_CASE("weights that can't be stored spoil the errors of their channels and of no other") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  Context context;
  Random random(6);
  const auto errors_of = [&](const Tensor<float>& w, const PackOptions& options,
                             Tensor<float>* channels) {
    float* rows = &(*channels)[0];
    const auto error =
        storage_error(w.view(), WeightLayout::kOutIn, options,
                      {MutableTensorView(rows, {9}), MutableTensorView(rows + 9, {9}),
                       MutableTensorView(rows + 18, {9})},
                      context);
    RequireOk(error.status());
    return *error;
  };
  for (const PackOptions options : {PackOptions{DType::kF32, 0}, PackOptions{DType::kF16, 0},
                                    PackOptions{DType::kBF16, 0}, PackOptions{DType::kInt8, 0},
                                    PackOptions{DType::kInt8, 32}, PackOptions{DType::kInt4, 32}}) {
    for (const float bad : {kInf, -kInf, kNan, 1e6f}) {
      const bool f16s = options.dtype == DType::kF16 || options.dtype == DType::kInt4;
      if (bad == 1e6f && !f16s) continue;
      INFO(name_of(options.dtype) << ", group " << options.group << ", a weight of " << bad);
      Tensor<float> w = Normal({9, 70}, random), want({3, 9}), got({3, 9});
      errors_of(w, options, &want);
      w[4 * 70 + 37] = bad;
      const QuantizationError error = errors_of(w, options, &got);
      for (const float value : {error.rms, error.largest, error.relative}) {
        CHECK(!std::isfinite(value));
      }
      for (size_t i = 0; i < got.size(); ++i) {
        const bool spoiled = i % 9 == 4;
        CHECK((spoiled ? !std::isfinite(got[i]) : SameBits(got[i], want[i])));
      }
    }
  }
}

TEST_CASE("quantizers refuse what they can't take, by name, and write nothing") {
  Context context;
  Tensor<float> x({3, 64}), scales({3, 2}), rms({3}), y({3, 64});
  x.Assign(std::vector<float>(3 * 64, 1.0f));
  Codes codes(3, 64, 1);
  const MutableTensorView code = codes.view({3, 64});
  const auto says = [](const Status& status, const char* text) {
    CHECK(!status.ok());
    CHECK(std::string(status.message()).find(text) != std::string::npos);
  };
  const auto refused = [&](const TensorView& from, DType dtype, size_t group,
                           const MutableTensorView& to, const MutableTensorView& by,
                           const RowErrors& errors, const char* text) {
    says(quantize(from, dtype, group, to, by, errors, context).status(), text);
  };
  const RowErrors none;
  const MutableTensorView scale = scales.mutable_view();
  refused(TensorView(), DType::kInt8, 32, code, scale, none, "x: is missing");
  refused(x.view(), DType::kBF16, 32, code, scale, none, "dtype: is bf16, must be int8 or int4");
  refused(x.view(), DType::kInt8, 32, x.mutable_view(), scale, none,
          "codes: dtype is f32, must be int8");
  refused(x.view(), DType::kInt8, 32, code.slice(1, 0, 32), scale, none,
          "codes: shape is [3, 32], must be that of x, [3, 64]");
  refused(x.view(), DType::kInt8, 16, code, scale, none,
          "scales: shape is [3, 2], must have 4 groups in place of the last of [3, 64]");
  refused(x.view(), DType::kInt8, 0, code, scale, none, "scales: shape is [3, 2], must have 1");
  f16 halves[6] = {};
  refused(x.view(), DType::kInt8, 32, code, MutableTensorView(halves, {3, 2}), none,
          "scales: dtype is f16, must be f32");
  refused(x.view(), DType::kInt8, 32, code, scale, {rms.mutable_view().slice(0, 0, 2), {}, {}},
          "rms: shape is [2], must be that of the rows of [3, 64]");
  refused(x.view(), DType::kInt8, 32, code, scale, {rms.mutable_view(), rms.mutable_view(), {}},
          "largest: overlaps rms");
  refused(x.view(), DType::kInt8, 32, code, x.mutable_view().slice(1, 0, 2), none,
          "scales: overlaps x");
  says(dequantize(x.view(), scales.view(), 32, y.mutable_view(), context),
       "codes: dtype is f32, must be int8");
  says(dequantize(code, scales.view(), 16, y.mutable_view(), context), "scales: shape");
  says(dequantize(code, scales.view(), 32, y.mutable_view().slice(0, 0, 2), context),
       "codes: shape is [3, 64], must be that of y, [2, 64]");
  MutableTensorView two_a_byte = code.slice(1, 0, 32);
  two_a_byte.dtype = DType::kInt4;
  refused(x.view(), DType::kInt8, 32, two_a_byte, scale, none,
          "codes: dtype is int4, must be int8");
  refused(x.view(), DType::kInt4, 32, two_a_byte.slice(1, 0, 31), scale, none,
          "codes: shape is [3, 31], must have 32 bytes of two codes in place of the last of x, "
          "[3, 64]");
  says(dequantize(two_a_byte.slice(0, 0, 2), scales.view(), 32, y.mutable_view(), context),
       "codes: shape is [2, 32], must have 32 bytes");
  says(dequantize(two_a_byte, scales.view(), 0, y.mutable_view(), context), "scales: shape");
  says(dequantize(code, scales.view(), 32, MutableTensorView(halves, {3, 2}), context), "y: dtype");
  const auto cost = [&](const PackOptions& options) {
    return storage_error(x.view(), WeightLayout::kOutIn, options, {}, context).status();
  };
  says(cost({DType::kInt8, 33}), "group: is 33, must be 0, 16, 32, 64 or 128 for int8");
  says(cost({DType::kInt4, 0}), "group: is 0, must be 16, 32, 64 or 128 for int4");
  says(cost({DType::kBF16, 32}), "group: is 32, must be 0 for bf16");
  says(cost({DType::kI32, 0}), "dtype: is i32, must be f32, f16, bf16, int8 or int4");
  says(storage_error(rms.view(), WeightLayout::kOutIn, {}, {}, context).status(),
       "b: rank is 1, must be 2");
  CHECK(scales.AllUntouched());
  CHECK(rms.AllUntouched());
  CHECK(y.AllUntouched());
  CHECK(codes.Dense() == std::vector<int8_t>(3 * 64, int8_t{99}));
}

TEST_CASE("quantizing nothing costs nothing") {
  Context context;
  float number = 1.0f;
  int8_t code = 5;
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (const size_t group : {8u, 0u}) {
      for (const size_t n : {0u, 8u}) {
        const auto error =
            quantize(TensorView(&number, {0, n}), dtype, group, MutableTensorView(&code, {0, n}),
                     MutableTensorView(&number, {0, n / 8}), {}, context);
        RequireOk(error.status());
        CHECK(error->rms == 0.0f);
        CHECK(error->largest == 0.0f);
      }
      float errors[2] = {7.0f, 7.0f};
      const MutableTensorView no_codes(&code, {2, 0}), no_scales(&number, {2, 0});
      const auto empty_rows =
          quantize(TensorView(&number, {2, 0}), dtype, group, no_codes, no_scales,
                   {MutableTensorView(errors, {2}), {}, {}}, context);
      RequireOk(empty_rows.status());
      CHECK(errors[0] == 0.0f);
      CHECK(errors[1] == 0.0f);
      RequireOk(
          dequantize(no_codes, no_scales, group, MutableTensorView(&number, {2, 0}), context));
    }
  }
  CHECK(number == 1.0f);
  CHECK(code == 5);
}

}  // namespace
}  // namespace heed::test
