#include "heed/matmul.hpp"

#include "src/c/call.h"
#include "src/c/options.h"
#include "src/matmul/packed_matrix.h"

using namespace heed;  // NOLINT: the functions below are C's

heed_status heed_matmul(const heed_tensor* a, const heed_tensor* b, const heed_tensor* c,
                        const heed_matmul_options* options, heed_context* context,
                        heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    MatmulOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return matmul(View(a), View(b), Output(c), read, *Of(context));
  });
}

heed_status heed_matmul_packed(const heed_tensor* a, const heed_packed_matrix* b,
                               const heed_tensor* c, const heed_matmul_options* options,
                               heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("b", b));
    MatmulOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return matmul(View(a), *Of(b), Output(c), read, *Of(context));
  });
}

heed_status heed_packed_matrix_pack(const heed_tensor* b, size_t count, heed_weight_layout layout,
                                    const heed_pack_options* options, const heed_memory* memory,
                                    heed_context* context, heed_packed_matrix** matrix,
                                    heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("matrix", matrix));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckArray("b", b, count));
    PackOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Keep(PackedMatrix::pack(Views(b), count, static_cast<WeightLayout>(layout), read,
                                   ReadMemory(memory), *Of(context)),
                matrix);
  });
}

heed_status heed_packed_matrix_pack_quantized(const heed_quantized_view* b, size_t count,
                                              heed_weight_layout layout,
                                              const heed_pack_options* options,
                                              const heed_memory* memory, heed_context* context,
                                              heed_packed_matrix** matrix, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("matrix", matrix));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckArray("b", b, count));
    PackOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Keep(PackedMatrix::pack_quantized(reinterpret_cast<const QuantizedView*>(b), count,
                                             static_cast<WeightLayout>(layout), read,
                                             ReadMemory(memory), *Of(context)),
                matrix);
  });
}

heed_status heed_pack_gguf(const heed_gguf_matrix* matrices, size_t count,
                           const heed_memory* memory, heed_context* context,
                           heed_packed_matrix** matrix, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("matrix", matrix));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckArray("matrices", matrices, count));
    return Keep(pack_gguf(reinterpret_cast<const GgufMatrix*>(matrices), count, ReadMemory(memory),
                          *Of(context)),
                matrix);
  });
}

heed_status heed_dequantize_gguf(const heed_gguf_matrix* matrix, const heed_tensor* y,
                                 heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("matrix", matrix));
    const GgufMatrix read = {matrix->blocks, matrix->bytes, static_cast<GgufType>(matrix->type),
                             matrix->out, matrix->in};
    return dequantize_gguf(read, Output(y), *Of(context));
  });
}

heed_status heed_packed_matrix_memory_bytes(size_t in, size_t out, const heed_pack_options* options,
                                            size_t* bytes, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("bytes", bytes));
    PackOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Give(PackedMatrix::memory_bytes(in, out, read), bytes);
  });
}

size_t heed_packed_matrix_saved_bytes(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : Of(matrix)->saved_bytes();
}

heed_status heed_packed_matrix_save(const heed_packed_matrix* matrix, void* data, size_t bytes,
                                    heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("matrix", matrix));
    return Of(matrix)->save(data, bytes);
  });
}

heed_status heed_packed_matrix_map(const void* data, size_t bytes, const heed_map_options* options,
                                   heed_packed_matrix** matrix, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("matrix", matrix));
    MapOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Keep(PackedMatrix::map(data, bytes, read), matrix);
  });
}

void heed_packed_matrix_destroy(heed_packed_matrix* matrix) { Drop(Of(matrix)); }

size_t heed_packed_matrix_in(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : Of(matrix)->in();
}

size_t heed_packed_matrix_out(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : Of(matrix)->out();
}

heed_dtype heed_packed_matrix_dtype(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : static_cast<heed_dtype>(Of(matrix)->dtype());
}

size_t heed_packed_matrix_group(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : Of(matrix)->group();
}

size_t heed_packed_matrix_bytes(const heed_packed_matrix* matrix) {
  return matrix == nullptr ? 0 : Of(matrix)->bytes();
}
