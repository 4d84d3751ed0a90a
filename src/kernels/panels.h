// The right operand of a product in panels (layout.h), and how its elements are stored.
#pragma once

#include <cassert>
#include <cstdint>

#include "heed/tensor.hpp"
#include "src/kernels/layout.h"

namespace heed::inline v1 {

// The types that are stored, in the order of tables of kernels and of saved files.
inline constexpr size_t kStoredTypes = 5;
constexpr size_t StoredIndex(DType dtype) {  // kStoredTypes: it is none of them
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 2;
    case DType::kInt8:
      return 3;
    case DType::kInt4:
      return 4;
    default:
      return kStoredTypes;
  }
}

// Whether keys, values and weights may be stored in a type: the build's option `formats` leaves
// types out. Tables of kernels have null in their place, and no public call comes that far.
constexpr bool IsBuilt(DType dtype) {
#ifdef HEED_WITHOUT_F16
  if (dtype == DType::kF16) return false;
#endif
#ifdef HEED_WITHOUT_BF16
  if (dtype == DType::kBF16) return false;
#endif
#ifdef HEED_WITHOUT_INT8
  if (dtype == DType::kInt8) return false;
#endif
#ifdef HEED_WITHOUT_INT4
  if (dtype == DType::kInt4) return false;
#endif
  return StoredIndex(dtype) < kStoredTypes;
}
// Whether there are codes that int16's are multiplied by. Those of int4 too may be laid out as
// int8's for a call.
inline constexpr bool kCodesAreBuilt = IsBuilt(DType::kInt8) || IsBuilt(DType::kInt4);

// Bytes of a step: 16 elements of a panel, those of one place of the depth. Of kInt4 two steps
// share 16 bytes, the even one in the low nibbles.
constexpr size_t BytesOfStep(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
      return kPanel * 2;
    case DType::kInt8:
      return kPanel;
    case DType::kInt4:
      return kPanel / 2;
    default:
      return kPanel * 4;
  }
}
constexpr bool HasScales(DType dtype) { return dtype == DType::kInt8 || dtype == DType::kInt4; }
constexpr DType ScaleType(DType dtype) { return dtype == DType::kInt4 ? DType::kF16 : DType::kF32; }

// Channels of a token's key or value in a cache that share a scale in kInt4.
inline constexpr size_t kInt4Group = 32;

// Bytes of a panel, which begins at a whole step of two.
constexpr size_t BytesOfPanel(DType dtype, size_t depth) {
  return BytesOfStep(dtype) * (dtype == DType::kInt4 ? RoundUp(depth, 2) : depth);
}

// Which elements of panels share a scale.
enum class ScaleAxis : uint8_t {
  kColumn,  // a column's, over `group` of the depth: weights, keys
  kDepth,   // those of one place of the depth, over `group` columns: values
};

// Element (depth k, column c) of a quantized matrix is float(code) * scale, rounded once; with the
// f16 scales of kInt4 nothing is rounded.
struct Scales {
  const void* data = nullptr;  // of ScaleType(the matrix's type)
  ScaleAxis axis = ScaleAxis::kColumn;
  size_t group = 0;  // at least 1; the last one may be shorter
  // kColumn: column c of panel p has its scales at p * panel_stride + k / group * group_stride + c.
  // kDepth: at k + (p * 16 + c) / group * group_stride; a group is whole panels.
  size_t panel_stride = 0, group_stride = 0;
};

struct Panels {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Scales scales = {};  // of HasScales(dtype)

  bool absent() const { return data == nullptr; }
  const float* f32() const {
    assert(dtype == DType::kF32);
    return static_cast<const float*>(data);
  }
  const uint8_t* bytes() const { return static_cast<const uint8_t*>(data); }
};

// From a place in a block to the same place in the next one, in bytes; 0 where there is none.
inline ptrdiff_t ToNext(const Panels& here, const Panels& next) {
  if (next.absent()) return 0;
  return static_cast<ptrdiff_t>(reinterpret_cast<uintptr_t>(next.data) -
                                reinterpret_cast<uintptr_t>(here.data));
}

// Element i of a row or column of kInt4, which is in this byte.
constexpr int8_t Int4Code(int8_t byte, size_t i) {
  return static_cast<int8_t>(i % 2 == 1 ? byte >> 4 : static_cast<int8_t>(byte << 4) >> 4);
}

}  // namespace heed::inline v1
