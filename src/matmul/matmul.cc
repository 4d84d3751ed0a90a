#include "src/matmul/matmul.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/memory.h"
#include "src/base/parallel.h"
#include "src/matmul/blocks.h"
#include "src/matmul/converted.h"
#include "src/matmul/few_rows.h"
#include "src/matmul/packed_matrix.h"

namespace heed::inline v1 {
namespace {

Status CheckProduct(const TensorView& a, size_t b_in, size_t b_out, const MutableTensorView& c,
                    const MatmulOptions& options) {
  HEED_RETURN_IF_ERROR(CheckFloatInput("a", a, 2, 2));
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput("c", c, 2, 2));
  if (a.shape[1] != b_in) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "a: shape is %s, must have as many columns as b has rows, %zu",
                         ShapeText(a).text, b_in);
  }
  if (c.shape[0] != a.shape[0] || c.shape[1] != b_out) {
    return Status::Error(StatusCode::kInvalidArgument, "c: shape is %s, must be [%zu, %zu]",
                         ShapeText(c).text, a.shape[0], b_out);
  }
  if (a.shape[1] > size_t{INT32_MAX}) {  // with strides of 0 they take no memory
    return Status::Error(StatusCode::kUnsupported, "a: has %zu columns, must have fewer than 2^31",
                         a.shape[1]);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "a", a));
  if (options.bias.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckFloatInput("bias", options.bias, 1, 1));
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

MatrixView AsMatrix(const TensorView& view) {
  if (view.absent()) return {};
  if (view.rank == 1) return {view.data, view.dtype, 0, view.strides[0]};
  return {view.data, view.dtype, view.strides[0], view.strides[1]};
}

// c = bias, or 0: a product over no k.
void FillBias(const Product2d& p) {
  for (size_t i = 0; i < p.m; ++i) {
    float* row = p.c + static_cast<ptrdiff_t>(i) * p.c_row;
    if (p.bias != nullptr) {
      std::copy_n(p.bias, p.n, row);
    } else {
      SetZero(row, p.n);
    }
  }
}

// At once where all operands are f32, else piece by piece.
void PlanOperands(const Context::Impl& context, const TensorView& a, const TensorView& b,
                  const MutableTensorView& c, const TensorView& bias, MatmulPlan* plan) {
  plan->conversion = {.a = AsMatrix(a), .b = {}, .c = AsMatrix(c), .bias = AsMatrix(bias)};
  if (!HasFewRows(*plan)) plan->conversion.b = AsMatrix(b);  // else it is widened as it is read
  if (plan->p.m > 0 && plan->p.n > 0 && IsConverted(plan->conversion)) {
    PlanConverted(context, plan);
  } else {
    PlanTasks(context, plan);
  }
}

template <class Matrix>
Status Multiply(const TensorView& a, const Matrix& b, const MutableTensorView& c,
                const MatmulOptions& options, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  Context::Impl& impl = *Context::Impl::Of(context);
  MatmulPlan plan;
  HEED_RETURN_IF_ERROR(PlanMatmul(a, b, c, options, impl, &plan));
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena));
  return RunMatmul(plan, arena, impl);
}

}  // namespace

Status CheckCompute(const char* name, Compute compute, DType dtype) {
  if (compute == Compute::kF32 || (compute == Compute::kInt16 && HasScales(dtype))) return Status();
  if (compute != Compute::kInt16) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: is %d, must be that of f32 or int16",
                         name, static_cast<int>(compute));
  }
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s: is int16, needs a packed matrix of int8 or int4, not %s", name,
                       name_of(dtype));
}

void PlanTasks(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  if (p.m == 0 || p.n == 0) {
    plan->order = ProductOrder::kNothing;
  } else if (p.k == 0) {
    plan->order = ProductOrder::kBias;
  } else if (plan->compute == Compute::kF32 && HasFewRows(*plan)) {
    PlanFewRows(context, plan);
  } else {
    PlanBlocks(context, plan);
  }
  Arena counted;
  MatmulMemory(*plan, &counted);
  plan->bytes = counted.used();
}

Status PlanMatmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
                  const MatmulOptions& options, const Context::Impl& context, MatmulPlan* plan) {
  const PackedMatrix::Impl* packed = PackedMatrix::Impl::Of(b);
  if (packed == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "b: was moved from");
  }
  HEED_RETURN_IF_ERROR(CheckCompute("compute", options.compute, packed->dtype));
  HEED_RETURN_IF_ERROR(CheckProduct(a, packed->in, packed->out, c, options));
  *plan = {.p = Describe(a, packed->out, c, options),
           .packed = packed->panels(),
           .compute = options.compute};
  PlanOperands(context, a, {}, c, options.bias, plan);
  return Status();
}

Status PlanMatmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
                  const MatmulOptions& options, const Context::Impl& context, MatmulPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckFloatInput("b", b, 2, 2));
  HEED_RETURN_IF_ERROR(CheckBuilt("b", b.dtype));
  HEED_RETURN_IF_ERROR(CheckCompute("compute", options.compute, b.dtype));
  HEED_RETURN_IF_ERROR(CheckProduct(a, b.shape[0], b.shape[1], c, options));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "b", b));
  *plan = {.p = Describe(a, b.shape[1], c, options), .plain = AsMatrix(b)};
  PlanOperands(context, a, b, c, options.bias, plan);
  return Status();
}

void MatmulPlan::MoveBy(ptrdiff_t a_elements, ptrdiff_t c_elements) {
  if (order == ProductOrder::kConverted) {
    conversion.a.MoveBy(a_elements);
    conversion.c.MoveBy(c_elements);
  } else {
    p.a += a_elements;
    p.c += c_elements;
  }
}

Status RunMatmul(const MatmulPlan& plan, Arena arena, const Context::Impl& context) {
  const MatmulMemory memory(plan, &arena);
  switch (plan.order) {
    case ProductOrder::kNothing:
      break;
    case ProductOrder::kBias:
      return Once(context, [&] { FillBias(plan.p); });
    case ProductOrder::kFewRows:
      return RunFewRows(plan, memory, context);
    case ProductOrder::kBlocks:
      return RunBlocks(plan, memory, context);
    case ProductOrder::kConverted:
      return RunConverted(plan, arena, context);
  }
  return Status();
}

Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  return Multiply(a, b, c, options, context);
}

Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  return Multiply(a, b, c, options, context);
}

}  // namespace heed::inline v1
