#include <algorithm>

#include "src/attention/segments.h"
#include "src/base/check.h"
#include "src/base/float_environment.h"

namespace heed {
namespace {

struct NamedView {
  const char* name;
  TensorView view;
};

Status CheckSameShape(const NamedView& a, const NamedView& want) {
  if (a.view.rank == want.view.rank &&
      std::equal(want.view.shape, want.view.shape + want.view.rank, a.view.shape)) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be that of %s, %s",
                       a.name, ShapeText(a.view).text, want.name, ShapeText(want.view).text);
}

Status CheckState(const AttentionState& state) {
  HEED_RETURN_IF_ERROR(CheckOutput("state.max", state.max, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckOutput("state.sum", state.sum, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("state.acc", state.acc, 5, 5));
  HEED_RETURN_IF_ERROR(CheckSameShape({"state.sum", state.sum}, {"state.max", state.max}));
  const size_t* acc = state.acc.shape;
  const size_t* max = state.max.shape;
  if (acc[0] != max[0] || acc[1] != max[1] || acc[2] != max[3] || acc[3] != max[2]) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "state.acc: shape is %s, must be [segments, batch, q_len, num_heads, "
                         "v_head_dim] where state.max is %s",
                         ShapeText(state.acc).text, ShapeText(state.max).text);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("state.sum", state.sum, "state.max", state.max));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("state.acc", state.acc, "state.max", state.max));
  return CheckNoOverlap("state.acc", state.acc, "state.sum", state.sum);
}

// acc without its segments: shaped as an output.
MutableTensorView WithoutSegments(const MutableTensorView& acc) {
  return MutableTensorView(acc.mutable_data(), acc.dtype, acc.shape + 1, 4, acc.strides + 1, 4);
}

Status CheckPartialOptions(const AttentionOptions& o) {
  if (!o.lse.absent() || !o.weights.absent() || !o.key_scores.absent() || !o.sinks.absent() ||
      !o.cu_seqlens_q.absent() || !o.cu_seqlens_k.absent()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "options: lse, weights, key_scores, sinks and cu_seqlens can't be used "
                         "for a part of the keys");
  }
  return Status();
}

Status CheckMerge(const AttentionState* parts, size_t num_parts, const TensorView& sinks,
                  const MutableTensorView& out, const MutableTensorView& lse) {
  HEED_RETURN_IF_ERROR(CheckRowOutput("out", out, 4, 4));
  const size_t* shape = out.shape;
  const size_t lse_shape[] = {shape[0], shape[2], shape[1]};
  if (!lse.absent()) {
    HEED_RETURN_IF_ERROR(CheckOutput("lse", lse, DType::kF32, 3, 3));
    HEED_RETURN_IF_ERROR(CheckSameShape(
        {"lse", lse},
        {"[batch, num_heads, q_len]", TensorView(nullptr, DType::kF32, lse_shape, 3)}));
  }
  if (!sinks.absent()) {
    HEED_RETURN_IF_ERROR(CheckInput("sinks", sinks, DType::kF32, 1, 1));
    HEED_RETURN_IF_ERROR(CheckSameShape(
        {"sinks", sinks}, {"[num_heads]", TensorView(nullptr, DType::kF32, shape + 2, 1)}));
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("lse", lse, "out", out));
  if (num_parts > 0 && parts == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "parts: is null, num_parts is %zu",
                         num_parts);
  }
  for (size_t p = 0; p < num_parts; ++p) {
    HEED_RETURN_IF_ERROR(CheckState(parts[p]));
    HEED_RETURN_IF_ERROR(
        CheckSameShape({"state.acc of a part", WithoutSegments(parts[p].acc)}, {"out", out}));
    for (const NamedView& input :
         {NamedView{"state.max", parts[p].max}, NamedView{"state.sum", parts[p].sum},
          NamedView{"state.acc", parts[p].acc}}) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap("out", out, input.name, input.view));
      HEED_RETURN_IF_ERROR(CheckNoOverlap("lse", lse, input.name, input.view));
    }
  }
  return Status();
}

}  // namespace

Status attention_partial(const TensorView& q, const TensorView& k, const TensorView& v,
                         size_t first_key, size_t kv_len, const AttentionState& state,
                         const AttentionOptions& options, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckState(state));
  HEED_RETURN_IF_ERROR(CheckPartialOptions(options));
  AttentionPlan plan;
  KeySource source = {k, v, nullptr, nullptr, first_key, kv_len};
  HEED_RETURN_IF_ERROR(
      PlanAttention(q, source, WithoutSegments(state.acc), options, *context.impl(), &plan));
  for (const NamedView& output :
       {NamedView{"state.max", state.max}, NamedView{"state.sum", state.sum},
        NamedView{"state.acc", state.acc}}) {
    for (const NamedView& input : {NamedView{"q", q}, NamedView{"k", k}, NamedView{"v", v},
                                   NamedView{"mask", options.mask}}) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap(output.name, output.view, input.name, input.view));
    }
  }
  if (state.max.shape[0] != plan.segments) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "state: has %zu segments, must have %zu for %zu keys", state.max.shape[0],
                         plan.segments, plan.k.len);
  }
  if (plan.empty()) return Status();
  Context::Impl& impl = *context.impl();
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena));
  return RunSegments(plan, {state}, AttentionMemory(plan, &arena), impl);
}

Status merge_attention(const AttentionState* parts, size_t num_parts, const TensorView& sinks,
                       const MutableTensorView& out, const MutableTensorView& lse,
                       Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckMerge(parts, num_parts, sinks, out, lse));
  const size_t batch = out.shape[0], q_len = out.shape[1], heads = out.shape[2], n = out.shape[3];
  Context::Impl& impl = *context.impl();
  const size_t tasks = batch * heads, stride = RoundUp(n + 1, kPanel);
  const double flops =
      2.0 * static_cast<double>(num_parts * tasks * q_len) * static_cast<double>(n);
  const size_t workers = WorkersFor(impl, tasks, flops);
  Arena counted, arena;
  counted.Take<float>(workers * stride);
  HEED_RETURN_IF_ERROR(impl.Reserve(counted.used(), &arena));
  float* memory = arena.Take<float>(workers * stride);
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
      impl.attention->finish(acc, InverseOf(sum), &MutableAt<float>(out, b, i, h), n);
      if (!lse.absent()) MutableAt<float>(lse, b, h, i) = LogSumExp(max, sum);
    }
  });
}

Status merge_attention(const TensorView& out_a, const TensorView& lse_a, const TensorView& out_b,
                       const TensorView& lse_b, const MutableTensorView& out,
                       const MutableTensorView& lse, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckMerge(nullptr, 0, {}, out, lse));
  for (const NamedView& side : {NamedView{"out_a", out_a}, NamedView{"out_b", out_b}}) {
    HEED_RETURN_IF_ERROR(CheckInput(side.name, side.view, DType::kF32, 4, 4));
    HEED_RETURN_IF_ERROR(CheckSameShape(side, {"out", out}));
    if (!SameView(out, side.view)) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap("out", out, side.name, side.view));
    }
    HEED_RETURN_IF_ERROR(CheckNoOverlap("lse", lse, side.name, side.view));
  }
  const size_t want[] = {out.shape[0], out.shape[2], out.shape[1]};
  const NamedView shape = {"[batch, num_heads, q_len]", TensorView(nullptr, DType::kF32, want, 3)};
  for (const NamedView& side : {NamedView{"lse_a", lse_a}, NamedView{"lse_b", lse_b}}) {
    HEED_RETURN_IF_ERROR(CheckInput(side.name, side.view, DType::kF32, 3, 3));
    HEED_RETURN_IF_ERROR(CheckSameShape(side, shape));
    if (!SameView(lse, side.view)) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap("lse", lse, side.name, side.view));
    }
    HEED_RETURN_IF_ERROR(CheckNoOverlap("out", out, side.name, side.view));
  }
  const AttentionKernels& kernels = *context.impl()->attention;
  for (size_t b = 0; b < want[0]; ++b) {
    for (size_t h = 0; h < want[1]; ++h) {
      for (size_t i = 0; i < want[2]; ++i) {
        const float a = At<float>(lse_a, b, h, i), c = At<float>(lse_b, b, h, i);
        const float max = std::max(a, c), shift = ShiftOf(max);
        const float f = kernels.exp(a - shift), g = kernels.exp(c - shift);
        const float sum = f + g, inverse = InverseOf(sum);
        for (size_t d = 0; d < out.shape[3]; ++d) {
          // A side that saw nothing may hold anything.
          const float x = f == 0.0f ? 0.0f : At<float>(out_a, b, i, h, d) * f;
          const float y = g == 0.0f ? 0.0f : At<float>(out_b, b, i, h, d) * g;
          MutableAt<float>(out, b, i, h, d) = (x + y) * inverse;
        }
        if (!lse.absent()) MutableAt<float>(lse, b, h, i) = LogSumExp(max, sum);
      }
    }
  }
  return Status();
}

}  // namespace heed
