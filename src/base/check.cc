#include "src/base/check.h"

#include <cstdint>
#include <cstdio>
#include <utility>

#include "src/kernels/panels.h"

namespace heed::inline v1 {
namespace {

thread_local constinit bool data_is_optional = false;

// Offsets in elements of the first and last byte's element, relative to data; false on overflow.
bool Extent(const TensorView& view, int64_t* low, int64_t* high) {
  *low = *high = 0;
  if (view.rank > kMaxRank) return false;
  for (size_t i = 0; i < view.rank; ++i) {
    if (view.shape[i] <= 1) continue;
    int64_t span = 0;
    if (!std::in_range<int64_t>(view.shape[i]) ||
        __builtin_mul_overflow(static_cast<int64_t>(view.shape[i] - 1), view.strides[i], &span)) {
      return false;
    }
    int64_t* bound = span < 0 ? low : high;
    if (__builtin_add_overflow(*bound, span, bound)) return false;
  }
  return true;
}

// The bytes a view may touch, as addresses [first, last].
bool ByteRange(const TensorView& view, uintptr_t* first, uintptr_t* last) {
  int64_t low = 0, high = 0, low_bytes = 0, high_bytes = 0;
  const auto size = static_cast<int64_t>(size_of(view.dtype));
  if (!Extent(view, &low, &high) || __builtin_mul_overflow(low, size, &low_bytes) ||
      __builtin_mul_overflow(high, size, &high_bytes) ||
      __builtin_add_overflow(high_bytes, size - 1, &high_bytes)) {
    return false;
  }
  const auto base = reinterpret_cast<uintptr_t>(view.data);
  *first = base + static_cast<uintptr_t>(low_bytes);
  *last = base + static_cast<uintptr_t>(high_bytes);
  return *first <= base && base <= *last;
}

struct Dimension {
  size_t size;
  size_t stride;  // absolute value
};

// Dimensions that move, by ascending stride.
size_t SortedDimensions(const TensorView& view, Dimension* dims) {
  size_t count = 0;
  for (size_t i = 0; i < view.rank; ++i) {
    if (view.shape[i] <= 1) continue;
    const ptrdiff_t s = view.strides[i];
    dims[count++] = {view.shape[i],
                     s < 0 ? size_t{0} - static_cast<size_t>(s) : static_cast<size_t>(s)};
  }
  for (size_t i = 1; i < count; ++i) {  // insertion: there are at most four
    for (size_t j = i; j > 0 && dims[j].stride < dims[j - 1].stride; --j)
      std::swap(dims[j], dims[j - 1]);
  }
  return count;
}

bool ElementsAreDistinct(const TensorView& view) {
  Dimension dims[kMaxRank];
  const size_t count = SortedDimensions(view, dims);
  size_t reach = 0;  // largest offset within the smaller dimensions
  for (size_t i = 0; i < count; ++i) {
    if (dims[i].stride <= reach) return false;
    reach += (dims[i].size - 1) * dims[i].stride;
  }
  return true;
}

// How far a view reaches within one `period` bytes when all strides of at least `period` are
// multiples of it; false when they are not.
bool ReachWithin(const TensorView& view, size_t period, size_t* reach) {
  const size_t size = size_of(view.dtype);
  *reach = size;
  for (size_t i = 0; i < view.rank; ++i) {
    if (view.shape[i] <= 1) continue;
    if (view.strides[i] < 0) return false;
    const size_t stride = static_cast<size_t>(view.strides[i]) * size;
    if (stride < period) {
      *reach += (view.shape[i] - 1) * stride;
    } else if (stride % period != 0) {
      return false;
    }
  }
  return *reach <= period;
}

// Slices of one buffer (q, k and v of a fused projection, say) interleave without sharing an
// element: seen modulo a common stride they occupy separate ranges.
bool Interleave(const TensorView& a, const TensorView& b) {
  for (size_t i = 0; i < a.rank; ++i) {
    if (a.shape[i] <= 1 || a.strides[i] <= 0) continue;
    const size_t period = static_cast<size_t>(a.strides[i]) * size_of(a.dtype);
    size_t reach_a = 0, reach_b = 0;
    if (!ReachWithin(a, period, &reach_a) || !ReachWithin(b, period, &reach_b)) continue;
    const auto at_a = reinterpret_cast<uintptr_t>(a.data),
               at_b = reinterpret_cast<uintptr_t>(b.data);
    const size_t distance = at_b >= at_a
                                ? (at_b - at_a) % period  // of b after a, modulo the period
                                : (period - (at_a - at_b) % period) % period;
    if (distance >= reach_a && distance + reach_b <= period) return true;
  }
  return false;
}

Status CheckShape(const char* name, const TensorView& view, size_t min_rank, size_t max_rank) {
  if (view.absent()) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: is missing (null data, no shape)",
                         name);
  }
  if (view.rank == TensorView::kInvalidRank) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: the view is invalid (too many sizes, strides that do not match the "
                         "sizes, or a slice past the end)",
                         name);
  }
  if (view.rank < min_rank || view.rank > max_rank || view.rank > kMaxRank) {
    if (min_rank == max_rank) {
      return Status::Error(StatusCode::kInvalidArgument, "%s: rank is %zu, must be %zu", name,
                           view.rank, min_rank);
    }
    return Status::Error(StatusCode::kInvalidArgument, "%s: rank is %zu, must be %zu to %zu", name,
                         view.rank, min_rank, max_rank);
  }
  if (size_of(view.dtype) == 0) {
    return Status::Error(StatusCode::kUnsupported, "%s: dtype %d does not exist", name,
                         static_cast<int>(view.dtype));
  }
  const size_t count = view.num_elements();
  uintptr_t first = 0, last = 0;
  if (count > PTRDIFF_MAX / 8 ||
      (count > 0 && !ByteRange(view, &first, &last) && view.data != nullptr)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape %s with its strides exceeds the address space", name,
                         ShapeText(view).text);
  }
  if (count > 0 && view.data == nullptr && !data_is_optional) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: data is null, shape is %s", name,
                         ShapeText(view).text);
  }
  return Status();
}

}  // namespace

bool DataIsOptional() { return data_is_optional; }

bool SetDataIsOptional(bool optional) { return std::exchange(data_is_optional, optional); }

ShapeText::ShapeText(const TensorView& view) {
  size_t used = static_cast<size_t>(std::snprintf(text, sizeof(text), "["));
  for (size_t i = 0; i < view.rank && i < kMaxRank; ++i) {
    const int n =
        std::snprintf(text + used, sizeof(text) - used, i == 0 ? "%zu" : ", %zu", view.shape[i]);
    used += static_cast<size_t>(n);
  }
  std::snprintf(text + used, sizeof(text) - used, "]");
}

Status CheckInput(const char* name, const TensorView& view, DType dtype, size_t min_rank,
                  size_t max_rank) {
  HEED_RETURN_IF_ERROR(CheckShape(name, view, min_rank, max_rank));
  if (view.dtype != dtype) {
    return Status::Error(StatusCode::kUnsupported, "%s: dtype is %s, must be %s", name,
                         name_of(view.dtype), name_of(dtype));
  }
  return Status();
}

Status CheckFloatInput(const char* name, const TensorView& view, size_t min_rank, size_t max_rank) {
  HEED_RETURN_IF_ERROR(CheckShape(name, view, min_rank, max_rank));
  if (view.dtype != DType::kF32 && view.dtype != DType::kF16 && view.dtype != DType::kBF16) {
    return Status::Error(StatusCode::kUnsupported, "%s: dtype is %s, must be f32, f16 or bf16",
                         name, name_of(view.dtype));
  }
  return Status();
}

Status CheckOutput(const char* name, const MutableTensorView& view, DType dtype, size_t min_rank,
                   size_t max_rank) {
  HEED_RETURN_IF_ERROR(CheckInput(name, view, dtype, min_rank, max_rank));
  if (view.num_elements() > 0 && !ElementsAreDistinct(view)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: strides let elements of the output share memory", name);
  }
  return Status();
}

Status CheckRowOutput(const char* name, const MutableTensorView& view, size_t min_rank,
                      size_t max_rank) {
  HEED_RETURN_IF_ERROR(CheckInput(name, view, DType::kF32, min_rank, max_rank));
  return CheckFloatRowOutput(name, view, min_rank, max_rank);
}

Status CheckFloatRowOutput(const char* name, const MutableTensorView& view, size_t min_rank,
                           size_t max_rank) {
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, view, min_rank, max_rank));
  HEED_RETURN_IF_ERROR(CheckOutput(name, view, view.dtype, min_rank, max_rank));
  if (view.rank > 0 && view.shape[view.rank - 1] > 1 && view.strides[view.rank - 1] != 1) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: stride of the last dimension is %td, must be 1", name,
                         view.strides[view.rank - 1]);
  }
  return Status();
}

Status CheckNoOverlap(const char* name, const TensorView& output, const char* other_name,
                      const TensorView& other) {
  if (output.absent() || other.absent() || output.num_elements() == 0 ||
      other.num_elements() == 0) {
    return Status();
  }
  if (data_is_optional && (output.data == nullptr || other.data == nullptr)) return Status();
  // Whoever reads the view refuses its dtype or rank by name.
  if (size_of(output.dtype) == 0 || size_of(other.dtype) == 0) return Status();
  if (output.rank > kMaxRank || other.rank > kMaxRank) return Status();
  uintptr_t first = 0, last = 0, other_first = 0, other_last = 0;
  ByteRange(output, &first, &last);
  ByteRange(other, &other_first, &other_last);
  if (last < other_first || other_last < first || Interleave(output, other) ||
      Interleave(other, output)) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument, "%s: overlaps %s in memory", name, other_name);
}

Status CheckNoOverlaps(std::span<const NamedView> outputs, std::span<const NamedView> inputs) {
  for (const NamedView& output : outputs) {
    if (output.view->absent()) continue;
    for (const NamedView& input : inputs) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap(output.name, *output.view, input.name, *input.view));
    }
    for (const NamedView& other : outputs) {
      if (&other == &output) break;
      HEED_RETURN_IF_ERROR(CheckNoOverlap(output.name, *output.view, other.name, *other.view));
    }
  }
  return Status();
}

bool SameView(const TensorView& a, const TensorView& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.rank != b.rank) return false;
  for (size_t i = 0; i < a.rank; ++i) {
    if (a.shape[i] != b.shape[i] || (a.shape[i] > 1 && a.strides[i] != b.strides[i])) return false;
  }
  return true;
}

bool Product(const size_t* factors, size_t count, size_t* product) {
  *product = 1;
  for (size_t i = 0; i < count; ++i) {
    if (__builtin_mul_overflow(*product, factors[i], product)) return false;
  }
  return *product <= PTRDIFF_MAX;
}

Status CheckBuilt(const char* name, DType dtype) {
  if (IsBuilt(dtype)) return Status();
  return Status::Error(StatusCode::kUnsupported,
                       "%s: is %s, which this build of heed has been made without", name,
                       name_of(dtype));
}

Status CheckStored(const char* name, DType dtype) {
  if (StoredIndex(dtype) < kStoredTypes) return CheckBuilt(name, dtype);
  return Status::Error(StatusCode::kUnsupported, "%s: is %s, must be f32, bf16, f16, int8 or int4",
                       name, name_of(dtype));
}

}  // namespace heed::inline v1
