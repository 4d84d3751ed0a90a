#include "src/attention/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/attention/source.h"
#include "src/attention/workspace.h"
#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/base/math.h"

namespace heed {
namespace {

// Rows of a task. The more, the less often keys are copied into panels; a row's queries and output
// are touched once per block, so they may stream from the outer caches (1.5 MB).
constexpr size_t kTaskFloats = 393216;
constexpr size_t kMaxTaskRows = 1024;
// Several threads get about this many tasks each, because causal tasks are uneven. With 8 the
// copying of keys, once per task, costs more than evenness gains (heed-bench --simulate-cores 64
// and 192).
constexpr size_t kTasksPerThread = 4;
// So few rows leave threads idle unless the keys are split as well.
constexpr size_t kSplitRows = 32;
// A window is worth splitting when it spans several segments. Below, no memory is taken for the
// segments of the whole stream.
constexpr size_t kSplitWindow = 4 * kSegmentKeys;

struct Named {
  const char* name;
  TensorView view;
};

Status CheckOverlaps(const AttentionPlan& plan, const TensorView& q, const TensorView& out) {
  const AttentionOptions& o = plan.options;
  const bool paged = plan.source.paged != nullptr;
  const Named inputs[] = {{"q", q},
                          {"k", paged ? plan.source.paged->k : plan.source.k},
                          {"v", paged ? plan.source.paged->v : plan.source.v},
                          {"mask", o.mask},
                          {"key_mask", o.key_mask},
                          {"alibi_slopes", o.alibi_slopes},
                          {"sinks", o.sinks},
                          {"tree_mask", o.tree_mask},
                          {"dropout.mask", o.dropout.mask}};
  const Named outputs[] = {
      {"out", out}, {"lse", o.lse}, {"weights", o.weights}, {"key_scores", o.key_scores}};
  for (const Named& output : outputs) {
    for (const Named& input : inputs) {
      HEED_RETURN_IF_ERROR(CheckNoOverlap(output.name, output.view, input.name, input.view));
    }
    for (const Named& other : outputs) {
      if (&other == &output) break;
      HEED_RETURN_IF_ERROR(CheckNoOverlap(output.name, output.view, other.name, other.view));
    }
  }
  return Status();
}

Status CheckDims(const TensorView& out, const AttentionPlan& plan) {
  if (plan.q.dim == 0 || plan.k.dim != plan.q.dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "q: head_dim is %zu, must be at least 1 and that of k, %zu", plan.q.dim,
                         plan.k.dim);
  }
  if (plan.k.heads == 0 || plan.q.heads == 0 || plan.q.heads % plan.k.heads != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "num_heads: is %zu, must be a positive multiple of num_kv_heads, %zu",
                         plan.q.heads, plan.k.heads);
  }
  HEED_RETURN_IF_ERROR(CheckHeads("out", out, plan.q.batch, plan.q.heads));
  if (plan.out.len != plan.q.len || plan.out.dim != plan.v.dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "out: shape is %s, must have q_len %zu and v_head_dim %zu",
                         ShapeText(out).text, plan.q.len, plan.v.dim);
  }
  return Status();
}

void CutIntoTasks(size_t num_threads, AttentionPlan* plan) {
  const size_t rows = plan->q_len * plan->group;
  plan->acc_stride = RoundUp(plan->out.dim, kColumnPad);
  size_t row_block = std::min(kTaskFloats / (plan->q.dim + 2 * plan->acc_stride), kMaxTaskRows);
  if (num_threads > 1) {
    const size_t heads = std::max<size_t>(1, plan->batch * plan->k.heads);
    row_block = std::min(row_block, CeilDiv(rows, CeilDiv(num_threads * kTasksPerThread, heads)));
  }
  plan->row_block = std::min(RoundUp(std::max<size_t>(row_block, 1), kScoreRows), rows);
  plan->row_blocks = rows == 0 ? 0 : CeilDiv(rows, plan->row_block);
  plan->segments = CeilDiv(plan->part() ? plan->k.len : plan->kv_len, kSegmentKeys);
  const size_t window = plan->options.window;
  plan->split = rows <= kSplitRows && plan->segments > 1 && (window == 0 || window > kSplitWindow);
}

size_t OperandFloats(const AttentionPlan& plan) {
  size_t floats = plan.keys.Elements(plan.kv_len);
  for (const HeadsView* view : {&plan.q, &plan.out}) {
    floats += view->batch * view->len * view->heads * view->dim;
  }
  return floats;
}

}  // namespace

Sequence AttentionPlan::sequence(size_t b) const {
  Sequence s = {0, q_len, size_t{0} - first_key, kv_len, 0};
  if (packed()) {
    s.q_begin = static_cast<size_t>(At<int32_t>(options.cu_seqlens_q, b));
    s.q_len = static_cast<size_t>(At<int32_t>(options.cu_seqlens_q, b + 1)) - s.q_begin;
  }
  if (!options.cu_seqlens_k.absent()) {
    s.kv_begin = static_cast<size_t>(At<int32_t>(options.cu_seqlens_k, b));
    s.kv_len = static_cast<size_t>(At<int32_t>(options.cu_seqlens_k, b + 1)) - s.kv_begin;
  }
  if (source.paged != nullptr) {
    s.kv_len = static_cast<size_t>(At<int32_t>(source.paged->seq_lens, b));
  } else if (!options.kv_lens.absent()) {
    s.kv_len = static_cast<size_t>(At<int32_t>(options.kv_lens, b));
  }
  if (options.causal_alignment == CausalAlignment::kBottomRight) {
    s.position = static_cast<ptrdiff_t>(s.kv_len) - static_cast<ptrdiff_t>(s.q_len);
  }
  return s;
}

double AttentionFlops(const AttentionPlan& plan) {
  const size_t window = plan.options.window;
  const size_t seen = window > 0 ? std::min(window, plan.kv_len) : plan.kv_len;
  const double pairs = static_cast<double>(plan.q.batch * plan.q.heads) *
                       static_cast<double>(plan.q.len) * static_cast<double>(seen);
  return 2.0 * pairs * static_cast<double>(plan.q.dim + plan.out.dim);
}

Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     const AttentionOptions& options, const Context::Impl& context,
                     AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckInput("q", q, DType::kF32, 3, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("out", out, 3, 4));
  plan->out = AsHeads(out);
  plan->source = source;
  plan->options = options;
  HEED_RETURN_IF_ERROR(PlanQueries(q, plan));
  HEED_RETURN_IF_ERROR(PlanKeys(source, plan));
  HEED_RETURN_IF_ERROR(CheckDims(out, *plan));
  HEED_RETURN_IF_ERROR(CheckAttentionOptions(*plan));
  HEED_RETURN_IF_ERROR(CheckOverlaps(*plan, q, out));
  plan->group = plan->q.heads / plan->k.heads;
  plan->scale = options.scale ? *options.scale : 1.0f / std::sqrt(static_cast<float>(plan->q.dim));
  CutIntoTasks(context.num_threads, plan);
  plan->prefetch = OperandFloats(*plan) > context.l2_bytes / sizeof(float);
  PlanMemory(context, plan);
  return Status();
}

Status alibi_slopes(const MutableTensorView& slopes) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckOutput("slopes", slopes, DType::kF32, 1, 1));
  const size_t num_heads = slopes.shape[0];
  if (num_heads == 0) return Status();
  const size_t n = std::bit_floor(num_heads);
  for (size_t h = 0; h < num_heads; ++h) {
    const size_t halves = h < n ? 2 * (h + 1) : 2 * (h - n) + 1;
    MutableAt<float>(slopes, h) =
        static_cast<float>(Pow(2.0, -4.0 * static_cast<double>(halves) / static_cast<double>(n)));
  }
  return Status();
}

}  // namespace heed
