#include "src/layer/multi_head_attention.h"

#include <algorithm>

#include "src/attention/attention.h"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/convert.h"
#include "src/base/parallel.h"
#include "src/cache/kv_cache.h"

namespace heed::inline v1 {
namespace {

// [batch, seq, width] as the [batch * seq, width] that matmul takes; false when strides do not
// allow it.
bool Flatten(const TensorView& view, size_t batch, size_t seq, TensorView* flat) {
  const size_t first = view.rank - 2;
  if (first == 1 && batch > 1 && seq > 0 &&
      view.strides[0] != static_cast<ptrdiff_t>(seq) * view.strides[1]) {
    return false;
  }
  const size_t shape[] = {batch * seq, view.shape[first + 1]};
  const ptrdiff_t strides[] = {view.strides[first], view.strides[first + 1]};
  *flat = TensorView(view.data, view.dtype, shape, 2, strides, 2);
  return true;
}

TensorView FirstSequence(const TensorView& view) {
  const size_t first = view.rank - 2;
  return TensorView(view.data, view.dtype, view.shape + first, 2, view.strides + first, 2);
}

MutableTensorView Writable(const TensorView& view) {
  return MutableTensorView(const_cast<void*>(view.data), view.dtype, view.shape, view.rank,
                           view.strides, view.rank);
}

// `bias` may be null.
Status PlanProjection(const TensorView& from, const PackedMatrix& weights, Compute compute,
                      const float* bias, const TensorView& to, size_t batch, size_t seq,
                      const Context::Impl& context, ProjectionPlan* plan) {
  MatmulOptions options;
  options.compute = compute;
  if (bias != nullptr) options.bias = TensorView(bias, {weights.out()});
  TensorView one_from, one_to;
  if (!Flatten(from, batch, seq, &one_from) || !Flatten(to, batch, seq, &one_to)) {
    one_from = FirstSequence(from);
    one_to = FirstSequence(to);
    plan->products = batch;
    plan->from_step = from.strides[0];
    plan->to_step = to.strides[0];
  }
  return PlanMatmul(one_from, weights, Writable(one_to), options, context, &plan->matmul);
}

Status RunProjection(const ProjectionPlan& plan, Arena arena, const Context::Impl& context) {
  MatmulPlan matmul = plan.matmul;
  for (size_t b = 0; b < plan.products; ++b) {
    HEED_RETURN_IF_ERROR(RunMatmul(matmul, arena, context));
    matmul.MoveBy(plan.from_step, plan.to_step);
  }
  return Status();
}

// The heads of [batch, seq, width] as [batch, seq, heads, dim], from column `first` on.
TensorView HeadsOf(const TensorView& view, size_t batch, size_t seq, size_t first, size_t heads,
                   size_t dim) {
  const size_t shape[] = {batch, seq, heads, dim};
  const ptrdiff_t batch_stride = view.rank == 3 ? view.strides[0] : 0;
  const ptrdiff_t strides[] = {batch_stride, view.strides[view.rank - 2],
                               static_cast<ptrdiff_t>(dim), 1};
  const auto* data = static_cast<const char*>(view.data);
  if (data != nullptr) data += first * size_of(view.dtype);  // a plan that measures has none
  return TensorView(data, view.dtype, shape, 4, strides, 4);
}

// RMSNorm of all heads [batch, seq, heads, dim], in place.
Status NormHeads(const TensorView& heads, const float* weight, float eps,
                 const Context::Impl& context) {
  const size_t seq = heads.shape[1], tokens = heads.shape[0] * seq, dim = heads.shape[3];
  constexpr double kFlopsPerElement = 8;
  const double flops = kFlopsPerElement * static_cast<double>(heads.num_elements());
  return ForEachTask(
      context, tokens, WorkersFor(context, tokens, flops), [&](size_t token, size_t) {
        const ptrdiff_t offset = static_cast<ptrdiff_t>(token / seq) * heads.strides[0] +
                                 static_cast<ptrdiff_t>(token % seq) * heads.strides[1];
        context.norm->rms(static_cast<float*>(Writable(heads).mutable_data()) + offset,
                          heads.shape[2], dim, weight, eps);
      });
}

// What the layer itself keeps during a call.
struct ForwardMemory {
  float* qkv;    // of every token side by side
  float* heads;  // null: they go to the caller's memory

  ForwardMemory(size_t batch, size_t seq, size_t width, size_t joined, Arena* arena)
      : qkv(arena->Take<float>(batch, seq, width)),
        heads(arena->TakeIf<float>(joined > 0, batch, seq, joined)) {}
};

// `cache` may be null.
Status CheckStoresIntegers(const KvCache* cache) {
  if (cache == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "cache: is null, must store keys or values as int8 or int4 for "
                         "config.attention_compute, int16");
  }
  const KvCacheConfig& c = cache->config();
  if (HasScales(c.k_dtype) || HasScales(c.v_dtype)) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "cache: stores keys as %s and values as %s, must store one of them as int8 "
                       "or int4 for config.attention_compute, int16",
                       name_of(c.k_dtype), name_of(c.v_dtype));
}

constexpr MultiHeadAttentionConfig kNoConfig;

Status MovedFrom() { return Status::Error(StatusCode::kInvalidArgument, "layer: was moved from"); }

}  // namespace

Status MultiHeadAttention::Impl::CheckForward(const TensorView& x, const MutableTensorView& y,
                                              const ForwardOptions& options) const {
  HEED_RETURN_IF_ERROR(CheckFloatInput("x", x, 2, 3));
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput("y", y, 2, 3));
  const size_t batch = x.rank == 3 ? x.shape[0] : 1, seq = x.shape[x.rank - 2];
  if (x.shape[x.rank - 1] != config.d_in) {
    return Status::Error(StatusCode::kInvalidArgument, "x: shape is %s, must end in d_in, %zu",
                         ShapeText(x).text, config.d_in);
  }
  const auto check_rows = [&](const char* name, const TensorView& view, size_t width) {
    if (view.rank == x.rank && view.shape[view.rank - 1] == width &&
        view.shape[view.rank - 2] == seq && (view.rank == 2 || view.shape[0] == batch)) {
      return Status();
    }
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be that of x, %s, with %zu as the last size", name,
                         ShapeText(view).text, ShapeText(x).text, width);
  };
  HEED_RETURN_IF_ERROR(check_rows("y", y, d_out()));
  const KvCache* cache = options.cache;
  const size_t past = cache != nullptr ? cache->length() : 0;
  if (cache != nullptr && !options.kv_lens.absent()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "kv_lens: can't be used with a cache, whose sequences have one length");
  }
  if (cache != nullptr) {
    HEED_RETURN_IF_ERROR(CheckCache(*cache));
    const KvCacheConfig& c = cache->config();
    if (c.batch != batch || c.num_kv_heads != config.num_kv_heads ||
        c.head_dim != config.head_dim || c.v_head_dim != config.v_head_dim) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "cache: is for batch %zu and %zu kv heads of %zu and %zu, must be %zu, "
                           "%zu, %zu and %zu",
                           c.batch, c.num_kv_heads, c.head_dim, c.v_head_dim, batch,
                           config.num_kv_heads, config.head_dim, config.v_head_dim);
    }
    if (c.values_in_keys != config.values_in_keys) {
      return Status::Error(
          StatusCode::kInvalidArgument, "cache: has values_in_keys %s, must be %s as the layer's",
          c.values_in_keys ? "true" : "false", config.values_in_keys ? "true" : "false");
    }
    if (c.window != 0 &&
        (config.window == 0 || config.window > c.window || config.sink_tokens > c.sink_tokens)) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "cache: keeps a window of %zu and %zu sink tokens, too few for the "
                           "layer's %zu (0: no limit) and %zu",
                           c.window, c.sink_tokens, config.window, config.sink_tokens);
    }
    if (seq > cache->room()) {
      return Status::Error(StatusCode::kCapacityExceeded,
                           "cache: at %zu tokens with capacity %zu it can take %zu more, not %zu",
                           past, c.capacity, cache->room(), seq);
    }
  }
  if (config.attention_compute == Compute::kInt16) {
    HEED_RETURN_IF_ERROR(CheckStoresIntegers(cache));
  }
  HEED_RETURN_IF_ERROR(CheckSize("batch", batch));
  HEED_RETURN_IF_ERROR(CheckSize("seq", seq));
  if (!options.positions.absent()) {
    HEED_RETURN_IF_ERROR(CheckPositions(options.positions, batch, seq));
  } else if (past + seq > INT32_MAX) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "x: positions beyond 2^31 are not supported");
  }
  if (!options.context.absent()) {
    HEED_RETURN_IF_ERROR(CheckRowOutput("context", options.context, 2, 3));
    HEED_RETURN_IF_ERROR(
        check_rows("context", options.context, config.num_heads * config.v_head_dim));
  }
  static_assert(sizeof(ForwardOptions) / sizeof(TensorView) == 7, "the views below");
  const NamedView outputs[] = {{"y", &y},
                               {"context", &options.context},
                               {"lse", &options.lse},
                               {"weights", &options.weights}};
  const NamedView inputs[] = {{"x", &x},
                              {"positions", &options.positions},
                              {"kv_lens", &options.kv_lens},
                              {"key_mask", &options.key_mask},
                              {"dropout.mask", &options.dropout.mask}};
  return CheckNoOverlaps(outputs, inputs);
}

AttentionOptions MultiHeadAttention::Impl::OptionsFor(const ForwardOptions& options) const {
  const auto per_head = [this](const float* values) {
    return values != nullptr ? TensorView(values, {config.num_heads}) : TensorView();
  };
  AttentionOptions attention;
  attention.scale = config.scale;
  attention.logits_soft_cap = config.logits_soft_cap;
  attention.alibi_slopes = per_head(alibi_slopes);
  attention.sinks = per_head(sinks);
  attention.causal = config.causal;
  attention.window = config.window;
  attention.sink_tokens = config.sink_tokens;
  attention.kv_lens = options.kv_lens;
  // Padding at the end must not shift the queries before it.
  if (!options.kv_lens.absent()) attention.causal_alignment = CausalAlignment::kTopLeft;
  attention.key_mask = options.key_mask;
  attention.dropout = options.dropout;
  attention.lse = options.lse;
  attention.weights = options.weights;
  attention.compute = config.attention_compute;
  return attention;
}

// Heads of queries and keys lie side by side and are normed and turned in place. The steps' memory
// begins behind the layer's own, and each takes it anew.
Status MultiHeadAttention::Impl::PlanSteps(const TensorView& x, const MutableTensorView& y,
                                           const ForwardOptions& options, Arena arena,
                                           Context::Impl& context, ForwardPlan* plan) const {
  const MultiHeadAttentionConfig& c = config;
  const size_t batch = plan->batch, seq = plan->seq, width = qkv.out();
  plan->own_heads = OwnHeads(options);
  const ForwardMemory memory(batch, seq, width, plan->own_heads, &arena);
  const MutableTensorView projected(memory.qkv, {batch, seq, width});
  // Heads that are asked for in f32 and are the result are written as f32 first.
  MutableTensorView heads = has_out || !options.context.absent() ? options.context : y;
  if (plan->own_heads > 0) heads = MutableTensorView(memory.heads, {batch, seq, joined()});

  const size_t k_first = c.num_heads * c.head_dim, v_first = k_first + c.num_kv_heads * c.head_dim;
  plan->q = HeadsOf(projected, batch, seq, 0, c.num_heads, c.head_dim);
  plan->k = HeadsOf(projected, batch, seq, k_first, c.num_kv_heads, c.head_dim);
  plan->v = c.values_in_keys
                ? plan->k.slice(3, 0, c.v_head_dim)
                : HeadsOf(projected, batch, seq, v_first, c.num_kv_heads, c.v_head_dim);
  size_t column = 0, projection_bytes = 0;
  for (size_t i = 0; i < qkv.count; ++i) {
    const size_t end = column + qkv.parts[i].out();
    HEED_RETURN_IF_ERROR(PlanProjection(
        x, qkv.parts[i], qkv.compute[i], qkv_bias != nullptr ? qkv_bias + column : nullptr,
        projected.slice(2, column, end), batch, seq, context, &plan->qkv[i]));
    projection_bytes = std::max(projection_bytes, plan->qkv[i].matmul.bytes);
    column = end;
  }
  const KvCache* cache = options.cache;
  const MutableTensorView turned =
      Writable(HeadsOf(projected, batch, seq, 0, c.num_heads + c.num_kv_heads, c.head_dim));
  if (c.rope) {
    const size_t past = cache != nullptr ? cache->length() : 0;
    HEED_RETURN_IF_ERROR(
        options.positions.absent()
            ? PlanRope(turned, past, turned, *c.rope, context, &plan->rope)
            : PlanRope(turned, options.positions, turned, *c.rope, context, &plan->rope));
  }
  if (c.hadamard) PlanHadamard(turned, turned, context, &plan->hadamard);
  KeySource source;
  if (cache == nullptr) {
    source.k = plan->k;
    source.v = plan->v;
  } else {
    source.cache = cache;
    source.new_tokens = seq;
    plan->cache = KvCache::Impl::Of(*options.cache);
    HEED_RETURN_IF_ERROR(plan->cache->PlanAppend(plan->k, c.values_in_keys ? nullptr : &plan->v,
                                                 context, &plan->append));
  }
  const MutableTensorView out = Writable(HeadsOf(heads, batch, seq, 0, c.num_heads, c.v_head_dim));
  const NamedView outputs[] = {{"out", &out}};
  HEED_RETURN_IF_ERROR(
      PlanAttention(plan->q, source, out, outputs, OptionsFor(options), context, &plan->attention));
  if (has_out) {
    HEED_RETURN_IF_ERROR(PlanProjection(heads, out_weights, out_compute, out_bias, y, batch, seq,
                                        context, &plan->out));
  } else if (!options.context.absent()) {
    plan->heads = options.context;
    plan->y = y;
  }
  const size_t own = arena.used();
  const size_t steps =
      std::max({projection_bytes, plan->rope.bytes, plan->hadamard.bytes, plan->append.bytes,
                plan->attention.bytes, plan->out.matmul.bytes});
  if (__builtin_add_overflow(own, steps, &plan->bytes)) plan->bytes = SIZE_MAX;
  return Status();
}

Status MultiHeadAttention::Impl::PlanForward(const TensorView& x, const MutableTensorView& y,
                                             const ForwardOptions& options, Context::Impl& context,
                                             ForwardPlan* plan, size_t front_bytes) const {
  HEED_RETURN_IF_ERROR(CheckForward(x, y, options));
  plan->batch = x.rank == 3 ? x.shape[0] : 1;
  plan->seq = x.shape[x.rank - 2];
  if (plan->empty()) return Status();
  // Where the layer's own memory lies is a part of the steps' plans. So they are made in what it
  // takes, and again should they need more and it moves.
  Arena own;
  own.Take<char>(front_bytes);
  ForwardMemory(plan->batch, plan->seq, qkv.out(), OwnHeads(options), &own);
  Arena first;  // counts where the context measures
  if (!context.measures) HEED_RETURN_IF_ERROR(context.Reserve(own.used(), &first));
  first.Take<char>(front_bytes);
  HEED_RETURN_IF_ERROR(PlanSteps(x, y, options, first, context, plan));
  const size_t lists = plan->attention.lists_bytes;
  HEED_RETURN_IF_ERROR(context.Reserve(plan->bytes, &plan->front, lists));
  plan->memory = plan->front;
  plan->memory.Take<char>(front_bytes);
  if (plan->memory.IsAt(first)) return Status();
  plan->attention = {};
  return PlanSteps(x, y, options, plan->memory, context, plan);
}

Status MultiHeadAttention::Impl::RunForward(const ForwardPlan& plan, Arena memory,
                                            const Context::Impl& context) const {
  if (plan.empty()) return Status();
  ForwardMemory(plan.batch, plan.seq, qkv.out(), plan.own_heads, &memory);
  for (size_t i = 0; i < qkv.count; ++i) {
    HEED_RETURN_IF_ERROR(RunProjection(plan.qkv[i], memory, context));
  }
  if (q_norm != nullptr) {
    HEED_RETURN_IF_ERROR(NormHeads(plan.q, q_norm, config.norm_eps, context));
  }
  if (k_norm != nullptr) {
    HEED_RETURN_IF_ERROR(NormHeads(plan.k, k_norm, config.norm_eps, context));
  }
  HEED_RETURN_IF_ERROR(RunRope(plan.rope, memory, context));
  HEED_RETURN_IF_ERROR(RunHadamard(plan.hadamard, memory, context));
  if (plan.cache != nullptr) {
    HEED_RETURN_IF_ERROR(plan.cache->RunAppend(plan.append, memory, context));
  }
  HEED_RETURN_IF_ERROR(RunAttention(plan.attention, memory, context));
  if (has_out) return RunProjection(plan.out, memory, context);
  return plan.heads.absent() ? Status() : RunConvert(plan.heads, plan.y, context);
}

MultiHeadAttention::MultiHeadAttention() = default;
MultiHeadAttention::~MultiHeadAttention() = default;
MultiHeadAttention::MultiHeadAttention(MultiHeadAttention&& other) noexcept = default;
MultiHeadAttention& MultiHeadAttention::operator=(MultiHeadAttention&& other) noexcept = default;

void MultiHeadAttention::Destroy::operator()(Impl* impl) const { Remove(impl); }

Status MultiHeadAttention::forward(const TensorView& x, const MutableTensorView& y,
                                   const ForwardOptions& options, Context& context) const {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  if (impl_ == nullptr) return MovedFrom();
  ForwardPlan plan;
  HEED_RETURN_IF_ERROR(impl_->PlanForward(x, y, options, *Context::Impl::Of(context), &plan));
  if (plan.empty()) return Status();
  KvCache* cache = options.cache;
  const size_t past = cache != nullptr ? cache->length() : 0;
  const Status status = impl_->RunForward(plan, plan.memory, *Context::Impl::Of(context));
  if (!status.ok() && cache != nullptr) HEED_RETURN_IF_ERROR(cache->truncate(past));
  return status;
}

Result<KvCache> MultiHeadAttention::create_cache(size_t batch, size_t capacity) const {
  if (impl_ == nullptr) return MovedFrom();
  return KvCache::create(cache_config(batch, capacity));
}

KvCacheConfig MultiHeadAttention::cache_config(size_t batch, size_t capacity) const {
  const MultiHeadAttentionConfig& c = config();
  KvCacheConfig cache;
  cache.batch = batch;
  cache.num_kv_heads = c.num_kv_heads;
  cache.head_dim = c.head_dim;
  cache.v_head_dim = c.v_head_dim;
  cache.capacity = capacity;
  cache.k_dtype = c.k_cache_dtype;
  cache.v_dtype = c.v_cache_dtype;
  cache.values_in_keys = c.values_in_keys;
  return cache;
}

const MultiHeadAttentionConfig& MultiHeadAttention::config() const {
  return impl_ ? impl_->config : kNoConfig;
}

size_t MultiHeadAttention::d_out() const { return impl_ ? impl_->d_out() : 0; }

size_t MultiHeadAttention::bytes() const { return impl_ ? impl_->bytes() : 0; }

}  // namespace heed::inline v1
