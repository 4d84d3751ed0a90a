#include <algorithm>
#include <cstring>

#include "src/attention/segments.h"
#include "src/base/check.h"
#include "src/kernels/exp2_constants.h"

namespace heed::inline v1 {
namespace {

Status CheckSameShape(const char* name, const TensorView& view, const char* want_name,
                      const TensorView& want) {
  if (view.rank == want.rank &&
      std::memcmp(want.shape, view.shape, want.rank * sizeof(size_t)) == 0) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be that of %s, %s",
                       name, ShapeText(view).text, want_name, ShapeText(want).text);
}

// The views of a state.
struct StateViews {
  NamedView views[3];

  explicit StateViews(const AttentionState& state)
      : views{{"state.max", &state.max}, {"state.sum", &state.sum}, {"state.acc", &state.acc}} {
    static_assert(sizeof(AttentionState) == sizeof(views) / sizeof(NamedView) * sizeof(TensorView));
  }
};

Status CheckState(const AttentionState& state) {
  HEED_RETURN_IF_ERROR(CheckOutput("state.max", state.max, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckOutput("state.sum", state.sum, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("state.acc", state.acc, 5, 5));
  HEED_RETURN_IF_ERROR(CheckSameShape("state.sum", state.sum, "state.max", state.max));
  const size_t* acc = state.acc.shape;
  const size_t* max = state.max.shape;
  if (acc[0] != max[0] || acc[1] != max[1] || acc[2] != max[3] || acc[3] != max[2]) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "state.acc: shape is %s, must be [segments, batch, q_len, num_heads, "
                         "v_head_dim] where state.max is %s",
                         ShapeText(state.acc).text, ShapeText(state.max).text);
  }
  return CheckNoOverlaps(StateViews(state).views, {});
}

// acc without its segments: shaped as an output.
MutableTensorView WithoutSegments(const MutableTensorView& acc) {
  return MutableTensorView(acc.mutable_data(), acc.dtype, acc.shape + 1, 4, acc.strides + 1, 4);
}

bool Empty(const TensorView& view) { return view.absent() || view.num_elements() == 0; }

// out and lse, and that they do not overlap.
Status CheckResults(const MutableTensorView& out, const MutableTensorView& lse) {
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput("out", out, 4, 4));
  if (lse.absent()) return Status();
  const size_t shape[] = {out.shape[0], out.shape[2], out.shape[1]};
  HEED_RETURN_IF_ERROR(CheckOutput("lse", lse, DType::kF32, 3, 3));
  HEED_RETURN_IF_ERROR(CheckSameShape("lse", lse, "[batch, num_heads, q_len]",
                                      TensorView(nullptr, DType::kF32, shape, 3)));
  return CheckNoOverlap("lse", lse, "out", out);
}

Status CheckMerge(const AttentionState* parts, size_t num_parts, const TensorView& sinks,
                  const MutableTensorView& out, const MutableTensorView& lse) {
  HEED_RETURN_IF_ERROR(CheckResults(out, lse));
  if (!sinks.absent()) {
    HEED_RETURN_IF_ERROR(CheckInput("sinks", sinks, DType::kF32, 1, 1));
    HEED_RETURN_IF_ERROR(CheckSameShape("sinks", sinks, "[num_heads]",
                                        TensorView(nullptr, DType::kF32, out.shape + 2, 1)));
  }
  const NamedView outputs[] = {{"out", &out}, {"lse", &lse}};
  const NamedView of_all[] = {{"sinks", &sinks}};
  HEED_RETURN_IF_ERROR(CheckNoOverlaps(outputs, of_all));
  if (num_parts > 0 && parts == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "parts: is null, num_parts is %zu",
                         num_parts);
  }
  for (size_t p = 0; p < num_parts; ++p) {
    HEED_RETURN_IF_ERROR(CheckState(parts[p]));
    HEED_RETURN_IF_ERROR(
        CheckSameShape("state.acc of a part", WithoutSegments(parts[p].acc), "out", out));
    HEED_RETURN_IF_ERROR(CheckNoOverlaps(outputs, StateViews(parts[p]).views));
  }
  return Status();
}

// Results are of any float type, their lse is f32.
Status CheckShapeAndType(const NamedView& side, const TensorView& want) {
  return want.rank == 4 ? CheckFloatInput(side.name, *side.view, 4, 4)
                        : CheckInput(side.name, *side.view, DType::kF32, want.rank, want.rank);
}

// An input of the other form: of this shape, and in no result but `own`, which may be the same
// view.
Status CheckSide(const NamedView& side, const char* want_name, const TensorView& want,
                 const NamedView& own, const NamedView& other) {
  HEED_RETURN_IF_ERROR(CheckShapeAndType(side, want));
  HEED_RETURN_IF_ERROR(CheckSameShape(side.name, *side.view, want_name, want));
  if (!SameView(*own.view, *side.view)) {
    HEED_RETURN_IF_ERROR(CheckNoOverlap(own.name, *own.view, side.name, *side.view));
  }
  return CheckNoOverlap(other.name, *other.view, side.name, *side.view);
}

}  // namespace

Status attention_partial(const TensorView& q, const TensorView& k, const TensorView& v,
                         size_t first_key, size_t kv_len, const AttentionState& state,
                         const AttentionOptions& options, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckState(state));
  HEED_RETURN_IF_ERROR(CheckSize("kv_len", kv_len));
  AttentionPlan plan;
  KeySource source = {k, v, nullptr, nullptr, first_key, kv_len};
  HEED_RETURN_IF_ERROR(PlanAttention(q, source, WithoutSegments(state.acc), StateViews(state).views,
                                     options, *Context::Impl::Of(context), &plan));
  if (state.max.shape[0] != plan.segments) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "state: has %zu segments, must have %zu for %zu keys", state.max.shape[0],
                         plan.segments, plan.k.len);
  }
  if (plan.writes_nothing) return Status();
  Context::Impl& impl = *Context::Impl::Of(context);
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena, plan.lists_bytes));
  const AttentionMemory memory(plan, &arena);
  HEED_RETURN_IF_ERROR(memory.Clear(plan, impl));
  return RunSegments(plan, {state}, memory, impl);
}

Status merge_attention(const AttentionState* parts, size_t num_parts, const TensorView& sinks,
                       const MutableTensorView& out, const MutableTensorView& lse,
                       Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckMerge(parts, num_parts, sinks, out, lse));
  if (Empty(out) && Empty(lse)) return Status();
  const size_t batch = out.shape[0], q_len = out.shape[1], heads = out.shape[2], n = out.shape[3];
  Context::Impl& impl = *Context::Impl::Of(context);
  const size_t tasks = batch * heads, stride = RoundUp(n + 1, kPanel);
  const double flops = 2.0 * static_cast<double>(num_parts) * static_cast<double>(tasks * q_len) *
                       static_cast<double>(n);
  const size_t workers = WorkersFor(impl, tasks, flops);
  Arena counted, arena;
  counted.Take<float>(workers * stride);
  HEED_RETURN_IF_ERROR(impl.Reserve(counted.used(), &arena));
  float* memory = arena.Take<float>(workers * stride);
  const HeadsView to = AsHeads(out);
  const RowWriter write = RowWriterOf(*impl.widen, out.dtype);
  return ForEachTask(impl, tasks, workers, [&](size_t task, size_t worker) {
    const size_t b = task / heads, h = task % heads;
    float* acc = memory + worker * stride;
    for (size_t i = 0; i < q_len; ++i) {
      float max = 0, sum = 0;
      const RowPartial total = {&max, &sum, acc};
      ClearRow(total, n);
      for (size_t p = 0; p < num_parts; ++p) {
        for (size_t s = 0; s < parts[p].max.shape[0]; ++s) {
          TakeSegment(*impl.attention, n, StateView{parts[p]}.At(s, b, h, i), total);
        }
      }
      if (!sinks.absent()) TakeSink(*impl.attention, n, At<float>(sinks, h), total);
      impl.attention->scale(acc, InverseOf(sum), n);
      write(acc, n, to.mutable_at(b, i, h));
      if (!lse.absent()) MutableAt<float>(lse, b, h, i) = LogSumExp(double{max} * kLn2, sum);
    }
  });
}

Status merge_attention(const TensorView& out_a, const TensorView& lse_a, const TensorView& out_b,
                       const TensorView& lse_b, const MutableTensorView& out,
                       const MutableTensorView& lse, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckResults(out, lse));
  const size_t want[] = {out.shape[0], out.shape[2], out.shape[1]};
  const TensorView lse_shape(nullptr, DType::kF32, want, 3);
  const char* lse_text = "[batch, num_heads, q_len]";
  const NamedView of_out = {"out", &out}, of_lse = {"lse", &lse};
  HEED_RETURN_IF_ERROR(CheckSide({"out_a", &out_a}, "out", out, of_out, of_lse));
  HEED_RETURN_IF_ERROR(CheckSide({"out_b", &out_b}, "out", out, of_out, of_lse));
  HEED_RETURN_IF_ERROR(CheckSide({"lse_a", &lse_a}, lse_text, lse_shape, of_lse, of_out));
  HEED_RETURN_IF_ERROR(CheckSide({"lse_b", &lse_b}, lse_text, lse_shape, of_lse, of_out));
  if (Empty(out) && Empty(lse)) return Status();
  Context::Impl& impl = *Context::Impl::Of(context);
  const AttentionKernels& kernels = *impl.attention;
  const size_t n = out.shape[3];
  Arena counted, arena;
  counted.Take<float>(size_t{2}, n);
  HEED_RETURN_IF_ERROR(impl.Reserve(counted.used(), &arena));
  float* row_a = arena.Take<float>(size_t{2}, n);
  float* row_b = row_a + n;
  const HeadsView from_a = AsHeads(out_a), from_b = AsHeads(out_b), to = AsHeads(out);
  const RowReader read_a(*impl.widen, from_a.dtype, from_a.dim_stride);
  const RowReader read_b(*impl.widen, from_b.dtype, from_b.dim_stride);
  const RowWriter write = RowWriterOf(*impl.widen, to.dtype);
  for (size_t b = 0; b < want[0]; ++b) {
    for (size_t h = 0; h < want[1]; ++h) {
      for (size_t i = 0; i < want[2]; ++i) {
        const float a = At<float>(lse_a, b, h, i), c = At<float>(lse_b, b, h, i);
        const float max = std::max(a, c), shift = ShiftOf(max);
        const float f = kernels.exp2(ToBase2(a - shift)), g = kernels.exp2(ToBase2(c - shift));
        const float sum = f + g, inverse = InverseOf(sum);
        if (n > 0) read_a(from_a.at(b, i, h), n, row_a);
        if (n > 0) read_b(from_b.at(b, i, h), n, row_b);
        for (size_t d = 0; d < n; ++d) {
          // A side that saw nothing may hold anything.
          const float x = f == 0.0f ? 0.0f : row_a[d] * f;
          const float y = g == 0.0f ? 0.0f : row_b[d] * g;
          row_a[d] = (x + y) * inverse;
        }
        if (n > 0) write(row_a, n, to.mutable_at(b, i, h));
        if (!lse.absent()) MutableAt<float>(lse, b, h, i) = LogSumExp(max, sum);
      }
    }
  }
  return Status();
}

}  // namespace heed::inline v1
