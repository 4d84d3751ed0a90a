// One group of the corpus on one Context: the source of its inputs, and the digest of its results.
// Inputs are drawn with integers and plain IEEE operations, never with libm or <random>, whose
// numbers differ between libraries. Draws are statements of their own, as the order in which a call's
// arguments are evaluated is the compiler's.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "heed/context.hpp"
#include "heed/convert.hpp"
#include "heed/status.hpp"
#include "tools/conformance/digest.h"
#include "tools/conformance/float_tensor.h"
#include "tools/conformance/random.h"
#include "tools/conformance/tensor.h"

namespace heed::bits {

using test::Layout;
using test::Tensor;

class Run {
 public:
  // `flip_a_bit`: of the first result, to see that a difference is noticed.
  Run(Context& on, uint64_t seed, bool flip_a_bit)
      : context(on), random_(seed), flip_(flip_a_bit ? 1 : 0) {}

  size_t Below(size_t n) { return random_.Below(n); }
  size_t Between(size_t least, size_t most) { return least + random_.Below(most - least + 1); }
  bool OneIn(size_t n) { return random_.Below(n) == 0; }
  uint32_t Bits() { return static_cast<uint32_t>(random_.Bits() >> 32); }
  template <class T, size_t n>
  T OneOf(const T (&values)[n]) {
    return values[random_.Below(n)];
  }
  float Normal() { return random_.Normal(); }
  Layout AnyLayout() { return OneOf(test::kAllLayouts); }
  Layout UnitStrideLayout() { return OneOf(test::kUnitStrideLayouts); }

  Tensor<float> Normal(std::vector<size_t> shape, Layout layout = Layout::kContiguous,
                       float scale = 1.0f) {
    return test::Normal(std::move(shape), random_, layout, scale);
  }
  FloatTensor Stored(DType dtype, const Tensor<float>& values,
                     Layout layout = Layout::kContiguous) {
    FloatTensor stored(dtype, values.shape(), layout);
    Expect(convert(values.view(), stored.mutable_view(), context));
    return stored;
  }
  std::vector<uint8_t> Mask(size_t n, size_t one_hidden_in) {
    std::vector<uint8_t> mask(n);
    for (uint8_t& x : mask) x = OneIn(one_hidden_in) ? 0 : 1;
    return mask;
  }

  // Every call must succeed; the first refusal is the group's status.
  bool Expect(const Status& status) {
    if (status_.ok()) status_ = status;
    return status.ok();
  }

  // Elements in row-major order.
  template <class T>
  void Add(const Tensor<T>& results) {
    for (const T& x : results.Dense()) {
      if constexpr (sizeof(T) == 4) {
        AddFloat(std::bit_cast<uint32_t>(x), 4, 0x7F800000u);
      } else if constexpr (sizeof(T) == 1) {
        AddBits(static_cast<uint8_t>(x), 1);
      } else {
        AddFloat(x.bits, 2, DTypeOf<T>::value == DType::kF16 ? 0x7C00u : 0x7F80u);
      }
    }
  }
  void Add(const FloatTensor& results) {
    results.With([&](const auto& tensor) { Add(tensor); });
  }
  void Add(float result) { AddFloat(std::bit_cast<uint32_t>(result), 4, 0x7F800000u); }
  void Add(std::span<const uint8_t> bytes) {
    for (uint8_t byte : bytes) AddBits(byte, 1);
  }

  const Status& status() const { return status_; }
  uint64_t digest() const { return digest_.value(); }

  Context& context;

 private:
  // A NaN is a NaN: heed/numerics.hpp leaves its sign and payload open.
  void AddFloat(uint32_t bits, size_t bytes, uint32_t infinity) {
    const uint32_t sign = 1u << (8 * bytes - 1);
    if ((bits & ~sign) > infinity) bits = infinity | infinity >> 1;
    AddBits(bits, bytes);
  }
  void AddBits(uint32_t bits, size_t bytes) { digest_.Add(bits ^ std::exchange(flip_, 0u), bytes); }

  test::Random random_;
  Digest digest_;
  Status status_;
  uint32_t flip_;
};

}  // namespace heed::bits
