#include "src/base/convert.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/half.h"
#include "src/base/parallel.h"

namespace heed::inline v1 {
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

constexpr size_t kTaskElements = 16384;
constexpr double kElementCost = 16;  // in multiply-adds

// Elements [begin, end) in row-major order.
void ConvertElements(const TensorView& from, const MutableTensorView& to, size_t begin,
                     size_t end) {
  size_t index[kMaxRank] = {};
  for (size_t i = from.rank, rest = begin; i-- > 0; rest /= from.shape[i]) {
    index[i] = rest % from.shape[i];
  }
  for (size_t n = begin; n < end; ++n) {
    ptrdiff_t source = 0, target = 0;
    for (size_t i = 0; i < from.rank; ++i) {
      source += static_cast<ptrdiff_t>(index[i]) * from.strides[i];
      target += static_cast<ptrdiff_t>(index[i]) * to.strides[i];
    }
    StoreElement(to, target, LoadElement(from, source));
    for (size_t i = from.rank; i-- > 0 && ++index[i] == from.shape[i];) index[i] = 0;
  }
}

}  // namespace

Status convert(const TensorView& from, const MutableTensorView& to, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckFloatInput("from", from, 0, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckFloatInput("to", to, 0, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckOutput("to", to, to.dtype, 0, kMaxRank));
  if (from.rank != to.rank || !std::equal(from.shape, from.shape + from.rank, to.shape)) {
    return Status::Error(StatusCode::kInvalidArgument, "to: shape is %s, must be that of from, %s",
                         ShapeText(to).text, ShapeText(from).text);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("to", to, "from", from));
  return RunConvert(from, to, *Context::Impl::Of(context));
}

Status RunConvert(const TensorView& from, const MutableTensorView& to,
                  const Context::Impl& context) {
  const size_t count = from.num_elements(), tasks = CeilDiv(count, kTaskElements);
  const double work = static_cast<double>(count) * kElementCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t begin = task * kTaskElements;
    ConvertElements(from, to, begin, std::min(count, begin + kTaskElements));
  });
}

}  // namespace heed::inline v1
