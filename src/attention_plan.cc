#include "src/attention_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/check.h"
#include "src/math.h"

namespace heed {
namespace {

// Rows of a task. The more, the less often keys are copied into panels; a row's queries and output
// are touched once per block, so they may stream from the outer caches (1.5 MB).
constexpr size_t kTaskFloats = 393216;
constexpr size_t kMaxTaskRows = 1024;
// Several threads get about so many tasks each, because causal tasks are uneven. With 8 the copying of
// keys, once per task, costs more than evenness gains (heed-bench --simulate-cores 64 and 192).
constexpr size_t kTasksPerThread = 4;
// So few rows leave threads idle unless the keys are split as well.
constexpr size_t kSplitRows = 32;
// A window is worth splitting when it spans several segments. Below, no memory is taken for the
// segments of the whole stream.
constexpr size_t kSplitWindow = 4 * kSegmentKeys;

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

// Finds the batch, and the queries of each sequence.
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

Status PlanCache(const KvCache& cache, AttentionPlan* plan) {
  const KvCacheConfig& c = cache.config();
  if (plan->packed() || !plan->options.cu_seqlens_k.absent()) {
    return Status::Error(StatusCode::kInvalidArgument, "cu_seqlens: can't be used with a KvCache");
  }
  plan->k.batch = plan->v.batch = c.batch;
  plan->k.heads = plan->v.heads = c.num_kv_heads;
  plan->k.dim = c.head_dim;
  plan->v.dim = c.v_head_dim;
  plan->kv_len = cache.length();
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
  plan->v_panels = CeilDiv(plan->out.dim, kPanel);
  plan->acc_stride = RoundUp(plan->out.dim, kColumnPad);
  size_t row_block = std::min(kTaskFloats / (plan->q.dim + 2 * plan->acc_stride), kMaxTaskRows);
  if (num_threads > 1) {
    const size_t heads = std::max<size_t>(1, plan->batch * plan->k.heads);
    row_block = std::min(row_block, CeilDiv(rows, CeilDiv(num_threads * kTasksPerThread, heads)));
  }
  plan->row_block = std::min(RoundUp(std::max<size_t>(row_block, 1), kScoreRows), rows);
  plan->row_blocks = rows == 0 ? 0 : CeilDiv(rows, plan->row_block);
  const bool part = plan->source.total_keys != SIZE_MAX;
  plan->segments = CeilDiv(part ? plan->k.len : plan->kv_len, kSegmentKeys);
  const size_t window = plan->options.window;
  plan->split = rows <= kSplitRows && plan->segments > 1 && (window == 0 || window > kSplitWindow);
}

size_t OperandFloats(const AttentionPlan& plan) {
  size_t floats = 0;
  for (const HeadsView* view : {&plan.q, &plan.k, &plan.v, &plan.out}) {
    floats += view->batch * view->len * view->heads * view->dim;
  }
  if (plan.source.cache != nullptr) {  // whose views have no length
    floats += plan.k.batch * plan.kv_len * plan.k.heads * (plan.k.dim + plan.v.dim);
  }
  return floats;
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

Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     const AttentionOptions& options, const Context::Impl& context,
                     AttentionPlan* plan) {
  HEED_RETURN_IF_ERROR(CheckInput("q", q, DType::kF32, 3, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("out", out, 3, 4));
  plan->out = AsHeads(out);
  plan->source = source;
  plan->options = options;
  HEED_RETURN_IF_ERROR(PlanQueries(q, plan));
  if (source.cache != nullptr) {
    HEED_RETURN_IF_ERROR(PlanCache(*source.cache, plan));
  } else if (source.paged != nullptr) {
    HEED_RETURN_IF_ERROR(PlanPages(*source.paged, plan));
  } else {
    HEED_RETURN_IF_ERROR(PlanTensors(source, plan));
  }
  HEED_RETURN_IF_ERROR(CheckDims(out, *plan));
  HEED_RETURN_IF_ERROR(CheckAttentionOptions(*plan));
  HEED_RETURN_IF_ERROR(CheckOverlaps(*plan, q, out));
  plan->group = plan->q.heads / plan->k.heads;
  plan->scale = options.scale ? *options.scale : 1.0f / std::sqrt(static_cast<float>(plan->q.dim));
  CutIntoTasks(context.num_threads, plan);
  plan->far = OperandFloats(*plan) > context.l2_bytes / sizeof(float);
  return Status();
}

Status alibi_slopes(const MutableTensorView& slopes) {
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
