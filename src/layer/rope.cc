#include "src/layer/rope.h"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/math.h"
#include "src/base/parallel.h"
#include "src/base/rows.h"

namespace heed::inline v1 {
namespace {

// Cosine and sine of position * frequency, times `factor`, rounded from double.
void RopeAngles(int32_t position, const double* frequencies, double factor, size_t pairs,
                float* cos, float* sin) {
  for (size_t t = 0; t < pairs; ++t) {
    double s = 0, c = 0;
    SinCos(static_cast<double>(position) * frequencies[t], &s, &c);
    sin[t] = static_cast<float>(s * factor);
    cos[t] = static_cast<float>(c * factor);
  }
}

Status CheckPositionsShape(const TensorView& positions, size_t batch, size_t len) {
  HEED_RETURN_IF_ERROR(CheckInput("positions", positions, DType::kI32, 1, 2));
  const bool shared = positions.rank == 1;
  if (positions.shape[positions.rank - 1] != len || (!shared && positions.shape[0] != batch)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "positions: shape is %s, must be [%zu] or [%zu, %zu]",
                         ShapeText(positions).text, len, batch, len);
  }
  return Status();
}

// Of x and y, whatever the positions.
Status CheckRotated(const TensorView& x, const MutableTensorView& y) {
  HEED_RETURN_IF_ERROR(CheckFloatInput("x", x, 3, 4));
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput("y", y, 3, 4));
  if (x.rank != y.rank || !std::equal(x.shape, x.shape + x.rank, y.shape)) {
    return Status::Error(StatusCode::kInvalidArgument, "y: shape is %s, must be that of x, %s",
                         ShapeText(y).text, ShapeText(x).text);
  }
  if (x.shape[x.rank - 1] > 1 && x.strides[x.rank - 1] != 1) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "x: stride of the last dimension is %td, must be 1",
                         x.strides[x.rank - 1]);
  }
  return SameView(x, y) ? Status() : CheckNoOverlap("y", y, "x", x);
}

// The memory of a run, laid out in an arena.
struct RopeMemory {
  double *factor, *frequencies;
  float* angles;  // [workers][rope_dim]: a token's cosines, then its sines
  float* rows;    // [workers][head_dim]: a head in f32; null where x and y are

  RopeMemory(const RopePlan& plan, Arena* arena)
      : factor(arena->Take<double>(size_t{1})),
        frequencies(arena->Take<double>(plan.rope_dim / 2)),
        angles(arena->Take<float>(plan.workers, plan.rope_dim)),
        rows(arena->TakeIf<float>(plan.x.dtype != DType::kF32 || plan.y.dtype != DType::kF32,
                                  plan.workers, plan.x.dim)) {}
};

void PlanTokens(const Context::Impl& context, RopePlan* plan) {
  const size_t tokens = plan->x.batch * plan->x.len;
  constexpr double kFlopsPerAngle = 100;
  const double angles = static_cast<double>(tokens) * static_cast<double>(plan->rope_dim / 2);
  plan->workers = WorkersFor(context, tokens,
                             angles * (kFlopsPerAngle + 6.0 * static_cast<double>(plan->x.heads)));
  Arena counted;
  RopeMemory(*plan, &counted);
  plan->bytes = counted.used();
}

}  // namespace

Status CheckPositions(const TensorView& positions, size_t batch, size_t len) {
  HEED_RETURN_IF_ERROR(CheckPositionsShape(positions, batch, len));
  if (DataIsOptional()) return Status();
  const bool shared = positions.rank == 1;
  for (size_t b = 0; b < (shared ? 1 : batch) && len > 0; ++b) {
    for (size_t i = 0; i < len; ++i) {
      if (PositionAt(positions, b, i) < 0) {
        return Status::Error(StatusCode::kInvalidArgument,
                             "positions: %d at [%zu, %zu] is negative", PositionAt(positions, b, i),
                             b, i);
      }
    }
  }
  return Status();
}

int32_t PositionAt(const TensorView& positions, size_t batch, size_t i) {
  const auto* data = static_cast<const int32_t*>(positions.data);
  ptrdiff_t offset = static_cast<ptrdiff_t>(i) * positions.strides[positions.rank - 1];
  if (positions.rank == 2) offset += static_cast<ptrdiff_t>(batch) * positions.strides[0];
  return data[offset];
}

Status CheckRope(const RopeOptions& options, size_t head_dim, size_t* rope_dim) {
  *rope_dim = options.rope_dim == 0 ? head_dim : options.rope_dim;
  if (*rope_dim > head_dim || *rope_dim % 2 != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "rope_dim: is %zu, must be even and at most head_dim, %zu", *rope_dim,
                         head_dim);
  }
  if (!std::isfinite(options.theta) || options.theta < 1.0 || options.theta > 1e30) {
    return Status::Error(StatusCode::kInvalidArgument, "theta: is %g, must be in [1, 1e30]",
                         options.theta);
  }
  return CheckRopeScaling(options);
}

Status PlanRope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
                const RopeOptions& options, const Context::Impl& context, RopePlan* plan) {
  HEED_RETURN_IF_ERROR(CheckRotated(x, y));
  *plan = {.x = AsHeads(x), .y = AsHeads(y), .positions = positions, .options = options};
  HEED_RETURN_IF_ERROR(CheckRope(options, plan->x.dim, &plan->rope_dim));
  plan->empty = x.num_elements() == 0;
  HEED_RETURN_IF_ERROR(CheckPositionsShape(positions, plan->x.batch, plan->x.len));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "positions", positions));
  // Positions of no element are not read: with strides of 0 there may be any number of them.
  if (plan->empty) return Status();
  HEED_RETURN_IF_ERROR(CheckPositions(positions, plan->x.batch, plan->x.len));
  PlanTokens(context, plan);
  return Status();
}

Status PlanRope(const TensorView& x, size_t first_position, const MutableTensorView& y,
                const RopeOptions& options, const Context::Impl& context, RopePlan* plan) {
  HEED_RETURN_IF_ERROR(CheckRotated(x, y));
  *plan = {.x = AsHeads(x), .y = AsHeads(y), .first_position = first_position, .options = options};
  HEED_RETURN_IF_ERROR(CheckRope(options, plan->x.dim, &plan->rope_dim));
  plan->empty = x.num_elements() == 0;
  if (!plan->empty) PlanTokens(context, plan);
  return Status();
}

Status RunRope(const RopePlan& plan, Arena arena, const Context::Impl& context) {
  if (plan.empty) return Status();
  const RopeMemory memory(plan, &arena);
  const HeadsView &x = plan.x, &y = plan.y;
  const size_t pairs = plan.rope_dim / 2;
  HEED_RETURN_IF_ERROR(Once(context, [&] {
    *memory.factor = RopeFrequencies(plan.options, plan.rope_dim, memory.frequencies);
  }));
  const RowReader read(*context.widen, x.dtype, 1);
  const RowWriter write = RowWriterOf(*context.widen, y.dtype);
  const auto rotate = plan.options.interleaved ? context.rope->interleaved : context.rope->half;
  return ForEachTask(context, x.batch * x.len, plan.workers, [&](size_t token, size_t worker) {
    float* cos = memory.angles + worker * plan.rope_dim;
    float* sin = cos + pairs;
    const size_t b = token / x.len, i = token % x.len;
    const auto position = plan.positions.absent() ? static_cast<int32_t>(plan.first_position + i)
                                                  : PositionAt(plan.positions, b, i);
    RopeAngles(position, memory.frequencies, *memory.factor, pairs, cos, sin);
    if (memory.rows != nullptr) {
      float* row = memory.rows + worker * x.dim;
      for (size_t h = 0; h < x.heads; ++h) {
        read(x.at(b, i, h), x.dim, row);
        rotate(row, cos, sin, pairs, row);
        write(row, x.dim, y.mutable_at(b, i, h));
      }
      return;
    }
    for (size_t h = 0; h < x.heads; ++h) {
      const float* from = x.row(b, i, h);
      auto* to = const_cast<float*>(y.row(b, i, h));
      rotate(from, cos, sin, pairs, to);
      if (from != to) std::copy(from + plan.rope_dim, from + x.dim, to + plan.rope_dim);
    }
  });
}

Status rope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
            const RopeOptions& options, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  Context::Impl& impl = *Context::Impl::Of(context);
  RopePlan plan;
  HEED_RETURN_IF_ERROR(PlanRope(x, positions, y, options, impl, &plan));
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena));
  return RunRope(plan, arena, impl);
}

}  // namespace heed::inline v1
