// Tensors of test data in memory layouts that views can describe and kernels must cope with.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <utility>
#include <vector>

#include "heed/tensor.hpp"
#include "tools/conformance/guarded.h"
#include "tools/conformance/random.h"
#include "tools/conformance/sanitized.h"

namespace heed::test {

enum class Layout {
  kContiguous,  // row-major
  kPadded,      // row-major with gaps after every row, matrix, ...
  kSwapped,    // the two dimensions before the last exchanged in memory (heads before tokens), gaps
  kBackwards,  // as kPadded, every dimension but the last running backwards
  kLastFirst,  // the last dimension outermost (for a matrix: the transpose), gaps
  kScattered,  // as kPadded, with a stride of -3 along the last dimension
};

inline constexpr Layout kUnitStrideLayouts[] = {Layout::kContiguous, Layout::kPadded,
                                                Layout::kSwapped, Layout::kBackwards};
inline constexpr Layout kAllLayouts[] = {Layout::kContiguous, Layout::kPadded,
                                         Layout::kSwapped,    Layout::kBackwards,
                                         Layout::kLastFirst,  Layout::kScattered};

// What untouched memory holds: a NaN, so that what heed should not read shows in the result.
inline constexpr uint32_t kUntouched = 0x7FC0BEEF;

// A tensor of T (float, f16, bf16, int32_t or a byte), at first full of kUntouched or its last byte,
// as are the gaps between its elements and (unless a guard page or a sanitizer watches the ends) a
// guard zone on either side.
template <class T>
class Tensor {
 public:
  explicit Tensor(std::vector<size_t> shape, Layout layout = Layout::kContiguous)
      : shape_(std::move(shape)), strides_(shape_.size()) {
    Place(layout);
  }

  size_t size() const { return size_; }
  const std::vector<size_t>& shape() const { return shape_; }

  TensorView view() const {
    return TensorView(data_.data() + origin_, DTypeOf<T>::value, shape_.data(), shape_.size(),
                      strides_.data(), strides_.size());
  }
  MutableTensorView mutable_view() {
    return MutableTensorView(data_.data() + origin_, DTypeOf<T>::value, shape_.data(),
                             shape_.size(), strides_.data(), strides_.size());
  }

  // Element i in row-major order.
  T& operator[](size_t i) { return data_[Offset(i)]; }
  const T& operator[](size_t i) const { return data_[Offset(i)]; }

  // All elements in row-major order.
  std::vector<T> Dense() const {
    std::vector<T> dense;
    dense.reserve(size_);
    ForEachOffset([&](size_t offset) { dense.push_back(data_[offset]); });
    return dense;
  }
  void Assign(const std::vector<T>& dense) {
    size_t i = 0;
    ForEachOffset([&](size_t offset) { data_[offset] = dense[i++]; });
  }

  Tensor& FillNormal(Random& random, float scale = 1.0f) {
    ForEachOffset([&](size_t offset) { data_[offset] = random.Normal() * scale; });
    return *this;
  }

  void Reset() { std::fill(data_.begin(), data_.end(), Untouched()); }

  // Whether everything around and between the elements is as it was.
  bool GapsIntact() const {
    std::vector<bool> element(data_.size());
    ForEachOffset([&](size_t offset) { element[offset] = true; });
    for (size_t i = 0; i < data_.size(); ++i) {
      if (!element[i] && !Same(data_[i], Untouched())) return false;
    }
    return true;
  }
  bool AllUntouched() const {
    return std::all_of(data_.begin(), data_.end(), [](T x) { return Same(x, Untouched()); });
  }

 private:
  static constexpr size_t kGuardZone = HEED_TEST_SANITIZED ? 0 : 64;

  static T Untouched() {
    if constexpr (sizeof(T) == 4) {
      return std::bit_cast<T>(kUntouched);
    } else if constexpr (sizeof(T) == 1) {
      return std::bit_cast<T>(static_cast<uint8_t>(kUntouched));
    } else {
      return T{static_cast<uint16_t>(kUntouched >> 16)};
    }
  }
  static bool Same(T a, T b) {
    if constexpr (sizeof(T) == 4) {
      return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    } else if constexpr (sizeof(T) == 1) {
      return a == b;
    } else {
      return a.bits == b.bits;
    }
  }

  void Place(Layout layout) {
    const size_t rank = shape_.size();
    std::vector<size_t> order(rank);  // dimensions from the outermost in memory to the innermost
    for (size_t i = 0; i < rank; ++i) order[i] = i;
    if (layout == Layout::kSwapped && rank >= 3) std::swap(order[rank - 2], order[rank - 3]);
    if (layout == Layout::kLastFirst) std::rotate(order.begin(), order.end() - 1, order.end());
    const size_t gap = layout == Layout::kContiguous ? 0 : 3;
    size_t step = layout == Layout::kScattered ? 3 : 1;
    size_t last = 0;  // offset of the last element, with all strides positive
    size_ = 1;
    for (size_t i = rank; i-- > 0;) {
      const size_t dim = order[i], n = shape_[dim];
      const bool reversed = (layout == Layout::kBackwards && dim + 1 < rank) ||
                            (layout == Layout::kScattered && dim + 1 == rank);
      strides_[dim] = static_cast<ptrdiff_t>(step) * (reversed ? -1 : 1);
      size_ *= n;
      last += n == 0 ? 0 : (n - 1) * step;
      step = std::max<size_t>(n, 1) * step + gap;
    }
    const bool on_heap = data_.get_allocator().placement() == Placement::kHeap;
    const size_t zone = on_heap ? kGuardZone : 0;
    origin_ = zone;
    for (size_t dim = 0; dim < rank; ++dim) {
      if (strides_[dim] < 0 && shape_[dim] > 0) {
        origin_ += (shape_[dim] - 1) * static_cast<size_t>(-strides_[dim]);
      }
    }
    data_.assign(2 * zone + (size_ == 0 ? 0 : last + 1), Untouched());
    if (size_ == 0) origin_ = 0;
  }

  // f(offset) for all elements in row-major order.
  template <class F>
  void ForEachOffset(F f) const {
    const size_t row = shape_.empty() ? 1 : shape_.back();
    const ptrdiff_t step = shape_.empty() ? 0 : strides_.back();
    for (size_t i = 0; i < size_; i += row) {
      auto offset = static_cast<ptrdiff_t>(Offset(i));
      for (size_t j = 0; j < row; ++j, offset += step) f(static_cast<size_t>(offset));
    }
  }

  size_t Offset(size_t i) const {
    ptrdiff_t offset = static_cast<ptrdiff_t>(origin_);
    for (size_t dim = shape_.size(); dim-- > 0;) {
      offset += static_cast<ptrdiff_t>(i % shape_[dim]) * strides_[dim];
      i /= shape_[dim];
    }
    return static_cast<size_t>(offset);
  }

  std::vector<size_t> shape_;
  std::vector<ptrdiff_t> strides_;
  size_t size_ = 0;
  size_t origin_ = 0;
  PlacedVector<T> data_;
};

// A float tensor of normal values.
inline Tensor<float> Normal(std::vector<size_t> shape, Random& random,
                            Layout layout = Layout::kContiguous, float scale = 1.0f) {
  Tensor<float> tensor(std::move(shape), layout);
  tensor.FillNormal(random, scale);
  return tensor;
}

}  // namespace heed::test
