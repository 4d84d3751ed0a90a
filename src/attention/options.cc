// Checks of AttentionOptions against the shapes of a call.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "src/attention/dropout.h"
#include "src/attention/plan.h"
#include "src/base/check.h"
#include "src/cache/kv_cache.h"

namespace heed {
namespace {

Status CheckShape(const char* name, const TensorView& view, std::initializer_list<size_t> want) {
  if (view.rank == want.size() && std::equal(want.begin(), want.end(), view.shape)) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be %s", name,
                       ShapeText(view).text,
                       ShapeText(TensorView(nullptr, view.dtype, want.begin(), want.size())).text);
}

// Absent, or of this dtype and shape.
Status CheckGiven(const char* name, const TensorView& view, DType dtype,
                  std::initializer_list<size_t> want) {
  if (view.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckInput(name, view, dtype, want.size(), want.size()));
  return CheckShape(name, view, want);
}

Status Contradiction(const char* what) {
  return Status::Error(StatusCode::kInvalidArgument, "%s", what);
}

Status CheckScores(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  if (o.scale && !std::isfinite(*o.scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "scale: is %g, must be finite",
                         static_cast<double>(*o.scale));
  }
  if (!(o.logits_soft_cap >= 0.0f) || !std::isfinite(o.logits_soft_cap) ||
      (o.logits_soft_cap > 0.0f && !std::isfinite(1.0f / o.logits_soft_cap))) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "logits_soft_cap: is %g, must be 0 or positive and finite",
                         static_cast<double>(o.logits_soft_cap));
  }
  HEED_RETURN_IF_ERROR(CheckGiven("alibi_slopes", o.alibi_slopes, DType::kF32, {plan.q.heads}));
  return CheckGiven("sinks", o.sinks, DType::kF32, {plan.q.heads});
}

// i32 [batch], each in [0, most].
Status CheckLengths(const char* name, const TensorView& lengths, size_t batch, size_t most) {
  HEED_RETURN_IF_ERROR(CheckGiven(name, lengths, DType::kI32, {batch}));
  for (size_t b = 0; b < batch && !lengths.absent(); ++b) {
    const int32_t length = At<int32_t>(lengths, b);
    if (length < 0 || static_cast<size_t>(length) > most) {
      return Status::Error(StatusCode::kInvalidArgument, "%s: element %zu is %d, must be 0 to %zu",
                           name, b, length, most);
    }
  }
  return Status();
}

Status CheckRules(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  if (o.causal_alignment != CausalAlignment::kBottomRight &&
      o.causal_alignment != CausalAlignment::kTopLeft) {
    return Status::Error(StatusCode::kInvalidArgument, "causal_alignment: %d does not exist",
                         static_cast<int>(o.causal_alignment));
  }
  if (o.window > 0 && !o.causal) return Contradiction("window: needs causal");
  if (o.sink_tokens > 0 && o.window == 0) return Contradiction("sink_tokens: needs a window");
  if (!o.prefix_lens.absent() && !o.causal) return Contradiction("prefix_lens: needs causal");
  HEED_RETURN_IF_ERROR(CheckLengths("prefix_lens", o.prefix_lens, plan.batch, size_t{INT32_MAX}));
  return CheckLengths("kv_lens", o.kv_lens, plan.batch, plan.kv_len);
}

// A ring holds the keys of its window alone, and so answers only what asks for no others.
Status CheckRing(const AttentionPlan& plan) {
  const KvCache* cache = plan.source.cache;
  if (cache == nullptr || cache->config().window == 0) return Status();
  const AttentionOptions& o = plan.options;
  const KvCacheConfig& ring = cache->config();
  if (!o.causal || o.causal_alignment != CausalAlignment::kBottomRight || o.window == 0 ||
      o.window > ring.window) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "window: is %zu, must be 1 to %zu, causal and bottom-right, for this ring "
                         "cache",
                         o.window, ring.window);
  }
  if (o.sink_tokens > ring.sink_tokens) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "sink_tokens: is %zu, the ring cache keeps %zu", o.sink_tokens,
                         ring.sink_tokens);
  }
  if (!o.prefix_lens.absent() || !o.kv_lens.absent() || !o.key_mask.absent() || !o.mask.absent() ||
      !o.dropout.mask.absent() || plan.wants_weights()) {
    return Contradiction(
        "prefix_lens, kv_lens, key_mask, mask, dropout.mask, weights, key_scores: can't be used "
        "with a ring cache");
  }
  const size_t held = KvCache::Impl::Of(*cache)->FirstHeldAt(plan.kv_len);
  if (held == 0 || plan.q_len + held + o.window <= plan.kv_len + 1) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "q: has %zu queries, the first of which would see keys before %zu, which "
                       "the ring cache no longer holds",
                       plan.q_len, held);
}

Status CheckMask(const AttentionPlan& plan) {
  const TensorView& mask = plan.options.mask;
  if (mask.absent()) return Status();
  const DType dtype = mask.dtype == DType::kU8 ? DType::kU8 : DType::kF32;
  HEED_RETURN_IF_ERROR(CheckInput("mask", mask, dtype, 3, 4));
  const size_t heads = mask.shape[mask.rank - 3] == 1 ? 1 : plan.q.heads;
  return mask.rank == 3 ? CheckShape("mask", mask, {heads, plan.q_len, plan.kv_len})
                        : CheckShape("mask", mask, {plan.batch, heads, plan.q_len, plan.kv_len});
}

Status CheckTreeMask(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  if (o.tree_mask.absent()) return Status();
  if (!o.causal || o.causal_alignment != CausalAlignment::kBottomRight) {
    return Contradiction("tree_mask: needs causal, bottom-right");
  }
  HEED_RETURN_IF_ERROR(CheckInput("tree_mask", o.tree_mask, DType::kU8, 2, 3));
  HEED_RETURN_IF_ERROR(
      o.tree_mask.rank == 2
          ? CheckShape("tree_mask", o.tree_mask, {plan.q_len, plan.q_len})
          : CheckShape("tree_mask", o.tree_mask, {plan.batch, plan.q_len, plan.q_len}));
  for (size_t b = 0; b < plan.batch; ++b) {
    if (plan.sequence(b).position < 0) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "tree_mask: sequence %zu has %zu keys, must have those of its %zu "
                           "queries",
                           b, plan.sequence(b).kv_len, plan.q_len);
    }
  }
  return Status();
}

Status CheckDropout(const AttentionPlan& plan) {
  const DropoutOptions& dropout = plan.options.dropout;
  HEED_RETURN_IF_ERROR(CheckDropoutProbability(dropout.probability));
  if (dropout.mask.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckGiven("dropout.mask", dropout.mask, DType::kF32,
                                  {plan.batch, plan.q.heads, plan.q_len, plan.kv_len}));
  if (dropout.probability == 0.0f) return Status();
  return Contradiction("dropout: a mask and a probability are given, must be one of them");
}

// i32 [n], ascending, each below `limit`; absent: all. Their number in `count`.
Status CheckChosen(const char* name, const TensorView& chosen, size_t limit, size_t* count) {
  *count = limit;
  if (chosen.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckInput(name, chosen, DType::kI32, 1, 1));
  *count = chosen.shape[0];
  int64_t last = -1;
  for (size_t n = 0; n < *count; ++n) {
    const int32_t index = At<int32_t>(chosen, n);
    if (index <= last || static_cast<size_t>(index) >= limit) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "%s: element %zu is %d, must ascend and be below %zu", name, n, index,
                           limit);
    }
    last = index;
  }
  return Status();
}

Status CheckResults(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  if (!o.lse.absent()) {
    const size_t rank = plan.packed() ? 2 : 3;
    HEED_RETURN_IF_ERROR(CheckOutput("lse", o.lse, DType::kF32, rank, rank));
    HEED_RETURN_IF_ERROR(plan.packed()
                             ? CheckShape("lse", o.lse, {plan.q.heads, plan.q.len})
                             : CheckShape("lse", o.lse, {plan.batch, plan.q.heads, plan.q_len}));
  }
  size_t heads = 0, queries = 0;
  HEED_RETURN_IF_ERROR(CheckChosen("weights_heads", o.weights_heads, plan.q.heads, &heads));
  HEED_RETURN_IF_ERROR(CheckChosen("weights_queries", o.weights_queries, plan.q_len, &queries));
  if (!o.weights.absent()) {
    HEED_RETURN_IF_ERROR(CheckRowOutput("weights", o.weights, 4, 4));
    HEED_RETURN_IF_ERROR(
        CheckShape("weights", o.weights, {plan.batch, heads, queries, plan.kv_len}));
  } else if (!o.weights_heads.absent() || !o.weights_queries.absent()) {
    return Contradiction("weights_heads, weights_queries: need weights");
  }
  if (o.key_scores.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckRowOutput("key_scores", o.key_scores, 3, 3));
  return CheckShape("key_scores", o.key_scores, {plan.batch, plan.q.heads, plan.kv_len});
}

Status CheckPacked(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  const struct {
    const char* name;
    const TensorView& view;
  } others[] = {{"mask", o.mask},
                {"key_mask", o.key_mask},
                {"tree_mask", o.tree_mask},
                {"kv_lens", o.kv_lens},
                {"dropout.mask", o.dropout.mask},
                {"weights", o.weights},
                {"key_scores", o.key_scores}};
  for (const auto& other : others) {
    if (plan.packed() && !other.view.absent()) {
      return Status::Error(StatusCode::kInvalidArgument, "%s: can't be used with cu_seqlens",
                           other.name);
    }
  }
  return Status();
}

}  // namespace

Status CheckAttentionOptions(const AttentionPlan& plan) {
  HEED_RETURN_IF_ERROR(CheckPacked(plan));
  HEED_RETURN_IF_ERROR(CheckScores(plan));
  HEED_RETURN_IF_ERROR(CheckRules(plan));
  HEED_RETURN_IF_ERROR(CheckRing(plan));
  HEED_RETURN_IF_ERROR(
      CheckGiven("key_mask", plan.options.key_mask, DType::kU8, {plan.batch, plan.kv_len}));
  HEED_RETURN_IF_ERROR(CheckMask(plan));
  HEED_RETURN_IF_ERROR(CheckTreeMask(plan));
  HEED_RETURN_IF_ERROR(CheckDropout(plan));
  return CheckResults(plan);
}

}  // namespace heed
