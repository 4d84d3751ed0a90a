#include "heed/matmul.hpp"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/base/parallel.h"
#include "src/kernels/matmul.h"
#include "src/matmul/blocks.h"

namespace heed {
namespace {

Status CheckProduct(const TensorView& a, size_t b_in, size_t b_out, const MutableTensorView& c,
                    const MatmulOptions& options) {
  HEED_RETURN_IF_ERROR(CheckInput("a", a, DType::kF32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckRowOutput("c", c, 2, 2));
  if (a.shape[1] != b_in) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "a: shape is %s, must have as many columns as b has rows, %zu",
                         ShapeText(a).text, b_in);
  }
  if (c.shape[0] != a.shape[0] || c.shape[1] != b_out) {
    return Status::Error(StatusCode::kInvalidArgument, "c: shape is %s, must be [%zu, %zu]",
                         ShapeText(c).text, a.shape[0], b_out);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "a", a));
  if (options.bias.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckInput("bias", options.bias, DType::kF32, 1, 1));
  if (options.bias.shape[0] != b_out || (b_out > 1 && options.bias.strides[0] != 1)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "bias: shape is %s, must be [%zu] with unit stride",
                         ShapeText(options.bias).text, b_out);
  }
  return CheckNoOverlap("c", c, "bias", options.bias);
}

Product2d Describe(const TensorView& a, size_t n, const MutableTensorView& c,
                   const MatmulOptions& options) {
  return {static_cast<const float*>(a.data),
          a.strides[0],
          a.strides[1],
          static_cast<float*>(c.mutable_data()),
          c.strides[0],
          options.bias.absent() ? nullptr : static_cast<const float*>(options.bias.data),
          a.shape[0],
          n,
          a.shape[1]};
}

// c = bias, or 0: a product over no k.
void FillBias(const Product2d& p) {
  for (size_t i = 0; i < p.m; ++i) {
    float* row = p.c + static_cast<ptrdiff_t>(i) * p.c_row;
    if (p.bias != nullptr) {
      std::copy_n(p.bias, p.n, row);
    } else {
      std::fill_n(row, p.n, 0.0f);
    }
  }
}

// One row against a row-major b: b is read once, in order, and never copied.
Status OneRow(const Product2d& p, const TensorView& b, Context::Impl& context) {
  // The sums of a chunk stay in L1, and rows of b are read in runs as long as they can be.
  constexpr size_t kMinColumns = 256, kMaxColumns = 4096;
  const size_t share = RoundUp(CeilDiv(p.n, context.num_threads), kColumnPad);
  const size_t task_columns = std::clamp(share, kMinColumns, kMaxColumns);
  const size_t tasks = CeilDiv(p.n, task_columns);
  const size_t workers = WorkersFor(context, tasks, Flops(p));
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * task_columns);
  if (workspace == nullptr) return OutOfMemory("workspace", workers * task_columns, sizeof(float));
  return ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    RowTimesMatrix chunk;
    const size_t column = task * task_columns;
    chunk.columns = std::min(task_columns, p.n - column);
    chunk.acc = workspace + worker * task_columns;
    chunk.a_stride = p.a_k;
    chunk.b_stride = b.strides[0];
    chunk.far = p.n > context.l2_bytes / sizeof(float) / p.k;
    float* c = p.c + column;
    for (size_t k = 0; k < p.k; k += kSumChunk) {
      chunk.depth = std::min(kSumChunk, p.k - k);
      chunk.a = p.a + static_cast<ptrdiff_t>(k) * p.a_k;
      chunk.b =
          static_cast<const float*>(b.data) + static_cast<ptrdiff_t>(k) * b.strides[0] + column;
      context.matmul->row_times_matrix(chunk);
      for (size_t j = 0; j < chunk.columns; ++j) c[j] = k == 0 ? chunk.acc[j] : c[j] + chunk.acc[j];
    }
    for (size_t j = 0; j < chunk.columns && p.bias != nullptr; ++j) c[j] += p.bias[column + j];
  });
}

}  // namespace

Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckProduct(a, b.in(), b.out(), c, options));
  const Product2d p = Describe(a, b.out(), c, options);
  if (p.m == 0 || p.n == 0) return Status();
  if (p.k == 0) {
    FillBias(p);
    return Status();
  }
  return MultiplyBlocks(p, b, *context.impl());
}

Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckInput("b", b, DType::kF32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckProduct(a, b.shape[0], b.shape[1], c, options));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "b", b));
  const Product2d p = Describe(a, b.shape[1], c, options);
  if (p.m == 0 || p.n == 0) return Status();
  if (p.k == 0) {
    FillBias(p);
    return Status();
  }
  const bool rows_are_contiguous = b.strides[1] == 1 || p.n == 1;
  Context::Impl& impl = *context.impl();
  if (p.m == 1 && rows_are_contiguous) return OneRow(p, b, impl);
  const PlainMatrix plain = {static_cast<const float*>(b.data), b.strides[0], b.strides[1]};
  return MultiplyBlocks(p, plain, impl);
}

}  // namespace heed
