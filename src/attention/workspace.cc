#include "src/attention/workspace.h"

#include <algorithm>

#include "src/base/parallel.h"
#include "src/kernels/infinity.h"

namespace heed::inline v1 {

AttentionWorkspace::AttentionWorkspace(const AttentionPlan& plan, Arena* arena)
    : queries(arena->TakeIf<float>(!plan.key_codes(), plan.row_block, plan.q.dim)),
      widened_queries(arena->TakeIf<float>(plan.q.dtype != DType::kF32 || plan.key_codes(),
                                           kTileRows, plan.q.dim)),
      q_codes(arena->TakeIf<int16_t>(plan.key_codes(), plan.row_block, CodesOfRow(plan.q.dim))),
      q_scales(
          arena->TakeIf<float>(plan.key_codes(), plan.row_block, CeilDiv(plan.q.dim, kSumChunk))),
      max(arena->Take<float>(plan.row_block)),
      lanes(arena->Take<float>(plan.row_block, kSumLanes)),
      acc(arena->Take<float>(plan.row_block, plan.acc_stride)),
      total_max(arena->Take<float>(plan.row_block)),
      total_sum(arena->Take<float>(plan.row_block)),
      total_acc(arena->Take<float>(plan.row_block, plan.acc_stride)),
      slope(arena->TakeIf<float>(!plan.options.alibi_slopes.absent(), plan.row_block)),
      groups(arena->Take<RowGroup>(CeilDiv(plan.row_block, kScoreRows))),
      keys(arena->Take<float>(plan.key_codes() ? plan.keys.KeyCodeScratch()
                                               : plan.keys.KeyScratch())),
      values(arena->Take<float>(plan.value_codes() ? plan.keys.ValueCodeScratch()
                                                   : plan.keys.ValueScratch())),
      scores(arena->Take<float>(kScoreRows, kKeyBlock)),
      weights(arena->TakeIf<float>(plan.wants_weights(), kScoreRows, kKeyBlock)),
      block(plan, arena),
      prefetch(arena->TakeIf<PrefetchRow>(kPrefetch && plan.prefetch, kMaxPrefetchRows)) {}

AttentionWorkspace AttentionWorkspace::Group(const AttentionPlan& plan, size_t from) const {
  AttentionWorkspace w = *this;
  if (w.q_codes == nullptr) {
    w.queries += from * plan.q.dim;
  } else {
    w.q_codes += from * CodesOfRow(plan.q.dim);
    w.q_scales += from * CeilDiv(plan.q.dim, kSumChunk);
  }
  w.max += from;
  w.lanes += from * kSumLanes;
  w.acc += from * plan.acc_stride;
  w.total_max += from;
  w.total_sum += from;
  w.total_acc += from * plan.acc_stride;
  if (w.slope != nullptr) w.slope += from;
  w.groups += from / kScoreRows;
  return w;
}

AttentionMemory::AttentionMemory(const AttentionPlan& plan, Arena* arena) {
  const bool weights = plan.wants_weights();
  totals.shift = arena->TakeIf<float>(weights, plan.batch, plan.k.heads, plan.q_len, plan.group);
  totals.inverse = arena->TakeIf<float>(weights, plan.batch, plan.k.heads, plan.q_len, plan.group);
  totals.largest = arena->TakeIf<float>(weights, plan.segments, plan.all_rows());
  if (plan.split && !plan.part()) {
    const size_t n = plan.segments, b = plan.q.batch, q = plan.q.len, h = plan.q.heads;
    const size_t dim = plan.acc_stride;
    parts.views.acc = MutableTensorView(arena->Take<float>(n, b, q, h, dim), {n, b, q, h, dim});
    parts.views.max = MutableTensorView(arena->Take<float>(n, b, q, h), {n, b, h, q});
    parts.views.sum = MutableTensorView(arena->Take<float>(n, b, q, h), {n, b, h, q});
  }
  hidden = HiddenBlocks(plan, arena);
  workers = arena->Take<char>(plan.workers, plan.worker_bytes);
}

Status AttentionMemory::Clear(const AttentionPlan& plan, const Context::Impl& context) const {
  if (totals.largest == nullptr && !hidden.present()) return Status();
  return Once(context, [&] {
    if (totals.largest != nullptr) {
      std::fill_n(totals.largest, plan.segments * plan.all_rows(), kMinusInfinity);
    }
    if (hidden.present()) hidden.Clear(plan);
  });
}

void PlanMemory(const Context::Impl& context, AttentionPlan* plan) {
  if (plan->writes_nothing || plan->empty()) return;
  const size_t heads = plan->batch * plan->k.heads;
  const size_t blocks = plan->wants_weights() ? CeilDiv(plan->kv_len, kKeyBlock) : 0;
  const size_t pieces = plan->row_blocks * (plan->split || plan->part() ? plan->segments : 1);
  plan->workers = WorkersFor(context, heads * std::max(pieces, blocks), AttentionFlops(*plan));
  Arena worker, counted;
  (void)AttentionWorkspace(*plan, &worker);
  plan->worker_bytes = worker.used();
  (void)AttentionMemory(*plan, &counted);
  plan->bytes = counted.used();
}

}  // namespace heed::inline v1
