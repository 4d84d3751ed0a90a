// What functions of the C interface have in common: handles, tensors, structs that say their own
// size, and errors. A handle is the C++ object itself, under a name of C.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include "heed/attention_state.hpp"
#include "heed/heed.h"
#include "heed/heed.hpp"
#include "src/base/check.h"

namespace heed::inline v1 {

// What C functions return and write to `error`, which may be null.
heed_status Report(const Status& status, heed_error* error);

template <class Body>
heed_status Answer(heed_error* error, const Body& body) {
  return Report(body(), error);
}

Status CheckPointer(const char* name, const void* pointer);
// An array, which may be null when it is empty.
Status CheckArray(const char* name, const void* pointer, size_t count);

// Whether some version of a struct of options may have this size.
bool IsStructSize(size_t size);
Status WrongStructSize(const char* name, size_t size);

// Copies a struct that begins with its own size over the defaults in `options`, as far as it goes:
// an older caller's is shorter than `known`, a newer one's is longer and must have nothing but
// zeros there.
Status ReadStruct(const char* name, const void* given, size_t known, void* options);
// The other way round: as much as `size` says, zeros beyond `known`. Sizes that no version of a
// struct has leave one that is refused.
void WriteStruct(const void* options, size_t known, void* to, size_t size);

// A null tensor is absent, which is refused by name where a tensor is needed.
TensorView View(const heed_tensor* tensor);
MutableTensorView Output(const heed_tensor* tensor);
heed_tensor ToC(const TensorView& view);

inline Context* Of(heed_context* context) { return reinterpret_cast<Context*>(context); }
inline const Context* Of(const heed_context* context) {
  return reinterpret_cast<const Context*>(context);
}
inline KvCache* Of(heed_kv_cache* cache) { return reinterpret_cast<KvCache*>(cache); }
inline const KvCache* Of(const heed_kv_cache* cache) {
  return reinterpret_cast<const KvCache*>(cache);
}
inline PagedKvCache* Of(heed_paged_kv_cache* cache) {
  return reinterpret_cast<PagedKvCache*>(cache);
}
inline const PagedKvCache* Of(const heed_paged_kv_cache* cache) {
  return reinterpret_cast<const PagedKvCache*>(cache);
}
inline PackedMatrix* Of(heed_packed_matrix* matrix) {
  return reinterpret_cast<PackedMatrix*>(matrix);
}
inline const PackedMatrix* Of(const heed_packed_matrix* matrix) {
  return reinterpret_cast<const PackedMatrix*>(matrix);
}
inline MultiHeadAttention* Of(heed_multi_head_attention* layer) {
  return reinterpret_cast<MultiHeadAttention*>(layer);
}
inline const MultiHeadAttention* Of(const heed_multi_head_attention* layer) {
  return reinterpret_cast<const MultiHeadAttention*>(layer);
}

// Arrays of views: the same memory read as C++ (src/c/call.cc compares the layouts).
inline const TensorView* Views(const heed_tensor* tensors) {
  return reinterpret_cast<const TensorView*>(tensors);
}

// Of a function that makes a handle: checks where it goes and writes null there first.
template <class Handle>
Status CheckHandleOutput(const char* name, Handle** handle) {
  HEED_RETURN_IF_ERROR(CheckPointer(name, handle));
  *handle = nullptr;
  return Status();
}

// A handle points to a C++ object, which lies in what it owns: so a handle takes no memory but what
// C++ takes, on the heap or of the caller's.
template <class T, class Handle>
Status Keep(Result<T>&& made, Handle** handle) {
  if (!made.ok()) return made.status();
  const auto* const impl = T::Impl::Of(*made);
  static_assert(sizeof(T) <= sizeof(impl->handle) && alignof(T) <= alignof(void*));
  void* const place = const_cast<unsigned char*>(impl->handle);
  *handle = reinterpret_cast<Handle*>(new (place) T(std::move(*made)));
  return Status();
}

template <class T>
void Drop(T* object) {
  if (object != nullptr) T last(std::move(*object));
}

// Null: the heap.
inline Memory ReadMemory(const heed_memory* memory) {
  return memory == nullptr ? Memory{} : Memory{memory->data, memory->bytes};
}

inline Status Give(const Result<size_t>& made, size_t* to) {
  if (made.ok()) *to = *made;
  return made.status();
}

}  // namespace heed::inline v1
