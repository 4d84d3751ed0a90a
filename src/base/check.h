// Checks of arguments. They all run before anything is written; kernels can't fail.
#pragma once

#include <cstddef>
#include <span>

#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// Returns from the enclosing function when `expression` is an error.
#define HEED_RETURN_IF_ERROR(expression)                        \
  do {                                                          \
    if (::heed::Status status_ = (expression); !status_.ok()) { \
      return status_;                                           \
    }                                                           \
  } while (false)

// Whether views of this thread's call may have null data: it measures. Returns what was set before.
bool SetDataIsOptional(bool optional);
bool DataIsOptional();

// "[2, 3, 4]", for messages.
struct ShapeText {
  explicit ShapeText(const TensorView& view);
  char text[96];
};

// A view that can be read: a rank in [min_rank, max_rank], the dtype, a size and strides that fit
// the address space, data unless it is empty.
Status CheckInput(const char* name, const TensorView& view, DType dtype, size_t min_rank,
                  size_t max_rank);
// As above for any of f32, f16 and bf16.
Status CheckFloatInput(const char* name, const TensorView& view, size_t min_rank, size_t max_rank);
// As CheckInput, and no two elements share memory.
Status CheckOutput(const char* name, const MutableTensorView& view, DType dtype, size_t min_rank,
                   size_t max_rank);
// As CheckOutput, and the last dimension has unit stride.
Status CheckRowOutput(const char* name, const MutableTensorView& view, size_t min_rank,
                      size_t max_rank);
// As above for any of f32, f16 and bf16.
Status CheckFloatRowOutput(const char* name, const MutableTensorView& view, size_t min_rank,
                           size_t max_rank);

Status CheckNoOverlap(const char* name, const TensorView& output, const char* other_name,
                      const TensorView& other);

struct NamedView {
  const char* name;
  const TensorView* view;
};

// That no output shares memory with an input or with another output. Views may be absent.
Status CheckNoOverlaps(std::span<const NamedView> outputs, std::span<const NamedView> inputs);

// The same elements in the same order.
bool SameView(const TensorView& a, const TensorView& b);

// Product of sizes; false when it overflows.
bool Product(const size_t* factors, size_t count, size_t* product);

// That this build stores elements of a type that is one of those that are stored, see IsBuilt.
Status CheckBuilt(const char* name, DType dtype);

// That caches can store elements of this type.
Status CheckStored(const char* name, DType dtype);

}  // namespace heed::inline v1
