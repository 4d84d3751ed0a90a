#include "src/attention/options.h"

#include <algorithm>
#include <cmath>

#include "src/attention/dropout.h"
#include "src/attention/plan.h"
#include "src/base/check.h"
#include "src/cache/kv_cache.h"

namespace heed::inline v1 {
namespace {

// Not known, because the lengths were not read: any size will do.
constexpr size_t kUnknown = SIZE_MAX;

Status Contradiction(const char* what) {
  return Status::Error(StatusCode::kInvalidArgument, "%s", what);
}

// "with a ring cache" for one bit of `forms`.
const char* TextOf(uint32_t forms) {
  if ((forms & kPacked) != 0) return "with cu_seqlens";
  if ((forms & kRing) != 0) return "with a ring cache";
  if ((forms & kCache) != 0) return "with a cache";
  if ((forms & kPages) != 0) return "with pages, which have lengths and scales of their own";
  return "for a part of the keys";
}

size_t ChosenSize(const TensorView& chosen, size_t all) {
  return chosen.absent() ? all : chosen.shape[0];
}

size_t SizeOf(Extent extent, const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  switch (extent) {
    case Extent::kOffsets:
      return plan.batch + 1;
    case Extent::kHeads:
    case Extent::kOneOrHeads:
      return plan.q.heads;
    case Extent::kQueries:
      return plan.q_len;
    case Extent::kRows:
      return plan.q.len;
    case Extent::kKeys:
      return plan.writes_nothing && plan.source.paged != nullptr ? kUnknown : plan.kv_len;
    case Extent::kChosenHeads:
      return ChosenSize(o.weights_heads, plan.q.heads);
    case Extent::kChosenQueries:
      return ChosenSize(o.weights_queries, plan.q_len);
    case Extent::kNone:
    case Extent::kAsCodes:
    case Extent::kAny:
      break;
  }
  return kUnknown;
}

Status CheckUse(const OptionView& row, const TensorView& view, DType dtype, size_t min_rank,
                size_t max_rank) {
  if (row.use == Use::kInput) return CheckInput(row.name, view, dtype, min_rank, max_rank);
  const auto& output = static_cast<const MutableTensorView&>(view);
  if (row.use == Use::kOutput) return CheckOutput(row.name, output, dtype, min_rank, max_rank);
  return CheckRowOutput(row.name, output, min_rank, max_rank);
}

// That a view is absent, or has the dtype and shape of its row.
Status CheckView(const OptionView& row, const AttentionPlan& plan) {
  const TensorView& view = row.of(plan.options);
  if (view.absent() || row.extents[0] == Extent::kAsCodes) return Status();
  size_t extents = 0;
  while (extents < std::size(row.extents) && row.extents[extents] != Extent::kNone) ++extents;
  const bool batch = row.lead == Lead::kBatch || row.lead == Lead::kMaybeBatch ||
                     (row.lead == Lead::kBatchUnlessPacked && !plan.packed());
  const size_t max_rank = extents + (batch ? 1 : 0);
  const size_t min_rank = row.lead == Lead::kMaybeBatch ? extents : max_rank;
  const DType dtype = view.dtype == row.other_dtype ? row.other_dtype : row.dtype;
  HEED_RETURN_IF_ERROR(CheckUse(row, view, dtype, min_rank, max_rank));
  size_t want[kMaxRank] = {};
  const size_t lead = view.rank - extents;
  if (lead == 1) want[0] = plan.batch;
  bool same = lead == 0 || view.shape[0] == plan.batch;
  for (size_t i = 0; i < extents; ++i) {
    const size_t size = SizeOf(row.extents[i], plan), is = view.shape[lead + i];
    const bool one = row.extents[i] == Extent::kOneOrHeads && is == 1;
    want[lead + i] = size == kUnknown || one ? is : size;
    same &= want[lead + i] == is;
  }
  if (same) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be %s", row.name,
                       ShapeText(view).text,
                       ShapeText(TensorView(nullptr, dtype, want, view.rank)).text);
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
  const size_t held = KvCache::Impl::Of(*cache)->FirstHeldAt(plan.kv_len);
  if (held == 0 || plan.q_len + held + o.window <= plan.kv_len + 1) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "q: has %zu queries, the first of which would see keys before %zu, which "
                       "the ring cache no longer holds",
                       plan.q_len, held);
}

Status CheckRules(const AttentionOptions& o) {
  if (o.causal_alignment != CausalAlignment::kBottomRight &&
      o.causal_alignment != CausalAlignment::kTopLeft) {
    return Status::Error(StatusCode::kInvalidArgument, "causal_alignment: %d does not exist",
                         static_cast<int>(o.causal_alignment));
  }
  if (o.window > 0 && !o.causal) return Contradiction("window: needs causal");
  if (o.sink_tokens > 0 && o.window == 0) return Contradiction("sink_tokens: needs a window");
  if (!o.prefix_lens.absent() && !o.causal) return Contradiction("prefix_lens: needs causal");
  if (!o.tree_mask.absent() && (!o.causal || o.causal_alignment != CausalAlignment::kBottomRight)) {
    return Contradiction("tree_mask: needs causal, bottom-right");
  }
  if (o.weights.absent() && (!o.weights_heads.absent() || !o.weights_queries.absent())) {
    return Contradiction("weights_heads, weights_queries: need weights");
  }
  return Status();
}

Status CheckNumbers(const AttentionOptions& o) {
  if (o.scale && !std::isfinite(*o.scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "scale: is %g, must be finite",
                         static_cast<double>(*o.scale));
  }
  if (!(o.logits_soft_cap >= 0.0f) || !std::isfinite(o.logits_soft_cap) ||
      (o.logits_soft_cap > 0.0f && (o.logits_soft_cap < 0x1p-60f || o.logits_soft_cap > 0x1p60f))) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "logits_soft_cap: is %g, must be 0 or from 2^-60 to 2^60",
                         static_cast<double>(o.logits_soft_cap));
  }
  HEED_RETURN_IF_ERROR(CheckDropoutProbability(o.dropout.probability));
  if (o.dropout.mask.absent() || o.dropout.probability == 0.0f) return Status();
  return Contradiction("dropout: a mask and a probability are given, must be one of them");
}

// The queries' own tokens must be among the keys.
Status CheckTree(const AttentionPlan& plan) {
  // A plan that measures has no sequences.
  if (plan.options.tree_mask.absent() || plan.sequences == nullptr) return Status();
  for (size_t b = 0; b < plan.batch; ++b) {
    if (plan.sequence(b).position >= 0) continue;
    return Status::Error(StatusCode::kInvalidArgument,
                         "tree_mask: sequence %zu has %zu keys, must have those of its %zu queries",
                         b, plan.sequence(b).kv_len, plan.q_len);
  }
  return Status();
}

}  // namespace

Status CheckAttentionCompute(const char* name, Compute compute, DType k, DType v) {
  if (compute == Compute::kF32) return Status();
  if (compute != Compute::kInt16) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: is %d, must be that of f32 or int16",
                         name, static_cast<int>(compute));
  }
  if (HasScales(k) || HasScales(v)) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s: is int16, needs keys or values of int8 or int4, not %s and %s", name,
                       name_of(k), name_of(v));
}

Status CheckForms(uint32_t forms, const AttentionOptions& options) {
  for (const OptionView& row : kOptionViews) {
    const uint32_t refused = row.refused_by & forms;
    if (refused == 0 || row.of(options).absent()) continue;
    return Status::Error(StatusCode::kInvalidArgument, "%s: can't be used %s", row.name,
                         TextOf(refused));
  }
  return Status();
}

Status CheckSettings(const AttentionPlan& plan) {
  HEED_RETURN_IF_ERROR(CheckNumbers(plan.options));
  HEED_RETURN_IF_ERROR(CheckRules(plan.options));
  HEED_RETURN_IF_ERROR(CheckAttentionCompute("compute", plan.options.compute, plan.keys.key_type(),
                                             plan.keys.value_type()));
  for (const OptionView& row : kOptionViews) {
    if (IsList(row)) HEED_RETURN_IF_ERROR(CheckView(row, plan));
  }
  return Status();
}

Status CheckViews(const AttentionPlan& plan) {
  HEED_RETURN_IF_ERROR(CheckRing(plan));
  for (const OptionView& row : kOptionViews) {
    if (!IsList(row)) HEED_RETURN_IF_ERROR(CheckView(row, plan));
  }
  return CheckTree(plan);
}

}  // namespace heed::inline v1
