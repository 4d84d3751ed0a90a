// Where memory comes from: the heap, here alone, or the caller.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

#include "heed/context.hpp"
#include "heed/status.hpp"
#include "src/base/arena.h"

namespace heed::inline v1 {

// 64-byte aligned, uninitialized; null when there is no memory. Large ones lie in huge pages where
// the system gives them to who asks (Linux). C's heap, so that C programs need no C++ library.
void* Allocate(size_t bytes);
void Free(void* memory);

// Memory of the heap that goes with its holder. std::unique_ptr would leave functions of its own in
// the archive where the compiler does not inline them.
class HeapMemory {
 public:
  HeapMemory() = default;
  ~HeapMemory() { Free(data_); }
  HeapMemory(const HeapMemory&) = delete;
  HeapMemory& operator=(const HeapMemory&) = delete;

  void* get() const { return data_; }
  // What was held is freed first, so that old and new are never held together.
  void* Replace(size_t bytes) {
    Free(data_);
    return data_ = Allocate(bytes);
  }

 private:
  void* data_ = nullptr;
};

// n floats of 0. Compiled for size, std::fill_n would set one at a time.
inline void SetZero(float* x, size_t n) { std::memset(x, 0, n * sizeof(float)); }

// An object on the heap; null when there is no memory.
template <class T>
T* New() {
  static_assert(alignof(T) <= Arena::kAlignment);
  void* memory = Allocate(sizeof(T));
  return memory != nullptr ? new (memory) T : nullptr;
}

template <class T>
void Delete(T* object) {
  if (object == nullptr) return;
  object->~T();
  Free(object);
}

// Whether what is made lies on the heap.
inline bool IsHeap(const Memory& memory) { return memory.data == nullptr && memory.bytes == 0; }

// That the caller's memory is there, is aligned, and has so many bytes.
Status CheckMemory(const Memory& memory, size_t bytes);

// What lies at the start of the memory that it lives in with all it has: on the heap, or the
// caller's.
struct Placed {
  bool on_heap = false;
  alignas(void*) unsigned char handle[2 * sizeof(void*)] = {};  // for C: see Keep in src/c/call.h
};

template <class T>
void Remove(T* placed) {
  const bool on_heap = placed->on_heap;
  placed->~T();
  if (on_heap) Free(placed);
}

}  // namespace heed::inline v1
