// Where memory comes from: the heap, here alone, or the caller.
#pragma once

#include <cstddef>
#include <memory>
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

struct FreeFloats {
  void operator()(float* p) const { Free(p); }
};
using Floats = std::unique_ptr<float[], FreeFloats>;

Floats AllocateFloats(size_t count);

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
