#include "src/c/call.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace heed::inline v1 {
namespace {

// Larger than any struct of options will ever be: what says so is not a struct of options.
constexpr size_t kLargestStruct = 4096;

// Arrays of these are not copied but read as what they are in C++.
#define HEED_SAME_PLACE(c, cpp, field)                        \
  static_assert(offsetof(c, field) == offsetof(cpp, field) && \
                sizeof(c::field) == sizeof(cpp::field))
static_assert(sizeof(heed_tensor) == sizeof(TensorView) && std::is_standard_layout_v<TensorView>);
HEED_SAME_PLACE(heed_tensor, TensorView, data);
HEED_SAME_PLACE(heed_tensor, TensorView, dtype);
HEED_SAME_PLACE(heed_tensor, TensorView, rank);
HEED_SAME_PLACE(heed_tensor, TensorView, shape);
HEED_SAME_PLACE(heed_tensor, TensorView, strides);
static_assert(std::is_standard_layout_v<MutableTensorView>);
static_assert(sizeof(heed_attention_state) == sizeof(AttentionState));
HEED_SAME_PLACE(heed_attention_state, AttentionState, max);
HEED_SAME_PLACE(heed_attention_state, AttentionState, sum);
HEED_SAME_PLACE(heed_attention_state, AttentionState, acc);
static_assert(sizeof(heed_quantized_view) == sizeof(QuantizedView));
HEED_SAME_PLACE(heed_quantized_view, QuantizedView, codes);
HEED_SAME_PLACE(heed_quantized_view, QuantizedView, scales);
static_assert(sizeof(heed_gguf_matrix) == sizeof(GgufMatrix));
HEED_SAME_PLACE(heed_gguf_matrix, GgufMatrix, blocks);
HEED_SAME_PLACE(heed_gguf_matrix, GgufMatrix, bytes);
HEED_SAME_PLACE(heed_gguf_matrix, GgufMatrix, type);
HEED_SAME_PLACE(heed_gguf_matrix, GgufMatrix, out);
HEED_SAME_PLACE(heed_gguf_matrix, GgufMatrix, in);
static_assert(sizeof(heed_paged_sequence) == sizeof(PagedSequence));
HEED_SAME_PLACE(heed_paged_sequence, PagedSequence, slot);
HEED_SAME_PLACE(heed_paged_sequence, PagedSequence, serial);
#undef HEED_SAME_PLACE
static_assert(sizeof(heed_error::message) == Status::kMaxMessage + 1);
static_assert(sizeof(heed_tensor::shape) / sizeof(size_t) == HEED_MAX_RANK &&
              HEED_MAX_RANK == kMaxRank);

}  // namespace

heed_status Report(const Status& status, heed_error* error) {
  const auto code = static_cast<heed_status>(status.code());
  if (error != nullptr) {
    error->code = code;
    std::memcpy(error->message, status.message(), std::strlen(status.message()) + 1);
  }
  return code;
}

Status CheckPointer(const char* name, const void* pointer) {
  if (pointer != nullptr) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: is null", name);
}

Status CheckArray(const char* name, const void* pointer, size_t count) {
  if (pointer != nullptr || count == 0) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: is null, must point to %zu", name, count);
}

bool IsStructSize(size_t size) {
  return size >= sizeof(size_t) && size <= kLargestStruct && size % alignof(size_t) == 0;
}

Status WrongStructSize(const char* name, size_t size) {
  return Status::Error(
      StatusCode::kInvalidArgument,
      "%s: struct_size is %zu, must be sizeof of the struct, which its heed_..._init sets", name,
      size);
}

Status ReadStruct(const char* name, const void* given, size_t known, void* options) {
  size_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  if (!IsStructSize(size)) return WrongStructSize(name, size);
  const auto* bytes = static_cast<const uint8_t*>(given);
  for (size_t i = known; i < size; ++i) {
    if (bytes[i] == 0) continue;
    return Status::Error(StatusCode::kUnsupported,
                         "%s: sets a field at byte %zu, which this version of heed, of %zu bytes, "
                         "does not have",
                         name, i, known);
  }
  std::memcpy(options, given, std::min(size, known));
  return Status();
}

void WriteStruct(const void* options, size_t known, void* to, size_t size) {
  if (to == nullptr || size < sizeof(size_t)) return;
  if (!IsStructSize(size)) {
    std::memset(to, 0, sizeof(size_t));
    return;
  }
  std::memcpy(to, options, std::min(size, known));
  if (size > known) std::memset(static_cast<uint8_t*>(to) + known, 0, size - known);
  std::memcpy(to, &size, sizeof(size));
}

TensorView View(const heed_tensor* tensor) {
  TensorView view;
  if (tensor != nullptr) std::memcpy(static_cast<void*>(&view), tensor, sizeof(view));
  return view;
}

heed_tensor ToC(const TensorView& view) {
  heed_tensor tensor;
  std::memcpy(&tensor, &view, sizeof(tensor));
  return tensor;
}

MutableTensorView Output(const heed_tensor* tensor) {
  MutableTensorView view;
  static_assert(sizeof(view) == sizeof(*tensor));
  if (tensor != nullptr) std::memcpy(static_cast<void*>(&view), tensor, sizeof(view));
  return view;
}

}  // namespace heed::inline v1
