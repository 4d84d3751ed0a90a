// Memory beside pages that can't be touched: a read or write past the data ends the test. POSIX.
#pragma once

#if !defined(__wasm__) && !defined(_WIN32)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed::test {

enum class Placement {
  kHeap,
  kEndsAtGuard,       // the last element ends where such a page begins
  kBeginsAfterGuard,  // the first element begins where one ends
};

inline const char* NameOf(Placement placement) {
  constexpr const char* kNames[] = {"on the heap", "ending at a guard page",
                                    "beginning after a guard page"};
  return kNames[static_cast<int>(placement)];
}

inline Placement& CurrentPlacement() {
  static thread_local Placement placement = Placement::kHeap;
  return placement;
}

// Where the data of PlacedVectors go that the calling thread makes while this lives.
class Place {
 public:
  explicit Place(Placement placement) : before_(std::exchange(CurrentPlacement(), placement)) {}
  ~Place() { CurrentPlacement() = before_; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

 private:
  Placement before_;
};

// WebAssembly has no pages to protect, and on Windows it is not done: what uses these headers there
// stays on the heap.
#if defined(__wasm__) || defined(_WIN32)

inline void* AllocateGuarded(size_t, Placement) { std::abort(); }
inline void FreeGuarded(void*, size_t) { std::abort(); }

#else

inline size_t PageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

inline size_t RoundUpToPage(size_t bytes) {
  return (bytes + PageBytes() - 1) / PageBytes() * PageBytes();
}

// `bytes` at the end (kEndsAtGuard) or the beginning of pages between two guard pages.
inline void* AllocateGuarded(size_t bytes, Placement placement) {
  const size_t page = PageBytes(), inside = RoundUpToPage(bytes);
  void* mapped =
      mmap(nullptr, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  char* const first = static_cast<char*>(mapped) + page;
  if (mprotect(first, inside, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  return placement == Placement::kEndsAtGuard ? first + inside - bytes : first;
}

inline void FreeGuarded(void* data, size_t bytes) {
  char* const in_first = static_cast<char*>(data);
  char* const first = in_first - reinterpret_cast<uintptr_t>(data) % PageBytes();
  munmap(first - PageBytes(), RoundUpToPage(bytes) + 2 * PageBytes());
}

#endif

template <class T>
class PlacedAllocator {
 public:
  using value_type = T;
  using propagate_on_container_copy_assignment = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  PlacedAllocator() = default;
  template <class U>
  PlacedAllocator(const PlacedAllocator<U>& other) : placement_(other.placement()) {}

  Placement placement() const { return placement_; }
  T* allocate(size_t n) {
    if (placement_ == Placement::kHeap) return std::allocator<T>().allocate(n);
    return static_cast<T*>(AllocateGuarded(n * sizeof(T), placement_));
  }
  void deallocate(T* data, size_t n) {
    if (placement_ == Placement::kHeap) return std::allocator<T>().deallocate(data, n);
    FreeGuarded(data, n * sizeof(T));
  }
  template <class U>
  bool operator==(const PlacedAllocator<U>& other) const {
    return placement_ == other.placement();
  }

 private:
  Placement placement_ = CurrentPlacement();
};

// Its data lie as placed only when they fill its capacity: size it at once, or reserve().
template <class T>
using PlacedVector = std::vector<T, PlacedAllocator<T>>;

}  // namespace heed::test
