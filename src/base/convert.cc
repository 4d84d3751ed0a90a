#include "heed/convert.hpp"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/base/half.h"

namespace heed {
namespace {

float LoadElement(const TensorView& view, ptrdiff_t offset) {
  switch (view.dtype) {
    case DType::kF16:
      return ToFloat(static_cast<const f16*>(view.data)[offset]);
    case DType::kBF16:
      return ToFloat(static_cast<const bf16*>(view.data)[offset]);
    default:
      return static_cast<const float*>(view.data)[offset];
  }
}

void StoreElement(const MutableTensorView& view, ptrdiff_t offset, float value) {
  switch (view.dtype) {
    case DType::kF16:
      static_cast<f16*>(view.mutable_data())[offset] = ToF16(value);
      return;
    case DType::kBF16:
      static_cast<bf16*>(view.mutable_data())[offset] = ToBf16(value);
      return;
    default:
      static_cast<float*>(view.mutable_data())[offset] = value;
  }
}

}  // namespace

Status convert(const TensorView& from, const MutableTensorView& to) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckFloatInput("from", from, 0, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckFloatInput("to", to, 0, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckOutput("to", to, to.dtype, 0, kMaxRank));
  if (from.rank != to.rank || !std::equal(from.shape, from.shape + from.rank, to.shape)) {
    return Status::Error(StatusCode::kInvalidArgument, "to: shape is %s, must be that of from, %s",
                         ShapeText(to).text, ShapeText(from).text);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("to", to, "from", from));
  const size_t count = from.num_elements();
  size_t index[kMaxRank] = {};
  for (size_t n = 0; n < count; ++n) {
    ptrdiff_t source = 0, target = 0;
    for (size_t i = 0; i < from.rank; ++i) {
      source += static_cast<ptrdiff_t>(index[i]) * from.strides[i];
      target += static_cast<ptrdiff_t>(index[i]) * to.strides[i];
    }
    StoreElement(to, target, LoadElement(from, source));
    for (size_t i = from.rank; i-- > 0 && ++index[i] == from.shape[i];) index[i] = 0;
  }
  return Status();
}

}  // namespace heed
