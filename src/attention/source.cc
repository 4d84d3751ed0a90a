#include "src/attention/source.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/cache/kv_cache.h"

namespace heed {
namespace {

// i32 [batch + 1], from 0 to `total` and never down; the longest sequence in `longest`.
Status CheckOffsets(const char* name, const TensorView& offsets, size_t batch, size_t total,
                    size_t* longest) {
  HEED_RETURN_IF_ERROR(CheckInput(name, offsets, DType::kI32, 1, 1));
  if (offsets.shape[0] != batch + 1) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: has %zu elements, must have %zu", name,
                         offsets.shape[0], batch + 1);
  }
  if (At<int32_t>(offsets, 0) != 0 ||
      static_cast<int64_t>(At<int32_t>(offsets, batch)) != static_cast<int64_t>(total)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: goes from %d to %d, must go from 0 to the %zu rows", name,
                         At<int32_t>(offsets, 0), At<int32_t>(offsets, batch), total);
  }
  *longest = 0;
  for (size_t b = 0; b < batch; ++b) {
    const int32_t begin = At<int32_t>(offsets, b), end = At<int32_t>(offsets, b + 1);
    if (end < begin) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "%s: decreases from %d to %d at element %zu", name, begin, end, b + 1);
    }
    *longest = std::max(*longest, static_cast<size_t>(end - begin));
  }
  return Status();
}

// The tensors hold only some of the keys.
Status PlanPart(const KeySource& source, AttentionPlan* plan) {
  const size_t first = source.first_key, total = source.total_keys;
  if (first > total || plan->k.len > total - first || first % kSegmentKeys != 0 ||
      (plan->k.len % kSegmentKeys != 0 && first + plan->k.len != total)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "first_key: keys %zu to %zu of %zu, must lie within and be cut at "
                         "multiples of %zu",
                         first, first + plan->k.len, total, kSegmentKeys);
  }
  plan->first_key = first;
  plan->kv_len = total;
  return Status();
}

Status PlanTensors(const KeySource& source, AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckInput("k", source.k, DType::kF32, 3, 4));
  plan->k = AsHeads(source.k);
  HEED_RETURN_IF_ERROR(CheckHeads("k", source.k, plan->q.batch, plan->k.heads));
  HEED_RETURN_IF_ERROR(CheckHeads("v", source.v, plan->q.batch, plan->k.heads));
  plan->v = AsHeads(source.v);
  if (plan->v.len != plan->k.len) {
    return Status::Error(StatusCode::kInvalidArgument, "v: has %zu keys, k has %zu", plan->v.len,
                         plan->k.len);
  }
  plan->kv_len = plan->k.len;
  if (source.total_keys != SIZE_MAX) HEED_RETURN_IF_ERROR(PlanPart(source, plan));
  if (plan->packed() != !plan->options.cu_seqlens_k.absent()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "cu_seqlens_k: is %s, must be given with cu_seqlens_q and only then",
                         plan->packed() ? "missing" : "given");
  }
  if (!plan->packed()) return Status();
  if (source.k.rank != 3 || source.v.rank != 3) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "k, v: ranks are %zu and %zu, must be 3 with cu_seqlens_k", source.k.rank,
                         source.v.rank);
  }
  return CheckOffsets("cu_seqlens_k", plan->options.cu_seqlens_k, plan->batch, plan->k.len,
                      &plan->kv_len);
}

Status PlanCache(const KvCache& cache, size_t new_tokens, AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckCache(cache));
  const KvCacheConfig& c = cache.config();
  if (plan->packed() || !plan->options.cu_seqlens_k.absent()) {
    return Status::Error(StatusCode::kInvalidArgument, "cu_seqlens: can't be used with a KvCache");
  }
  plan->k.batch = plan->v.batch = c.batch;
  plan->k.heads = plan->v.heads = c.num_kv_heads;
  plan->k.dim = c.head_dim;
  plan->v.dim = c.v_head_dim;
  plan->kv_len = cache.length() + new_tokens;
  if (plan->batch != c.batch) {
    return Status::Error(StatusCode::kInvalidArgument, "q: batch is %zu, the cache's is %zu",
                         plan->batch, c.batch);
  }
  return Status();
}

Status CheckBlockTable(const PagedKv& paged, size_t batch, size_t* longest) {
  const size_t num_blocks = paged.k.shape[0], block_size = paged.k.shape[1];
  for (size_t b = 0; b < batch; ++b) {
    const int32_t len = At<int32_t>(paged.seq_lens, b);
    if (len < 0 || static_cast<size_t>(len) > paged.block_table.shape[1] * block_size) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "seq_lens: element %zu is %d, must be 0 to %zu (blocks of the table "
                           "times block_size)",
                           b, len, paged.block_table.shape[1] * block_size);
    }
    for (size_t n = 0; n * block_size < static_cast<size_t>(len); ++n) {
      const int32_t block = At<int32_t>(paged.block_table, b, n);
      if (block < 0 || static_cast<size_t>(block) >= num_blocks) {
        return Status::Error(StatusCode::kInvalidArgument,
                             "block_table: element [%zu, %zu] is %d, must be 0 to %zu", b, n, block,
                             num_blocks - 1);
      }
    }
    *longest = std::max(*longest, static_cast<size_t>(len));
  }
  return Status();
}

Status PlanPages(const PagedKv& paged, AttentionPlan* plan) {
  if (!plan->options.cu_seqlens_k.absent() || !plan->options.kv_lens.absent()) {
    return Status::Error(
        StatusCode::kInvalidArgument,
        "cu_seqlens_k, kv_lens: can't be used with pages, whose seq_lens say the lengths");
  }
  HEED_RETURN_IF_ERROR(CheckInput("k", paged.k, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckInput("v", paged.v, DType::kF32, 4, 4));
  HEED_RETURN_IF_ERROR(CheckInput("block_table", paged.block_table, DType::kI32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckInput("seq_lens", paged.seq_lens, DType::kI32, 1, 1));
  if (!std::equal(paged.k.shape, paged.k.shape + 3, paged.v.shape) || paged.k.shape[1] == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "v: shape is %s, must be that of k, %s, but for v_head_dim, and "
                         "block_size at least 1",
                         ShapeText(paged.v).text, ShapeText(paged.k).text);
  }
  if (paged.block_table.shape[0] != plan->batch || paged.seq_lens.shape[0] != plan->batch) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "block_table, seq_lens: are for %zu and %zu sequences, must be for %zu",
                         paged.block_table.shape[0], paged.seq_lens.shape[0], plan->batch);
  }
  plan->k = AsHeads(paged.k);
  plan->v = AsHeads(paged.v);
  plan->kv_len = 0;
  return CheckBlockTable(paged, plan->batch, &plan->kv_len);
}

}  // namespace

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

Status PlanQueries(const TensorView& q, AttentionPlan* plan) {
  plan->q = AsHeads(q);
  plan->batch = plan->q.batch;
  plan->q_len = plan->q.len;
  if (!plan->packed()) return Status();
  const TensorView& offsets = plan->options.cu_seqlens_q;
  if (q.rank != 3) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "q: rank is %zu, must be 3 with cu_seqlens_q", q.rank);
  }
  HEED_RETURN_IF_ERROR(CheckInput("cu_seqlens_q", offsets, DType::kI32, 1, 1));
  if (offsets.shape[0] == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "cu_seqlens_q: is empty, must have batch + 1 elements");
  }
  plan->batch = offsets.shape[0] - 1;
  return CheckOffsets("cu_seqlens_q", offsets, plan->batch, plan->q.len, &plan->q_len);
}

Status PlanKeys(const KeySource& source, AttentionPlan* plan) {
  if (source.cache != nullptr) {
    plan->keys = KeyBlocks::OfCache(*source.cache);
    return PlanCache(*source.cache, source.new_tokens, plan);
  }
  if (source.paged != nullptr) {
    HEED_RETURN_IF_ERROR(PlanPages(*source.paged, plan));
    plan->keys = KeyBlocks::OfPages(plan->k, plan->v, source.paged->block_table);
    return Status();
  }
  HEED_RETURN_IF_ERROR(PlanTensors(source, plan));
  plan->keys = KeyBlocks::OfTensors(plan->k, plan->v);
  return Status();
}

}  // namespace heed
