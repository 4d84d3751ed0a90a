#include "tools/weight_errors.h"

#include <cmath>
#include <cstdint>

#include "heed/convert.hpp"
#include "heed/quantize.hpp"
#include "tools/text.h"

namespace heed::tools {
namespace {

using Floats = std::vector<float>;

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

// As the rows of views that quantize() takes: along the depth.
template <class View>
View along_depth(const View& matrix, WeightLayout layout) {
  return layout == WeightLayout::kOutIn ? matrix : matrix.transpose(0, 1);
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

}  // namespace

Result<Floats> stored_numbers(const TensorView& weight, WeightLayout layout,
                              const PackOptions& storage, Context& context) {
  if (storage.dtype != DType::kInt8 && storage.dtype != DType::kInt4) {
    return converted(weight, storage.dtype, context);
  }
  const TensorView rows = along_depth(weight, layout);
  const size_t out = rows.shape[0], in = rows.shape[1];
  const size_t groups = storage.group == 0 ? 1 : (in + storage.group - 1) / storage.group;
  Floats numbers(out * in), scales(out * groups);
  std::vector<int8_t> codes(out * in);
  const MutableTensorView code_view(codes.data(), {out, in});
  const MutableTensorView scale_view(scales.data(), {out, groups});
  const Result<QuantizationError> error =
      quantize(rows, storage.dtype, storage.group, code_view, scale_view, {}, context);
  if (!error.ok()) return error.status();
  const MutableTensorView stored(numbers.data(), DType::kF32, weight.shape, 2);
  const Status s =
      dequantize(code_view, scale_view, storage.group, along_depth(stored, layout), context);
  if (!s.ok()) return s;
  return numbers;
}

Result<std::vector<StorageError>> storage_errors(const MultiHeadAttentionConfig& config,
                                                 const MultiHeadAttentionWeights& weights,
                                                 Context& context) {
  std::vector<StorageError> errors;
  for (const Projection& projection : projections_of(config, weights)) {
    const TensorView& weight = projection.weight;
    size_t f32_bytes = 0;
    for (const PackOptions& storage : kPackOptions) {
      const Result<QuantizationError> error =
          storage_error(weight, weights.layout, storage, {}, context);
      if (!error.ok()) return error.status();
      if (storage.dtype == DType::kF32 && error->rms != 0) {
        return refuse(projection.name, "the weight has elements that are NaN or infinite");
      }
      if (!std::isfinite(error->rms)) {  // the scales of int4 are f16
        const DType narrow = storage.dtype == DType::kInt4 ? DType::kF16 : storage.dtype;
        errors.push_back({projection.name, storage});
        errors.back().too_large_for = name_of(narrow);
        continue;
      }
      const Result<PackedMatrix> packed =
          PackedMatrix::pack(weight, weights.layout, storage, context);
      if (!packed.ok()) return refuse(projection.name, packed.status().message());
      if (storage.dtype == DType::kF32) f32_bytes = packed->bytes();
      const double rms = static_cast<double>(error->rms),
                   relative = static_cast<double>(error->relative),
                   largest = static_cast<double>(error->largest);
      errors.push_back({projection.name, storage, packed->bytes(),
                        static_cast<double>(packed->bytes()) / static_cast<double>(f32_bytes),
                        relative, rms == 0 ? 0 : largest * (relative / rms)});
    }
  }
  return errors;
}

std::string text_of(const PackOptions& storage) {
  return std::string(name_of(storage.dtype)) +
         (storage.group == 0 ? "" : ", groups of " + std::to_string(storage.group));
}

std::string problem_of(const StorageError& error) {
  return error.too_large_for == nullptr ? "" : std::string("too large for ") + error.too_large_for;
}

}  // namespace heed::tools
