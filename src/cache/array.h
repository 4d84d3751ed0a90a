// A growing array of plain values that reports when there is no memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "src/base/memory.h"

namespace heed::inline v1 {

template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() {
    if (!fixed_) Free(data_);
  }

  // Instead of growing: room for so many values, which are someone else's.
  void Use(T* data, size_t count) {
    data_ = data;
    capacity_ = count;
    fixed_ = true;
  }

  // Room for `count` values in all; false, and nothing has changed, when there is no memory.
  [[nodiscard]] bool Reserve(size_t count) {
    if (count <= capacity_) return true;
    if (fixed_ || count > PTRDIFF_MAX / sizeof(T) / 2) return false;
    const size_t grown = std::max(count, 2 * capacity_);  // so that growing costs O(1) a value
    void* data = Allocate(grown * sizeof(T));
    if (data == nullptr) return false;
    if (size_ > 0) std::memcpy(data, data_, size_ * sizeof(T));
    Free(data_);
    data_ = static_cast<T*>(data);
    capacity_ = grown;
    return true;
  }

  void Push(T value) { data_[size_++] = value; }  // into reserved room
  T Pop() { return data_[--size_]; }
  void Resize(size_t size) { size_ = size; }  // within reserved room

  size_t size() const { return size_; }
  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
  bool fixed_ = false;
};

}  // namespace heed::inline v1
