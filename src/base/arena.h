// Memory of one call, handed out piece after piece.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed::inline v1 {

// Without memory an arena only counts. So one function lays out what an operation needs, and says
// beforehand how many bytes that is: see Context::Impl::Reserve. Copies go on from the same place,
// so what one operation has finished with, the next can use again.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

  Arena() = default;  // counts
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

  // As many as the product of `sizes`: uninitialized, aligned to kAlignment; null while counting.
  template <class T, class... Sizes>
  T* Take(Sizes... sizes) {
    static_assert(alignof(T) <= kAlignment);
    void* at = memory_ == nullptr ? nullptr : memory_ + used_;
    size_t bytes = sizeof(T);
    const bool overflows = (__builtin_mul_overflow(bytes, size_t{sizes}, &bytes) || ...);
    if (overflows || __builtin_add_overflow(bytes, kAlignment - 1, &bytes) ||
        __builtin_add_overflow(used_, bytes / kAlignment * kAlignment, &used_)) {
      used_ = kTooMuch;
    }
    return static_cast<T*>(at);
  }

  // The same, or null where the piece is not needed.
  template <class T, class... Sizes>
  T* TakeIf(bool needed, Sizes... sizes) {
    return needed ? Take<T>(sizes...) : nullptr;
  }

  bool counts() const { return memory_ == nullptr; }
  // Whether both hand out the same memory, whatever they have handed out.
  bool IsAt(const Arena& other) const { return memory_ == other.memory_; }

  // Bytes taken, a multiple of kAlignment; more than any allocation gives when a size overflowed.
  size_t used() const { return used_; }

 private:
  static constexpr size_t kTooMuch = SIZE_MAX / kAlignment * kAlignment;
  char* memory_ = nullptr;
  size_t used_ = 0;
};

}  // namespace heed::inline v1
