#include "src/attention/source.h"

#include <algorithm>
#include <cstring>

#include "src/base/check.h"
#include "src/cache/kv_cache.h"

namespace heed::inline v1 {
namespace {

// Keys or values in tensors or pages.
struct StoredOperand {
  const char *name, *scales_name;
  const TensorView &view, &scales;
  size_t channels;  // of a head, as q or out has them

  bool quantized() const { return HasScales(view.dtype); }
};

Status CheckUnitStride(const char* name, const TensorView& view, DType of) {
  const size_t last = view.rank - 1;
  if (view.shape[last] <= 1 || view.strides[last] == 1) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s: stride of the last dimension is %td, must be 1 with %s", name,
                       view.strides[last], name_of(of));
}

// That codes have the scales that their type needs, and nothing else has any.
Status CheckScales(const StoredOperand& of) {
  const DType dtype = of.view.dtype;
  if (!of.quantized()) {
    if (of.scales.absent()) return Status();
    return Status::Error(StatusCode::kInvalidArgument, "%s: are given, but %s is %s and has none",
                         of.scales_name, of.name, name_of(dtype));
  }
  if (of.scales.absent()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: are missing, must be given for %s of %s", of.scales_name, of.name,
                         name_of(dtype));
  }
  const bool int8 = dtype == DType::kInt8;
  const size_t rank = of.view.rank - (int8 ? 1 : 0);
  HEED_RETURN_IF_ERROR(
      CheckInput(of.scales_name, of.scales, int8 ? DType::kF32 : DType::kF16, rank, rank));
  if (!int8) HEED_RETURN_IF_ERROR(CheckUnitStride(of.scales_name, of.scales, dtype));
  size_t want[kMaxRank] = {};
  std::copy_n(of.view.shape, of.view.rank - 1, want);
  if (!int8) want[rank - 1] = CeilDiv(of.channels, kInt4Group);
  if (std::memcmp(want, of.scales.shape, rank * sizeof(size_t)) == 0) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be %s", of.scales_name,
                       ShapeText(of.scales).text,
                       ShapeText(TensorView(nullptr, DType::kF32, want, rank)).text);
}

Status CheckStoredOperand(const StoredOperand& of, size_t min_rank) {
  const DType dtype = of.view.dtype;
  HEED_RETURN_IF_ERROR(CheckInput(of.name, of.view, dtype, min_rank, 4));
  if (StoredIndex(dtype) == kStoredTypes) {
    return Status::Error(StatusCode::kUnsupported,
                         "%s: dtype is %s, must be f32, f16, bf16, int8 or int4", of.name,
                         name_of(dtype));
  }
  HEED_RETURN_IF_ERROR(CheckBuilt(of.name, dtype));
  if (of.quantized()) HEED_RETURN_IF_ERROR(CheckUnitStride(of.name, of.view, dtype));
  if (dtype == DType::kInt4 && of.view.shape[of.view.rank - 1] != CeilDiv(of.channels, 2)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must end in %zu bytes for %zu codes of int4", of.name,
                         ShapeText(of.view).text, CeilDiv(of.channels, 2), of.channels);
  }
  return CheckScales(of);
}

// What AsHeads gives, of codes with as many channels as there are.
StoredRows RowsOf(const StoredOperand& of, const WidenKernels& widen) {
  HeadsView view = AsHeads(of.view), scales;
  if (of.view.dtype == DType::kInt4) view.dim = of.channels;
  if (of.quantized()) {
    scales.data = of.scales.data;
    scales.dtype = of.scales.dtype;
    scales.element_bytes = static_cast<ptrdiff_t>(size_of(of.scales.dtype));
    const size_t first = of.view.rank - 3;
    if (first == 1) scales.batch_stride = of.scales.strides[0];
    scales.len_stride = of.scales.strides[first];
    scales.head_stride = of.scales.strides[first + 1];
  }
  return StoredRows(widen, view, scales);
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

Status PlanTensors(const Context::Impl& context, const KeySource& source, AttentionPlan* plan) {
  const AttentionOptions& o = plan->options;
  const StoredOperand k = {"k", "k_scales", source.k, o.k_scales, plan->q.dim};
  const StoredOperand v = {"v", "v_scales", source.v, o.v_scales, plan->out.dim};
  HEED_RETURN_IF_ERROR(CheckStoredOperand(k, 3));
  const size_t num_kv_heads = AsHeads(source.k).heads;
  HEED_RETURN_IF_ERROR(CheckHeads("k", source.k, plan->q.batch, num_kv_heads));
  HEED_RETURN_IF_ERROR(CheckStoredOperand(v, 3));
  HEED_RETURN_IF_ERROR(CheckHeads("v", source.v, plan->q.batch, num_kv_heads));
  const StoredRows keys = RowsOf(k, *context.widen), values = RowsOf(v, *context.widen);
  plan->k = keys.view;
  plan->v = values.view;
  plan->keys = KeyBlocks::OfTensors(*context.pack, *context.widen, keys, values);
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
  return Status();
}

Status PlanCache(const KvCache& cache, size_t new_tokens, AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckCache(cache));
  const KvCacheConfig& c = cache.config();
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

Status PlanPages(const Context::Impl& context, const PagedKv& paged, AttentionPlan* plan) {
  const StoredOperand k = {"k", "k_scales", paged.k, paged.k_scales, plan->q.dim};
  const StoredOperand v = {"v", "v_scales", paged.v, paged.v_scales, plan->out.dim};
  HEED_RETURN_IF_ERROR(CheckStoredOperand(k, 4));
  HEED_RETURN_IF_ERROR(CheckStoredOperand(v, 4));
  HEED_RETURN_IF_ERROR(CheckInput("block_table", paged.block_table, DType::kI32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckInput("seq_lens", paged.seq_lens, DType::kI32, 1, 1));
  if (std::memcmp(paged.k.shape, paged.v.shape, 3 * sizeof(size_t)) != 0 || paged.k.shape[1] == 0) {
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
  const StoredRows keys = RowsOf(k, *context.widen), values = RowsOf(v, *context.widen);
  plan->k = keys.view;
  plan->v = values.view;
  plan->keys = KeyBlocks::OfPages(*context.pack, *context.widen, keys, values);
  return CheckSize("max_blocks", paged.block_table.shape[1]);
}

int32_t Read(const TensorView& list, size_t i) { return At<int32_t>(list, i); }

// One of `lengths`, in [0, most].
Status ReadLength(const char* name, const TensorView& lengths, size_t b, size_t most,
                  size_t* length) {
  const int32_t value = Read(lengths, b);
  if (value < 0 || static_cast<size_t>(value) > most) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: element %zu is %d, must be 0 to %zu",
                         name, b, value, most);
  }
  *length = static_cast<size_t>(value);
  return Status();
}

// Walks i32 [batch + 1] from 0 to `total`, never down: visit(b, begin, end).
template <class Visit>
Status ReadOffsets(const char* name, const TensorView& offsets, size_t batch, size_t total,
                   const Visit& visit) {
  int32_t begin = Read(offsets, 0);
  const int32_t first = begin;
  for (size_t b = 0; b < batch; ++b) {
    const int32_t end = Read(offsets, b + 1);
    if (end < begin) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "%s: decreases from %d to %d at element %zu", name, begin, end, b + 1);
    }
    visit(b, begin, static_cast<size_t>(int64_t{end} - begin));
    begin = end;
  }
  if (first == 0 && static_cast<size_t>(begin) == total) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s: goes from %d to %d, must go from 0 to the %zu rows", name, first, begin,
                       total);
}

// i32 [n], ascending, each below `limit`.
Status ReadChosen(const char* name, const TensorView& from, size_t limit, int32_t* to,
                  Chosen* chosen) {
  if (from.absent()) return Status();
  int64_t last = -1;
  for (size_t n = 0; n < from.shape[0]; ++n) {
    const int32_t index = Read(from, n);
    if (index <= last || static_cast<size_t>(index) >= limit) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "%s: element %zu is %d, must ascend and be below %zu", name, n, index,
                           limit);
    }
    last = to[n] = index;
  }
  *chosen = {false, {to, from.shape[0]}};
  return Status();
}

// What ReadLengths copies to.
struct Copies {
  Sequence* sequences;
  int32_t *heads, *queries, *blocks;

  Copies(const AttentionPlan& plan, Arena* arena) {
    const AttentionOptions& o = plan.options;
    sequences = arena->Take<Sequence>(plan.batch);
    heads = arena->TakeIf<int32_t>(!o.weights_heads.absent(), o.weights_heads.shape[0]);
    queries = arena->TakeIf<int32_t>(!o.weights_queries.absent(), o.weights_queries.shape[0]);
    const PagedKv* paged = plan.source.paged;
    const size_t most =  // of a sequence of less than 2^31 keys
        paged == nullptr
            ? 0
            : std::min(paged->block_table.shape[1], CeilDiv(size_t{INT32_MAX}, paged->k.shape[1]));
    blocks = arena->TakeIf<int32_t>(paged != nullptr, plan.batch * most);
  }
};

// The blocks that hold the first kv_len tokens of sequence b; `to` moves behind them.
Status ReadBlocks(const PagedKv& paged, size_t b, size_t kv_len, int32_t** to) {
  const size_t num_blocks = paged.k.shape[0], count = CeilDiv(kv_len, paged.k.shape[1]);
  for (size_t n = 0; n < count; ++n) {
    const int32_t block = At<int32_t>(paged.block_table, b, n);
    if (block < 0 || static_cast<size_t>(block) >= num_blocks) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "block_table: element [%zu, %zu] is %d, must be one of the pool's %zu "
                           "blocks, counted from 0",
                           b, n, block, num_blocks);
    }
    *(*to)++ = block;
  }
  return Status();
}

// How many keys each sequence has, and which blocks hold them.
Status ReadPages(const PagedKv& paged, AttentionPlan* plan, const Copies& copies) {
  const size_t most = paged.block_table.shape[1] * paged.k.shape[1];
  int32_t* blocks = copies.blocks;
  plan->kv_len = 0;
  for (size_t b = 0; b < plan->batch; ++b) {
    Sequence& s = copies.sequences[b];
    HEED_RETURN_IF_ERROR(ReadLength("seq_lens", paged.seq_lens, b, most, &s.kv_len));
    s.blocks = blocks;
    HEED_RETURN_IF_ERROR(ReadBlocks(paged, b, s.kv_len, &blocks));
    plan->kv_len = std::max(plan->kv_len, s.kv_len);
  }
  return Status();
}

Status ReadPacked(AttentionPlan* plan, Sequence* sequences) {
  const AttentionOptions& o = plan->options;
  plan->q_len = 0;
  HEED_RETURN_IF_ERROR(ReadOffsets("cu_seqlens_q", o.cu_seqlens_q, plan->batch, plan->q.len,
                                   [&](size_t b, int32_t begin, size_t len) {
                                     plan->q_len = std::max(plan->q_len, len);
                                     if (sequences == nullptr) return;
                                     sequences[b].q_begin = static_cast<size_t>(begin);
                                     sequences[b].q_len = len;
                                   }));
  if (o.cu_seqlens_k.absent()) return Status();
  plan->kv_len = 0;
  return ReadOffsets("cu_seqlens_k", o.cu_seqlens_k, plan->batch, plan->k.len,
                     [&](size_t b, int32_t begin, size_t len) {
                       plan->kv_len = std::max(plan->kv_len, len);
                       if (sequences == nullptr) return;
                       sequences[b].kv_begin = begin;
                       sequences[b].kv_len = len;
                     });
}

Status CheckOffsetsAreThere(const char* name, const TensorView& offsets) {
  if (offsets.absent() || offsets.data != nullptr) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s: data is null, must be there to measure too, as lengths decide", name);
}

// The sizes that ReadLengths finds, for a call that measures. Nothing is kept.
Status MeasureLengths(AttentionPlan* plan) {
  const AttentionOptions& o = plan->options;
  if (plan->packed()) {
    HEED_RETURN_IF_ERROR(CheckOffsetsAreThere("cu_seqlens_q", o.cu_seqlens_q));
    HEED_RETURN_IF_ERROR(CheckOffsetsAreThere("cu_seqlens_k", o.cu_seqlens_k));
    HEED_RETURN_IF_ERROR(ReadPacked(plan, nullptr));
  }
  if (plan->source.paged == nullptr) return Status();
  const PagedKv& paged = *plan->source.paged;
  const size_t most = paged.block_table.shape[1] * paged.k.shape[1];
  plan->kv_len = 0;
  for (size_t b = 0; b < plan->batch; ++b) {
    size_t length = std::min(most, size_t{INT32_MAX});
    if (paged.seq_lens.data != nullptr) {
      HEED_RETURN_IF_ERROR(ReadLength("seq_lens", paged.seq_lens, b, most, &length));
    }
    plan->kv_len = std::max(plan->kv_len, length);
  }
  return Status();
}

}  // namespace

Status CheckHeads(const char* name, const TensorView& view, size_t batch, size_t heads) {
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
  return Status();
}

Status PlanKeys(const Context::Impl& context, const KeySource& source, AttentionPlan* plan) {
  if (source.cache != nullptr) {
    plan->keys = KeyBlocks::OfCache(*context.pack, *context.widen, *source.cache);
    return PlanCache(*source.cache, source.new_tokens, plan);
  }
  if (source.paged != nullptr) return PlanPages(context, *source.paged, plan);
  return PlanTensors(context, source, plan);
}

Status ReadLengths(Context::Impl& context, AttentionPlan* plan) {
  Arena arena;
  Copies(*plan, &arena);
  plan->lists_bytes = arena.used();
  if (context.measures) return MeasureLengths(plan);
  HEED_RETURN_IF_ERROR(context.ReserveLists(plan->lists_bytes, &arena));
  const Copies copies(*plan, &arena);
  const AttentionOptions& o = plan->options;
  const ptrdiff_t first_key = static_cast<ptrdiff_t>(plan->first_key);
  for (size_t b = 0; b < plan->batch; ++b) {
    Sequence& s = copies.sequences[b];
    s = {0, plan->q_len, -first_key, plan->kv_len, 0, 0, nullptr};
    if (!o.kv_lens.absent()) {
      HEED_RETURN_IF_ERROR(ReadLength("kv_lens", o.kv_lens, b, plan->kv_len, &s.kv_len));
    }
    if (!o.prefix_lens.absent()) {
      HEED_RETURN_IF_ERROR(
          ReadLength("prefix_lens", o.prefix_lens, b, size_t{INT32_MAX}, &s.prefix_len));
    }
  }
  if (plan->packed()) HEED_RETURN_IF_ERROR(ReadPacked(plan, copies.sequences));
  if (plan->source.paged != nullptr) {
    HEED_RETURN_IF_ERROR(ReadPages(*plan->source.paged, plan, copies));
  }
  for (size_t b = 0; b < plan->batch; ++b) {
    Sequence& s = copies.sequences[b];
    if (o.causal_alignment != CausalAlignment::kBottomRight) continue;
    s.position = static_cast<ptrdiff_t>(s.kv_len) - static_cast<ptrdiff_t>(s.q_len);
  }
  plan->sequences = copies.sequences;
  HEED_RETURN_IF_ERROR(ReadChosen("weights_heads", o.weights_heads, plan->q.heads, copies.heads,
                                  &plan->weights_heads));
  return ReadChosen("weights_queries", o.weights_queries, plan->q_len, copies.queries,
                    &plan->weights_queries);
}

}  // namespace heed::inline v1
