#include "heed/convert.hpp"
#include "heed/hadamard.hpp"
#include "heed/quantize.hpp"
#include "heed/rope.hpp"
#include "heed/softmax.hpp"
#include "src/c/call.h"
#include "src/c/options.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

Status Give(const Result<QuantizationError>& made, heed_quantization_error* total) {
  if (made.ok() && total != nullptr) *total = {made->rms, made->largest, made->relative};
  return made.status();
}

}  // namespace

heed_status heed_softmax(const heed_tensor* x, const heed_tensor* y,
                         const heed_softmax_options* options, heed_context* context,
                         heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    SoftmaxOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return softmax(View(x), Output(y), read, *Of(context));
  });
}

heed_status heed_rope(const heed_tensor* x, const heed_tensor* positions, const heed_tensor* y,
                      const heed_rope_options* options, heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    RopeOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return rope(View(x), View(positions), Output(y), read, *Of(context));
  });
}

heed_status heed_hadamard(const heed_tensor* x, const heed_tensor* y, heed_context* context,
                          heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    return hadamard(View(x), Output(y), *Of(context));
  });
}

heed_status heed_convert(const heed_tensor* from, const heed_tensor* to, heed_context* context,
                         heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    return convert(View(from), Output(to), *Of(context));
  });
}

heed_status heed_quantize(const heed_tensor* x, heed_dtype dtype, size_t group,
                          const heed_tensor* codes, const heed_tensor* scales,
                          const heed_row_errors* errors, heed_quantization_error* total,
                          heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    return Give(quantize(View(x), static_cast<DType>(dtype), group, Output(codes), Output(scales),
                         Read(errors), *Of(context)),
                total);
  });
}

heed_status heed_dequantize(const heed_tensor* codes, const heed_tensor* scales, size_t group,
                            const heed_tensor* y, heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    return dequantize(View(codes), View(scales), group, Output(y), *Of(context));
  });
}

heed_status heed_storage_error(const heed_tensor* b, heed_weight_layout layout,
                               const heed_pack_options* options, const heed_row_errors* channels,
                               heed_quantization_error* total, heed_context* context,
                               heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    PackOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Give(storage_error(View(b), static_cast<WeightLayout>(layout), read, Read(channels),
                              *Of(context)),
                total);
  });
}
