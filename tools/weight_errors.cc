#include "tools/weight_errors.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "heed/convert.hpp"
#include "src/base/quantize.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

using Floats = std::vector<float>;

constexpr PackOptions kStorages[] = {{DType::kF32},      {DType::kBF16},      {DType::kF16},
                                     {DType::kInt8},     {DType::kInt8, 128}, {DType::kInt8, 64},
                                     {DType::kInt8, 32}, {DType::kInt4, 128}, {DType::kInt4, 64},
                                     {DType::kInt4, 32}};

Result<Floats> converted(const TensorView& from, DType dtype, Context& context) {
  Floats wide(from.num_elements());
  if (dtype == DType::kF32) {
    const Status s =
        convert(from, MutableTensorView(wide.data(), DType::kF32, from.shape, from.rank), context);
    if (!s.ok()) return s;
    return wide;
  }
  std::vector<uint16_t> narrow(wide.size());
  const MutableTensorView kept(narrow.data(), dtype, from.shape, from.rank);
  if (const Status s = convert(from, kept, context); !s.ok()) return s;
  return converted(kept, DType::kF32, context);
}

// Elements [0, n) at x, a stride apart, become code * scale.
void quantize(float* x, ptrdiff_t stride, size_t n, DType dtype) {
  const float extreme = Extreme(x, stride, n);
  const bool int8 = dtype == DType::kInt8;
  const float scale = int8 ? Int8Scale(extreme) : ToFloat(Int4Scale(extreme));
  for (size_t i = 0; i < n; ++i, x += stride) {
    *x = static_cast<float>(int8 ? Int8Code(*x, scale) : Int4Code(*x, scale)) * scale;
  }
}

struct Projection {
  const char* name;
  TensorView weight;
};

std::vector<Projection> projections_of(const MultiHeadAttentionConfig& config,
                                       const MultiHeadAttentionWeights& weights) {
  std::vector<Projection> all = {
      {"q", weights.q.weight}, {"k", weights.k.weight}, {"v", weights.v.weight}};
  if (!weights.qkv.weight.absent()) {
    const size_t q = config.num_heads * config.head_dim,
                 k = q + config.num_kv_heads * config.head_dim;
    const size_t out_dim = weights.layout == WeightLayout::kOutIn ? 0 : 1;
    const TensorView& fused = weights.qkv.weight;
    all = {{"q", fused.slice(out_dim, 0, q)},
           {"k", fused.slice(out_dim, q, k)},
           {"v", fused.slice(out_dim, k, fused.shape[out_dim])}};
  }
  if (!weights.out.weight.absent()) all.push_back({"out", weights.out.weight});
  return all;
}

Status measure(const Floats& stored, const Floats& weight, StorageError* error) {
  double squares = 0, error_squares = 0, largest = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    const double x = static_cast<double>(weight[i]);
    const double off = std::abs(static_cast<double>(stored[i]) - x);
    squares += x * x;
    error_squares += off * off;
    largest = std::max(largest, off);
  }
  const double rms = std::sqrt(squares / static_cast<double>(weight.size()));
  if (!std::isfinite(rms)) {
    return refuse(error->projection, "the weight has elements that are NaN or infinite");
  }
  if (rms == 0) return Status();
  error->rms = std::sqrt(error_squares / squares);
  error->largest = largest / rms;
  return Status();
}

}  // namespace

Result<Floats> stored_numbers(const TensorView& weight, WeightLayout layout,
                              const PackOptions& storage, Context& context) {
  if (storage.dtype != DType::kInt8 && storage.dtype != DType::kInt4) {
    return converted(weight, storage.dtype, context);
  }
  Result<Floats> numbers = converted(weight, DType::kF32, context);
  if (!numbers.ok()) return numbers.status();
  const size_t rows = weight.shape[0], columns = weight.shape[1];
  const bool out_in = layout == WeightLayout::kOutIn;
  const size_t in = out_in ? columns : rows, out = out_in ? rows : columns;
  const size_t in_stride = out_in ? 1 : columns, out_stride = out_in ? columns : 1;
  const size_t group = storage.group == 0 ? in : storage.group;
  for (size_t j = 0; j < out; ++j) {
    for (size_t i = 0; i < in; i += group) {
      quantize(numbers->data() + j * out_stride + i * in_stride, static_cast<ptrdiff_t>(in_stride),
               std::min(group, in - i), storage.dtype);
    }
  }
  return numbers;
}

Result<std::vector<StorageError>> storage_errors(const MultiHeadAttentionConfig& config,
                                                 const MultiHeadAttentionWeights& weights,
                                                 Context& context) {
  std::vector<StorageError> errors;
  for (const Projection& projection : projections_of(config, weights)) {
    const Result<Floats> weight = converted(projection.weight, DType::kF32, context);
    if (!weight.ok()) return weight.status();
    size_t f32_bytes = 0;
    for (const PackOptions& storage : kStorages) {
      StorageError error = {.projection = projection.name, .storage = storage};
      const Result<Floats> stored =
          stored_numbers(projection.weight, weights.layout, storage, context);
      if (!stored.ok()) return stored.status();
      if (const Status s = measure(*stored, *weight, &error); !s.ok()) return s;
      const Result<PackedMatrix> packed =
          PackedMatrix::pack(projection.weight, weights.layout, storage, context);
      if (!packed.ok()) return packed.status();
      error.bytes = packed->bytes();
      if (storage.dtype == DType::kF32) f32_bytes = error.bytes;
      error.of_f32 = static_cast<double>(error.bytes) / static_cast<double>(f32_bytes);
      errors.push_back(std::move(error));
    }
  }
  return errors;
}

std::string text_of(const PackOptions& storage) {
  return std::string(name_of(storage.dtype)) +
         (storage.group == 0 ? "" : ", groups of " + std::to_string(storage.group));
}

}  // namespace heed::tools
