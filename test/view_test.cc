// Views, Status and Result.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::test {
namespace {

TEST_CASE("a view without strides is row-major and contiguous") {
  float data[24] = {};
  const TensorView view(data, {2, 3, 4});
  CHECK(view.data == data);
  CHECK(view.dtype == DType::kF32);
  REQUIRE(view.rank == 3);
  CHECK(view.shape[1] == 3);
  CHECK(view.strides[0] == 12);
  CHECK(view.strides[1] == 4);
  CHECK(view.strides[2] == 1);
  CHECK(view.num_elements() == 24);
  CHECK(!view.absent());
}

TEST_CASE("a default view is absent, and an empty tensor may have null data without being so") {
  CHECK(TensorView().absent());
  CHECK(MutableTensorView().absent());
  const TensorView empty(static_cast<const float*>(nullptr), {0, 3});
  CHECK(!empty.absent());
  CHECK(empty.num_elements() == 0);
}

TEST_CASE("transpose exchanges two dimensions, slice cuts one") {
  float data[24] = {};
  const MutableTensorView view(data, {2, 3, 4});
  const MutableTensorView turned = view.transpose(0, 2);
  CHECK(turned.shape[0] == 4);
  CHECK(turned.shape[2] == 2);
  CHECK(turned.strides[0] == 1);
  CHECK(turned.strides[2] == 12);
  const MutableTensorView cut = view.slice(1, 1, 3);
  CHECK(cut.mutable_data() == data + 4);
  CHECK(cut.shape[1] == 2);
  CHECK(cut.strides[0] == 12);
  CHECK(view.slice(2, 4, 4).num_elements() == 0);
}

TEST_CASE("impossible views are marked, not undefined") {
  float data[24] = {};
  const size_t six[] = {1, 1, 1, 1, 1, 1};
  const TensorView view(data, {2, 3, 4});
  CHECK(TensorView(data, DType::kF32, six, 6).rank == TensorView::kInvalidRank);
  CHECK(TensorView(data, {2, 3}, {1}).rank == TensorView::kInvalidRank);
  CHECK(view.slice(1, 2, 4).rank == TensorView::kInvalidRank);
  CHECK(view.slice(1, 2, 1).rank == TensorView::kInvalidRank);
  CHECK(view.slice(3, 0, 1).rank == TensorView::kInvalidRank);
  CHECK(view.transpose(0, 3).rank == TensorView::kInvalidRank);
  CHECK(TensorView(data, {2, 3}, {1}).slice(0, 0, 1).rank == TensorView::kInvalidRank);
}

TEST_CASE("a slice whose address can't be computed is marked") {
  float data[24] = {};
  uint8_t bytes[24] = {};
  const TensorView backwards(data + 23, {24}, {-1});
  CHECK(backwards.slice(0, 20, 22).data == data + 3);
  // Offsets that wrap, of which some would land near the data.
  for (const ptrdiff_t stride : {PTRDIFF_MIN, PTRDIFF_MIN / 2, PTRDIFF_MIN / 4 + 1, PTRDIFF_MAX}) {
    CAPTURE(stride);
    CHECK(TensorView(data, {24}, {stride}).slice(0, 4, 5).rank == TensorView::kInvalidRank);
    if (sizeof(size_t) == 8) {  // with less, half of the address space away may be an address
      CHECK(TensorView(bytes, {24}, {stride}).slice(0, 4, 5).rank == TensorView::kInvalidRank);
    }
    CHECK(TensorView(data, {24}, {stride}).slice(0, 0, 1).data == data);
  }
  const TensorView far(data, {SIZE_MAX}, {-4});
  CHECK(far.slice(0, SIZE_MAX / 4 + 1, SIZE_MAX / 4 + 2).rank == TensorView::kInvalidRank);
  CHECK(far.slice(0, SIZE_MAX - 1, SIZE_MAX).rank == TensorView::kInvalidRank);
}

TEST_CASE("a slice without elements keeps the data's address, null too") {
  float data[24] = {};
  const float* none = nullptr;
  CHECK(TensorView(data, {4, 6}).slice(0, 4, 4).data == data);
  CHECK(TensorView(data, {4, 0}).slice(0, 3, 4).data == data);
  CHECK(TensorView(data, {4, 0}, {PTRDIFF_MIN, 1}).slice(0, 3, 4).data == data);
  CHECK(TensorView(none, {4, 0}).slice(0, 3, 4).data == nullptr);
  CHECK(TensorView(none, {4, 0}).slice(0, 3, 4).rank == 2);
}

// heed writes to a MutableTensorView, so it can't be made from what is const.
static_assert(std::is_constructible_v<MutableTensorView, float*, std::initializer_list<size_t>>);
static_assert(
    !std::is_constructible_v<MutableTensorView, const float*, std::initializer_list<size_t>>);
static_assert(!std::is_constructible_v<MutableTensorView, const f16*, std::initializer_list<size_t>,
                                       std::initializer_list<ptrdiff_t>>);
static_assert(
    !std::is_constructible_v<MutableTensorView, const void*, DType, const size_t*, size_t>);
static_assert(!std::is_constructible_v<MutableTensorView, TensorView>);
static_assert(std::is_convertible_v<MutableTensorView, TensorView>);

TEST_CASE("num_elements is SIZE_MAX when the product overflows, and 0 when some size is 0") {
  const float* none = nullptr;
  CHECK(TensorView(none, {SIZE_MAX / 2, 3}).num_elements() == SIZE_MAX);
  CHECK(TensorView(none, {SIZE_MAX, SIZE_MAX, SIZE_MAX, 7}).num_elements() == SIZE_MAX);
  CHECK(TensorView(none, {SIZE_MAX, 0}).num_elements() == 0);
}

TEST_CASE("dtypes have sizes and names") {
  CHECK(size_of(DType::kF32) == 4);
  CHECK(size_of(DType::kF16) == 2);
  CHECK(size_of(DType::kBF16) == 2);
  CHECK(size_of(DType::kI32) == 4);
  CHECK(size_of(DType::kU8) == 1);
  CHECK(std::string(name_of(DType::kBF16)) == "bf16");
  CHECK(std::string(name_of(DType::kF32)) == "f32");
}

TEST_CASE("a Status holds its code and text, cut at kMaxMessage") {
  CHECK(Status().ok());
  CHECK(std::string(Status().message()) == "");
  const Status status = Status::Error(StatusCode::kUnsupported, "%s is %d", "x", 7);
  CHECK(!status.ok());
  CHECK(status.code() == StatusCode::kUnsupported);
  CHECK(std::string(status.message()) == "x is 7");
  const std::string text(1000, 'a');
  const Status cut = Status::Error(StatusCode::kOutOfMemory, "%s", text.c_str());
  CHECK(std::strlen(cut.message()) == static_cast<size_t>(Status::kMaxMessage));
  const Status copy = cut;
  CHECK(std::string(copy.message()) == cut.message());
}

TEST_CASE("a Result holds a value or a Status") {
  const Result<int> value = 3;
  CHECK(value.ok());
  CHECK(*value == 3);
  CHECK(value.status().ok());
  const Result<int> error = Status::Error(StatusCode::kOutOfMemory, "none");
  CHECK(!error.ok());
  CHECK(error.status().code() == StatusCode::kOutOfMemory);
}

}  // namespace
}  // namespace heed::test
