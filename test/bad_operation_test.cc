// matmul, PackedMatrix, softmax, rope, convert and dropout_mask refuse bad arguments, name them and
// write nothing.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/compare.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
constexpr size_t kHuge = SIZE_MAX;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// A changed copy of a view.
template <class View, class Change>
View With(View view, Change change) {
  change(view);
  return view;
}
template <class View>
View Null(View view) {
  view.data = nullptr;
  return view;
}
template <class View>
View As(DType dtype, View view) {
  view.dtype = dtype;
  return view;
}
template <class View>
View Sized(View view, size_t dim, size_t size) {
  view.shape[dim] = size;
  return view;
}
template <class View>
View Strided(View view, size_t dim, ptrdiff_t stride) {
  view.strides[dim] = stride;
  return view;
}

TEST_CASE("matmul refuses bad arguments, names them and writes nothing") {
  Context context;
  Random random(1);
  Tensor<float> a_data = Normal({3, 8}, random), b_data = Normal({8, 4}, random);
  Tensor<float> bias_data = Normal({4}, random), c_data({3, 4});
  const TensorView a = a_data.view(), b = b_data.view(), bias = bias_data.view();
  const MutableTensorView c = c_data.mutable_view();
  const std::vector<float> a_before = a_data.Dense();
  const Result<PackedMatrix> packed = PackedMatrix::pack(b, WeightLayout::kInOut, context);
  REQUIRE(packed.ok());
  const auto run = [&](const TensorView& x, const TensorView& y, const MutableTensorView& z,
                       const TensorView& added) { return matmul(x, y, z, {added}, context); };
  const auto refused = [&](const Status& status, StatusCode code, const char* name) {
    CHECK(WrongRefusal(status, code, name) == "");
    CHECK(c_data.AllUntouched());
  };
  refused(run({}, b, c, bias), kInvalid, "a");
  refused(run(a, {}, c, bias), kInvalid, "b");
  refused(run(a, b, {}, bias), kInvalid, "c");
  refused(run(Null(a), b, c, bias), kInvalid, "a");
  refused(run(a, Null(b), c, bias), kInvalid, "b");
  refused(run(a, b, Null(c), bias), kInvalid, "c");
  refused(run(a, b, c, Null(bias)), kInvalid, "bias");
  refused(run(a.slice(1, 0, 9), b, c, bias), kInvalid, "a");
  refused(run(bias, b, c, bias), kInvalid, "a");
  refused(run(a, b, c, b), kInvalid, "bias");
  refused(run(As(DType::kI32, a), b, c, bias), kUnsupported, "a");
  refused(run(a, As(DType::kInt8, b), c, bias), kUnsupported, "b");
  refused(run(a, b, As(DType::kI32, c), bias), kUnsupported, "c");
  refused(run(a, b, c, As(DType::kU8, bias)), kUnsupported, "bias");
  refused(run(a.slice(1, 0, 7), b, c, bias), kInvalid, "b");
  refused(run(a, b, c.slice(0, 0, 2), bias), kInvalid, "c");
  refused(run(a, b, c.slice(1, 0, 3), bias), kInvalid, "c");
  refused(run(a, b, c, bias.slice(0, 0, 3)), kInvalid, "bias");
  refused(run(Sized(a, 0, kHuge), b, c, bias), kInvalid, "a");
  refused(run(a, Sized(b, 1, kHuge / 4), c, bias), kInvalid, "b");
  refused(run(a, b, Sized(c, 0, kHuge), bias), kInvalid, "c");
  refused(run(Strided(a, 0, PTRDIFF_MAX), b, c, bias), kInvalid, "a");
  refused(run(a, b, Strided(c, 0, 0), bias), kInvalid, "c");
  refused(run(a, b, Strided(c, 0, 2), bias), kInvalid, "c");
  refused(run(a, b, Strided(Strided(c, 0, 1), 1, 3), bias), kInvalid, "c");
  refused(run(a, b, MutableTensorView(&a_data[5], {3, 4}), bias), kInvalid, "c");
  refused(run(a, b, MutableTensorView(&b_data[31], {3, 4}), bias), kInvalid, "c");
  refused(run(a, b, c, c.slice(0, 1, 2).transpose(0, 1).slice(1, 0, 1)), kInvalid, "bias");
  refused(run(a, b, c, TensorView(&c_data[8], {4})), kInvalid, "c");
  refused(matmul(a.slice(1, 0, 7), *packed, c, {}, context), kInvalid, "a");
  refused(matmul(a, *packed, c.slice(1, 0, 3), {}, context), kInvalid, "c");
  refused(matmul(a, *packed, c, {bias.slice(0, 0, 1)}, context), kInvalid, "bias");
  refused(matmul(a, PackedMatrix(), c, {}, context), kInvalid, "a");
  CHECK(Difference(a_data.Dense(), a_before) == "");
  CHECK(run(a, b, c, bias).ok());
}

TEST_CASE("PackedMatrix::pack refuses bad matrices") {
  Context context;
  Random random(2);
  const Tensor<float> data = Normal({8, 4}, random);
  const TensorView b = data.view();
  const auto refused = [](const Result<PackedMatrix>& result, StatusCode code, const char* name) {
    CHECK(WrongRefusal(result.status(), code, name) == "");
  };
  refused(PackedMatrix::pack(TensorView(), WeightLayout::kInOut, context), kInvalid, "b");
  refused(PackedMatrix::pack(Null(b), WeightLayout::kInOut, context), kInvalid, "b");
  refused(PackedMatrix::pack(b.slice(0, 3, 1), WeightLayout::kInOut, context), kInvalid, "b");
  refused(PackedMatrix::pack(TensorView(&data[0], {32}), WeightLayout::kInOut, context), kInvalid,
          "b");
  refused(PackedMatrix::pack(As(DType::kI32, b), WeightLayout::kInOut, context), kUnsupported, "b");
  refused(PackedMatrix::pack(Sized(b, 0, kHuge), WeightLayout::kInOut, context), kInvalid, "b");
  refused(PackedMatrix::pack(Sized(b, 0, kHuge / 4), WeightLayout::kInOut, context), kInvalid, "b");
  const TensorView no_rows(&data[0], {0, kHuge});  // nothing to read, but no matrix either
  CHECK(!PackedMatrix::pack(no_rows, WeightLayout::kInOut, context).ok());
  const TensorView too_big(&data[0], {size_t{1} << 27, size_t{1} << 27}, {0, 0});
  CHECK(PackedMatrix::pack(too_big, WeightLayout::kInOut, context).status().code() ==
        StatusCode::kOutOfMemory);
  const TensorView parts[] = {b, b.slice(0, 0, 7)};
  refused(PackedMatrix::pack(parts, 2, WeightLayout::kInOut, context), kInvalid, "b");
  CHECK(PackedMatrix::pack(parts, 0, WeightLayout::kInOut, context).status().code() == kInvalid);
  CHECK(PackedMatrix::pack(nullptr, 2, WeightLayout::kInOut, context).status().code() == kInvalid);
}

TEST_CASE("softmax refuses bad arguments, names them and writes nothing") {
  Context context;
  Random random(3);
  Tensor<float> x_data = Normal({3, 8}, random), y_data({3, 8});
  const TensorView x = x_data.view();
  const MutableTensorView y = y_data.mutable_view();
  const std::vector<float> before = x_data.Dense();
  const auto refused = [&](const TensorView& from, const MutableTensorView& to, StatusCode code,
                           const char* name, float scale = 1.0f) {
    SoftmaxOptions options;
    options.scale = scale;
    CHECK(WrongRefusal(softmax(from, to, options, context), code, name) == "");
    CHECK(y_data.AllUntouched());
  };
  refused({}, y, kInvalid, "x");
  refused(x, {}, kInvalid, "y");
  refused(Null(x), y, kInvalid, "x");
  refused(x, Null(y), kInvalid, "y");
  refused(x.slice(0, 0, 4), y, kInvalid, "x");
  refused(With(x, [](TensorView& t) { t.rank = 0; }), y, kInvalid, "x");
  refused(As(DType::kI32, x), y, kUnsupported, "x");
  refused(x, As(DType::kU8, y), kUnsupported, "y");
  refused(x.slice(0, 0, 2), y, kInvalid, "y");
  refused(x.slice(1, 0, 7), y, kInvalid, "y");
  refused(TensorView(&x_data[0], {24}), y, kInvalid, "y");
  refused(Sized(x, 0, kHuge), Sized(y, 0, kHuge), kInvalid, "x");
  refused(Strided(x, 1, 3).slice(1, 0, 2), y.slice(1, 0, 2), kInvalid, "x");
  refused(x, Strided(y, 0, 0), kInvalid, "y");
  refused(x, Strided(y, 0, -7), kInvalid, "y");
  refused(x.slice(1, 0, 4), Strided(y, 1, 2).slice(1, 0, 4), kInvalid, "y");
  refused(x.slice(0, 0, 2), MutableTensorView(&x_data[8], {2, 8}), kInvalid, "y");
  refused(x.slice(1, 0, 7), MutableTensorView(&x_data[1], {3, 7}, {8, 1}), kInvalid, "y");
  refused(x, y, kInvalid, "scale", kNaN);
  refused(x, y, kInvalid, "scale", kInf);
  CHECK(Difference(x_data.Dense(), before) == "");
  CHECK(softmax(x.slice(1, 0, 4), MutableTensorView(&x_data[4], {3, 4}, {8, 1}), {}, context).ok());
}

TEST_CASE("rope refuses bad arguments, names them and writes nothing") {
  Context context;
  Random random(4);
  Tensor<float> x_data = Normal({2, 3, 4, 8}, random), y_data({2, 3, 4, 8});
  Tensor<int32_t> at_data({2, 3});
  at_data.Assign({0, 1, 2, 3, 4, 5});
  const TensorView x = x_data.view(), at = at_data.view();
  const MutableTensorView y = y_data.mutable_view();
  const std::vector<float> before = x_data.Dense();
  const auto refused = [&](const TensorView& from, const TensorView& positions,
                           const MutableTensorView& to, const RopeOptions& options, StatusCode code,
                           const char* name) {
    CHECK(WrongRefusal(rope(from, positions, to, options, context), code, name) == "");
    CHECK(y_data.AllUntouched());
  };
  refused({}, at, y, {}, kInvalid, "x");
  refused(x, {}, y, {}, kInvalid, "positions");
  refused(x, at, {}, {}, kInvalid, "y");
  refused(Null(x), at, y, {}, kInvalid, "x");
  refused(x, Null(at), y, {}, kInvalid, "positions");
  refused(x, at, Null(y), {}, kInvalid, "y");
  refused(As(DType::kInt8, x), at, y, {}, kUnsupported, "x");
  refused(x, As(DType::kF32, at), y, {}, kUnsupported, "positions");
  refused(x.slice(2, 0, 3), at, y, {}, kInvalid, "y");
  refused(x, at.slice(1, 0, 2), y, {}, kInvalid, "positions");
  refused(x, at.slice(0, 0, 1), y, {}, kInvalid, "positions");
  refused(x, TensorView(&at_data[0], {2}), y, {}, kInvalid, "positions");
  refused(Sized(x, 1, kHuge), at, y, {}, kInvalid, "x");
  refused(x, at, Strided(y, 2, 0), {}, kInvalid, "y");
  refused(x, at, Strided(y, 3, 2).slice(3, 0, 2), {}, kInvalid, "y");
  refused(x.slice(3, 0, 7), at, y.slice(3, 0, 7), {}, kInvalid, "rope_dim");
  refused(x, at, y, {3}, kInvalid, "rope_dim");
  refused(x, at, y, {10}, kInvalid, "rope_dim");
  refused(x, at, y, {kHuge - 1}, kInvalid, "rope_dim");
  for (double theta : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                       std::numeric_limits<double>::infinity()}) {
    refused(x, at, y, {0, theta}, kInvalid, "theta");
  }
  refused(x.slice(0, 0, 1), at.slice(0, 0, 1), MutableTensorView(&x_data[8], {1, 3, 4, 8}), {},
          kInvalid, "y");
  refused(x, TensorView(reinterpret_cast<int32_t*>(&y_data[0]), {2, 3}), y, {}, kInvalid,
          "positions");
  at_data[5] = -1;
  refused(x, at, y, {}, kInvalid, "positions");
  CHECK(Difference(x_data.Dense(), before) == "");
}

TEST_CASE("convert refuses bad arguments, names them and writes nothing") {
  Context context;
  Random random(5);
  Tensor<float> from_data = Normal({3, 4}, random), to_data({3, 4});
  const TensorView from = from_data.view();
  const MutableTensorView to = to_data.mutable_view();
  const auto refused = [&](const TensorView& a, const MutableTensorView& b, StatusCode code,
                           const char* name) {
    CHECK(WrongRefusal(convert(a, b, context), code, name) == "");
    CHECK(to_data.AllUntouched());
  };
  refused({}, to, kInvalid, "from");
  refused(from, {}, kInvalid, "to");
  refused(Null(from), to, kInvalid, "from");
  refused(from, Null(to), kInvalid, "to");
  refused(As(DType::kU8, from), to, kUnsupported, "from");
  refused(from, As(DType::kI32, to), kUnsupported, "to");
  refused(from.slice(0, 0, 2), to, kInvalid, "to");
  refused(TensorView(&from_data[0], {12}), to, kInvalid, "to");
  refused(Sized(from, 0, kHuge), Sized(to, 0, kHuge), kInvalid, "from");
  refused(from, Strided(to, 0, 0), kInvalid, "to");
  refused(from, MutableTensorView(&from_data[0], {3, 4}, {4, 1}), kInvalid, "to");
}

TEST_CASE("dropout_mask refuses bad arguments, names them and writes nothing") {
  Tensor<float> data({1, 2, 3, 4});
  const MutableTensorView mask = data.mutable_view();
  const auto refused = [&](float probability, const MutableTensorView& view, StatusCode code,
                           const char* name) {
    CHECK(WrongRefusal(dropout_mask(probability, 1, view), code, name) == "");
    CHECK(data.AllUntouched());
  };
  for (float bad : {-0.5f, 1.0f, 7.0f, kNaN}) refused(bad, mask, kInvalid, "probability");
  refused(0.5f, {}, kInvalid, "mask");
  refused(0.5f, Null(mask), kInvalid, "mask");
  refused(0.5f, mask.slice(1, 0, 3), kInvalid, "mask");
  refused(0.5f, As(DType::kBF16, mask), kUnsupported, "mask");
  refused(0.5f, Strided(mask, 1, 0), kInvalid, "mask");
  refused(0.5f, Sized(mask, 2, kHuge), kInvalid, "mask");
  refused(0.5f, MutableTensorView(&data[0], {3, 4}), kInvalid, "mask");
}

}  // namespace
}  // namespace heed::test
