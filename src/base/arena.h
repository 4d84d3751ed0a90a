// Memory of one call, handed out piece after piece.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed {

// Without memory an arena only counts. So one function lays out what an operation needs, and says
// beforehand how many bytes that is: see Context::Impl::Reserve. Copies go on from the same place, so
// what one operation has finished with, the next can use again.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

  Arena() = default;  // counts
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

  // Uninitialized, aligned to kAlignment; null while counting.
  template <class T>
  T* Take(size_t count) {
    static_assert(alignof(T) <= kAlignment);
    void* at = memory_ == nullptr ? nullptr : memory_ + used_;
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, sizeof(T), &bytes) ||
        __builtin_add_overflow(bytes, kAlignment - 1, &bytes) ||
        __builtin_add_overflow(used_, bytes / kAlignment * kAlignment, &used_)) {
      used_ = kTooMuch;
    }
    return static_cast<T*>(at);
  }

  // The same, or null where the piece is not needed.
  template <class T>
  T* TakeIf(bool needed, size_t count) {
    return needed ? Take<T>(count) : nullptr;
  }

  // Bytes taken, a multiple of kAlignment; more than any allocation gives when a size overflowed.
  size_t used() const { return used_; }

 private:
  static constexpr size_t kTooMuch = SIZE_MAX / kAlignment * kAlignment;
  char* memory_ = nullptr;
  size_t used_ = 0;
};

}  // namespace heed
