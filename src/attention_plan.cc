#include "src/attention_plan.h"

#include <algorithm>
#include <cmath>

#include "src/check.h"
#include "src/dropout.h"

namespace heed {
namespace {

// A task's queries and output should stay in L2 beside a block of keys and values (64 KB at
// head_dim 64): 256 KB. The more rows, the less often keys are copied into panels.
constexpr size_t kTaskFloats = 65536;
constexpr size_t kMaxTaskRows = 384;
// So few rows leave threads idle unless the keys are split as well.
constexpr size_t kSplitRows = 32;

Status CheckHeads(const char* name, const TensorView& view, size_t batch, size_t heads) {
  HEED_RETURN_IF_ERROR(CheckInput(name, view, DType::kF32, 3, 4));
  const HeadsView h = AsHeads(view);
  if (h.batch != batch || h.heads != heads) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must have batch %zu and %zu heads", name,
                         ShapeText(view).text, batch, heads);
  }
  return Status();
}

// An optional tensor over [batch, num_heads, q_len(, kv_len)].
Status CheckPerQuery(const char* name, const TensorView& view, const AttentionPlan& plan,
                     bool keys) {
  const size_t want[] = {plan.q.batch, plan.q.heads, plan.q.len, plan.kv_len};
  const size_t rank = keys ? 4 : 3;
  if (view.rank == rank && std::equal(want, want + rank, view.shape)) return Status();
  return Status::Error(
      StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu, %zu, %zu%s%.0zu]", name,
      ShapeText(view).text, want[0], want[1], want[2], keys ? ", " : "", keys ? want[3] : 0);
}

Status CheckOptions(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  if (o.scale && !std::isfinite(*o.scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "scale: is %g, must be finite",
                         static_cast<double>(*o.scale));
  }
  HEED_RETURN_IF_ERROR(CheckDropoutProbability(o.dropout.probability));
  if (!o.dropout.mask.absent()) {
    HEED_RETURN_IF_ERROR(CheckInput("dropout.mask", o.dropout.mask, DType::kF32, 4, 4));
    HEED_RETURN_IF_ERROR(CheckPerQuery("dropout.mask", o.dropout.mask, plan, true));
    if (o.dropout.probability != 0.0f) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "dropout: a mask and a probability are given, must be one of them");
    }
  }
  if (!o.lse.absent()) {
    HEED_RETURN_IF_ERROR(CheckOutput("lse", o.lse, DType::kF32, 3, 3));
    HEED_RETURN_IF_ERROR(CheckPerQuery("lse", o.lse, plan, false));
  }
  if (!o.weights.absent()) {
    HEED_RETURN_IF_ERROR(CheckRowOutput("weights", o.weights, 4, 4));
    HEED_RETURN_IF_ERROR(CheckPerQuery("weights", o.weights, plan, true));
  }
  return Status();
}

struct Named {
  const char* name;
  TensorView view;
};

Status CheckOverlaps(const Named (&inputs)[4], const Named (&outputs)[3]) {
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

void CutIntoTasks(AttentionPlan* plan) {
  plan->v_panels = CeilDiv(plan->out.dim, kPanel);
  plan->acc_stride = RoundUp(plan->out.dim, kColumnPad);
  const size_t fitting = kTaskFloats / (plan->q.dim + plan->acc_stride);
  plan->row_block = std::clamp(fitting / kScoreRows * kScoreRows, kScoreRows, kMaxTaskRows);
  plan->row_block = std::min(plan->row_block, plan->rows());
  plan->row_blocks = plan->rows() == 0 ? 0 : CeilDiv(plan->rows(), plan->row_block);
  plan->segments = CeilDiv(plan->kv_len, kSegmentKeys);
  plan->split = plan->rows() <= kSplitRows && plan->segments > 1 && plan->options.weights.absent();
}

}  // namespace

HeadsView AsHeads(const TensorView& view) {
  const size_t first = view.rank - 3;
  HeadsView h;
  h.data = static_cast<const float*>(view.data);
  if (first == 1) {
    h.batch = view.shape[0];
    h.batch_stride = view.strides[0];
  }
  h.len = view.shape[first];
  h.heads = view.shape[first + 1];
  h.dim = view.shape[first + 2];
  h.len_stride = view.strides[first];
  h.head_stride = view.strides[first + 1];
  h.dim_stride = view.strides[first + 2];
  return h;
}

KeyRange AttentionPlan::Visible(size_t i) const {
  if (!options.causal) return {0, kv_len};
  const size_t seen = i + kv_len + 1;  // minus q.len
  return {0, seen > q.len ? std::min(seen - q.len, kv_len) : 0};
}

Status PlanAttention(const TensorView& q, const TensorView& k, const TensorView& v,
                     const KvCache* cache, const MutableTensorView& out,
                     const AttentionOptions& options, AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckInput("q", q, DType::kF32, 3, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("out", out, 3, 4));
  plan->q = AsHeads(q);
  plan->out = AsHeads(out);
  plan->cache = cache;
  plan->options = options;
  if (cache == nullptr) {
    HEED_RETURN_IF_ERROR(CheckInput("k", k, DType::kF32, 3, 4));
    plan->k = AsHeads(k);
    HEED_RETURN_IF_ERROR(CheckHeads("k", k, plan->q.batch, plan->k.heads));
    HEED_RETURN_IF_ERROR(CheckHeads("v", v, plan->q.batch, plan->k.heads));
    plan->v = AsHeads(v);
    if (plan->v.len != plan->k.len) {
      return Status::Error(StatusCode::kInvalidArgument, "v: has %zu keys, k has %zu", plan->v.len,
                           plan->k.len);
    }
  } else {
    const KvCacheConfig& c = cache->config();
    plan->k.batch = plan->v.batch = c.batch;
    plan->k.len = plan->v.len = cache->length();
    plan->k.heads = plan->v.heads = c.num_kv_heads;
    plan->k.dim = c.head_dim;
    plan->v.dim = c.v_head_dim;
    if (plan->q.batch != c.batch) {
      return Status::Error(StatusCode::kInvalidArgument, "q: batch is %zu, the cache's is %zu",
                           plan->q.batch, c.batch);
    }
  }
  plan->kv_len = plan->k.len;
  if (plan->q.dim == 0 || plan->k.dim != plan->q.dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "q: head_dim is %zu, must be at least 1 and that of k, %zu", plan->q.dim,
                         plan->k.dim);
  }
  if (plan->k.heads == 0 || plan->q.heads == 0 || plan->q.heads % plan->k.heads != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "num_heads: is %zu, must be a positive multiple of num_kv_heads, %zu",
                         plan->q.heads, plan->k.heads);
  }
  HEED_RETURN_IF_ERROR(CheckHeads("out", out, plan->q.batch, plan->q.heads));
  if (plan->out.len != plan->q.len || plan->out.dim != plan->v.dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "out: shape is %s, must have q_len %zu and v_head_dim %zu",
                         ShapeText(out).text, plan->q.len, plan->v.dim);
  }
  HEED_RETURN_IF_ERROR(CheckOptions(*plan));
  HEED_RETURN_IF_ERROR(
      CheckOverlaps({{"q", q}, {"k", k}, {"v", v}, {"dropout.mask", options.dropout.mask}},
                    {{"out", out}, {"lse", options.lse}, {"weights", options.weights}}));
  plan->group = plan->q.heads / plan->k.heads;
  plan->scale = options.scale ? *options.scale : 1.0f / std::sqrt(static_cast<float>(plan->q.dim));
  CutIntoTasks(plan);
  return Status();
}

}  // namespace heed
