// Numbers quantized and read again, what that costs, and the turn before it.
#include <limits>

#include "heed/hadamard.hpp"
#include "heed/quantize.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

void AddError(Run& run, const Result<QuantizationError>& error) {
  if (!run.Expect(error.status())) return;
  run.Add(error->rms);
  run.Add(error->largest);
  run.Add(error->relative);
}

struct Errors {
  explicit Errors(const std::vector<size_t>& shape) : rms(shape), largest(shape), relative(shape) {}
  RowErrors view() { return {rms.mutable_view(), largest.mutable_view(), relative.mutable_view()}; }
  void AddTo(Run& run) const {
    for (const Tensor<float>* each : {&rms, &largest, &relative}) run.Add(*each);
  }

  Tensor<float> rms, largest, relative;
};

// Normal numbers, some with ties, zeros of both signs, outliers, and what makes a group NaN. None so
// far apart that an error, beside the largest, is subnormal.
Tensor<float> Draw(Run& run, size_t rows, size_t n) {
  const Layout layout = run.AnyLayout();
  Tensor<float> x = run.Normal({2, rows, n}, layout, run.OneOf({1.0f, 1e-3f, 300.0f}));
  if (run.OneIn(4)) {
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = 0.5f * static_cast<float>(static_cast<int>(run.Below(33)) - 16);
    }
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (run.OneIn(3)) {
    x[run.Below(x.size())] =
        run.OneOf({kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 1e20f, -1e6f});
  }
  if (run.OneIn(4)) {
    for (size_t i = 0; i < n; ++i) x[n + i] = i % 2 == 0 ? 0.0f : -0.0f;
  }
  return x;
}

void QuantizeRows(Run& run, DType dtype, size_t group, size_t n) {
  const size_t rows = run.Between(1, 3);
  const size_t groups = group == 0 ? 1 : (n + group - 1) / group;
  const DType given = run.OneOf(kFloatTypes);
  const DType scale_dtype = dtype == DType::kInt4 && run.OneIn(2) ? DType::kF16 : DType::kF32;
  const Layout layout = run.AnyLayout();
  const FloatTensor x = run.Stored(given, Draw(run, rows, n), layout);
  Tensor<int8_t> codes({2, rows, n}, layout);
  FloatTensor scales(scale_dtype, {2, rows, groups}, layout);
  Tensor<float> y({2, rows, n}, layout);
  Errors errors({2, rows});
  AddError(run, quantize(x.view(), dtype, group, codes.mutable_view(), scales.mutable_view(),
                         errors.view(), run.context));
  run.Expect(dequantize(codes.view(), scales.view(), group, y.mutable_view(), run.context));
  run.Add(codes);
  run.Add(scales);
  errors.AddTo(run);
  run.Add(y);
}

void Quantize(Run& run, DType dtype, const std::vector<size_t>& groups) {
  for (const size_t group : groups) {
    for (const size_t n : {1u, 15u, 16u, 31u, 32u, 33u, 65u, 127u, 130u, 257u}) {
      QuantizeRows(run, dtype, group, n);
    }
  }
  for (size_t i = 0; i < 4; ++i) {  // a matrix, which is not packed
    const WeightLayout layout = i % 2 == 0 ? WeightLayout::kInOut : WeightLayout::kOutIn;
    const size_t out = run.Between(1, 40);
    const size_t in = run.Between(1, 140);
    const bool out_in = layout == WeightLayout::kOutIn;
    const Tensor<float> b = run.Normal(out_in ? std::vector{out, in} : std::vector{in, out});
    Errors errors({out});
    AddError(run, storage_error(b.view(), layout, {.dtype = dtype, .group = 32}, errors.view(),
                                run.context));
    errors.AddTo(run);
  }
}

}  // namespace

void QuantizeInt8(Run& run) { Quantize(run, DType::kInt8, {0, 16, 32, 128}); }
void QuantizeInt4(Run& run) { Quantize(run, DType::kInt4, {0, 16, 32, 128}); }

void Hadamard(Run& run) {
  for (const size_t n : {1u, 2u, 24u, 64u, 96u, 128u, 256u}) {
    for (size_t i = 0; i < 4; ++i) {
      const Layout layout = run.UnitStrideLayout();
      const size_t rows = run.Between(1, 5);
      Tensor<float> x = run.Normal({2, rows, n}, layout);
      Tensor<float> y(x.shape(), run.UnitStrideLayout());
      if (i % 2 == 0) {
        run.Expect(hadamard(x.view(), y.mutable_view(), run.context));
        run.Add(y);
      } else {
        run.Expect(hadamard(x.view(), x.mutable_view(), run.context));
        run.Add(x);
      }
    }
  }
}

}  // namespace heed::bits
