// Conversions between f32, f16 and bf16, over all 16-bit numbers and all boundaries between them.
#include "heed/convert.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "test/support/compare.h"
#include "test/support/float16.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr size_t kAll = 65536;

template <class T>
bool IsNaN(T x) {
  return std::isnan(Widen(x));
}

template <class T>
std::vector<T> Narrowed(const std::vector<float>& values) {
  std::vector<T> to(values.size());
  Context context;
  const Status status = convert(TensorView(values.data(), {values.size()}),
                                MutableTensorView(to.data(), {to.size()}), context);
  REQUIRE(status.ok());
  return to;
}

template <class T>
void CheckWidening() {
  std::vector<T> from(kAll);
  std::vector<float> to(kAll), want(kAll);
  Context context;
  for (size_t i = 0; i < kAll; ++i) {
    from[i].bits = static_cast<uint16_t>(i);
    want[i] = Widen(from[i]);
  }
  REQUIRE(
      convert(TensorView(from.data(), {kAll}), MutableTensorView(to.data(), {kAll}), context).ok());
  CHECK(Difference(to, want) == "");
  const std::vector<T> back = Narrowed<T>(to);
  for (size_t i = 0; i < kAll; ++i) {
    if (IsNaN(from[i]) ? !IsNaN(back[i]) : back[i].bits != from[i].bits) {
      FAIL("0x", i, " came back as 0x", back[i].bits);
    }
  }
}

TEST_CASE("every f16 widens exactly, and narrows back to itself") { CheckWidening<f16>(); }
TEST_CASE("every bf16 widens exactly, and narrows back to itself") { CheckWidening<bf16>(); }

// Between every two neighbours: the middle goes to the even one, just below and above to the
// nearer.
template <class T>
void CheckNarrowing(uint16_t infinity) {
  std::vector<float> values;
  std::vector<uint16_t> want;
  for (uint16_t low = 0; low < infinity; ++low) {
    const uint16_t high = static_cast<uint16_t>(low + 1);
    const double a = Widen(T{low});
    // The neighbour of the largest number is where the next would be, and counts as infinity.
    const double b =
        high == infinity ? 2 * a - Widen(T{static_cast<uint16_t>(low - 1)}) : Widen(T{high});
    const float middle = static_cast<float>((a + b) / 2);
    const uint16_t even = low % 2 == 0 ? low : high;
    values.insert(values.end(), {std::nextafter(middle, 0.0f), middle,
                                 std::nextafter(middle, std::numeric_limits<float>::infinity())});
    want.insert(want.end(), {low, even, high});
  }
  const std::vector<T> got = Narrowed<T>(values);
  for (float& value : values) value = -value;
  const std::vector<T> negative = Narrowed<T>(values);
  size_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    wrong += got[i].bits != want[i] || negative[i].bits != (want[i] | 0x8000);
  }
  CHECK(wrong == 0);
}

TEST_CASE("narrowing to f16 rounds to nearest, ties to even, and overflows to infinity") {
  CheckNarrowing<f16>(0x7C00);
}
TEST_CASE("narrowing to bf16 rounds to nearest, ties to even, and overflows to infinity") {
  CheckNarrowing<bf16>(0x7F80);
}

TEST_CASE("narrowing keeps zeros, infinities and NaN what they are") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0f,
                                     -0.0f,
                                     kInf,
                                     -kInf,
                                     3.4e38f,
                                     std::bit_cast<float>(0x7F800001u),
                                     std::bit_cast<float>(0xFFFFFFFFu),
                                     0x1p-149f};
  const std::vector<f16> half = Narrowed<f16>(values);
  const std::vector<bf16> brain = Narrowed<bf16>(values);
  const uint16_t want_half[] = {0, 0x8000, 0x7C00, 0xFC00, 0x7C00};
  const uint16_t want_brain[] = {0, 0x8000, 0x7F80, 0xFF80};
  for (size_t i = 0; i < std::size(want_half); ++i) CHECK(half[i].bits == want_half[i]);
  for (size_t i = 0; i < std::size(want_brain); ++i) CHECK(brain[i].bits == want_brain[i]);
  for (size_t i : {size_t{5}, size_t{6}}) {
    CHECK(IsNaN(half[i]));
    CHECK(IsNaN(brain[i]));
    CHECK((half[i].bits & 0x0200) != 0);  // quiet
    CHECK((brain[i].bits & 0x0040) != 0);
  }
  CHECK(half[7].bits == 0);
}

TEST_CASE("convert goes between any two formats, in any layout, and copies f32 to f32") {
  Context context;
  Random random(1);
  for (Layout from_layout : kAllLayouts) {
    for (Layout to_layout : kAllLayouts) {
      Tensor<float> x = Normal({2, 3, 5}, random, from_layout), y({2, 3, 5}, to_layout);
      Tensor<f16> half({2, 3, 5}, to_layout);
      Tensor<bf16> brain({2, 3, 5}, from_layout);
      REQUIRE(convert(x.view(), y.mutable_view(), context).ok());
      CHECK(Difference(y.Dense(), x.Dense()) == "");
      REQUIRE(convert(x.view(), half.mutable_view(), context).ok());
      REQUIRE(convert(half.view(), brain.mutable_view(), context).ok());
      for (size_t i = 0; i < x.size(); ++i) {
        CHECK(half[i].bits == Narrowed<f16>({x[i]})[0].bits);
        CHECK(brain[i].bits == Narrowed<bf16>({Widen(half[i])})[0].bits);
      }
      CHECK(y.GapsIntact());
      CHECK(half.GapsIntact());
      CHECK(brain.GapsIntact());
    }
  }
}

TEST_CASE("convert of no element returns at once, however many there are in other dimensions") {
  float* none = nullptr;
  const MutableTensorView to(none, {SIZE_MAX >> 24, 0, 7});
  Context context;
  CHECK(convert(TensorView(none, {SIZE_MAX >> 24, 0, 7}, {0, 0, 0}), to, context).ok());
}

}  // namespace
}  // namespace heed::test
