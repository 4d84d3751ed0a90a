#include "heed/convert.hpp"
#include "heed/hadamard.hpp"
#include "heed/quantize.hpp"
#include "heed/rope.hpp"
#include "heed/softmax.hpp"
#include "src/c/call.h"
#include "src/c/options.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

// Before anything is computed.
Status CheckTotal(const heed_quantization_error* total) {
  return total == nullptr ? Status() : CheckWritten("total", total);
}

Status Give(const Result<QuantizationError>& made, heed_quantization_error* total) {
  if (!made.ok() || total == nullptr) return made.status();
  heed_quantization_error c = {};
  c.rms = made->rms;
  c.largest = made->largest;
  c.relative = made->relative;
  return Write("total", &c, sizeof(c), total);
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
    RowErrors read;
    HEED_RETURN_IF_ERROR(Read(errors, &read));
    HEED_RETURN_IF_ERROR(CheckTotal(total));
    return Give(quantize(View(x), static_cast<DType>(dtype), group, Output(codes), Output(scales),
                         read, *Of(context)),
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
    RowErrors of_channels;
    HEED_RETURN_IF_ERROR(Read(channels, &of_channels));
    HEED_RETURN_IF_ERROR(CheckTotal(total));
    return Give(
        storage_error(View(b), static_cast<WeightLayout>(layout), read, of_channels, *Of(context)),
        total);
  });
}
