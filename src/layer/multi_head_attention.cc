#include "heed/multi_head_attention.hpp"

#include "heed/convert.hpp"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/parallel.h"
#include "src/layer/rope.h"

namespace heed {
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

TensorView Sequence(const TensorView& view, size_t b) {
  if (view.rank == 2) return view;
  const TensorView one = view.slice(0, b, b + 1);
  return TensorView(one.data, one.dtype, one.shape + 1, 2, one.strides + 1, 2);
}

MutableTensorView Writable(const TensorView& view) {
  return MutableTensorView(const_cast<void*>(view.data), view.dtype, view.shape, view.rank,
                           view.strides, view.rank);
}

// to = from W + bias over [batch, seq, width], in one product where both sides allow it.
Status Project(const TensorView& from, const PackedMatrix& weights,
               const std::unique_ptr<float[]>& bias, const TensorView& to, size_t batch, size_t seq,
               Context& context) {
  MatmulOptions options;
  if (bias != nullptr) options.bias = TensorView(bias.get(), {weights.out()});
  TensorView flat_from, flat_to;
  if (Flatten(from, batch, seq, &flat_from) && Flatten(to, batch, seq, &flat_to)) {
    return matmul(flat_from, weights, Writable(flat_to), options, context);
  }
  for (size_t b = 0; b < batch; ++b) {
    HEED_RETURN_IF_ERROR(
        matmul(Sequence(from, b), weights, Writable(Sequence(to, b)), options, context));
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
  return TensorView(static_cast<const float*>(view.data) + first, DType::kF32, shape, 4, strides,
                    4);
}

// RMSNorm of all heads [batch, seq, heads, dim], in place.
void NormHeads(const TensorView& heads, const float* weight, float eps, Context& context) {
  const Context::Impl& impl = *context.impl();
  const size_t seq = heads.shape[1], tokens = heads.shape[0] * seq, dim = heads.shape[3];
  constexpr double kFlopsPerElement = 8;
  const double flops = kFlopsPerElement * static_cast<double>(heads.num_elements());
  ForEachTask(impl, tokens, WorkersFor(impl, tokens, flops), [&](size_t token, size_t) {
    const ptrdiff_t offset = static_cast<ptrdiff_t>(token / seq) * heads.strides[0] +
                             static_cast<ptrdiff_t>(token % seq) * heads.strides[1];
    impl.norm->rms(static_cast<float*>(Writable(heads).mutable_data()) + offset, heads.shape[2],
                   dim, weight, eps);
  });
}

}  // namespace

Result<KvCache> MultiHeadAttention::create_cache(size_t batch, size_t capacity) const {
  KvCacheConfig config;
  config.batch = batch;
  config.num_kv_heads = config_.num_kv_heads;
  config.head_dim = config_.head_dim;
  config.v_head_dim = config_.v_head_dim;
  config.capacity = capacity;
  return KvCache::create(config);
}

Status MultiHeadAttention::CheckForward(const TensorView& x, const MutableTensorView& y,
                                        const ForwardOptions& options) const {
  HEED_RETURN_IF_ERROR(CheckInput("x", x, DType::kF32, 2, 3));
  HEED_RETURN_IF_ERROR(CheckRowOutput("y", y, 2, 3));
  const size_t batch = x.rank == 3 ? x.shape[0] : 1, seq = x.shape[x.rank - 2];
  if (x.shape[x.rank - 1] != config_.d_in) {
    return Status::Error(StatusCode::kInvalidArgument, "x: shape is %s, must end in d_in, %zu",
                         ShapeText(x).text, config_.d_in);
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
    const KvCacheConfig& c = cache->config();
    if (c.batch != batch || c.num_kv_heads != config_.num_kv_heads ||
        c.head_dim != config_.head_dim || c.v_head_dim != config_.v_head_dim) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "cache: is for batch %zu and %zu kv heads of %zu and %zu, must be %zu, "
                           "%zu, %zu and %zu",
                           c.batch, c.num_kv_heads, c.head_dim, c.v_head_dim, batch,
                           config_.num_kv_heads, config_.head_dim, config_.v_head_dim);
    }
    if (c.window != 0 &&
        (config_.window == 0 || config_.window > c.window || config_.sink_tokens > c.sink_tokens)) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "cache: keeps a window of %zu and %zu sink tokens, too few for the "
                           "layer's %zu (0: no limit) and %zu",
                           c.window, c.sink_tokens, config_.window, config_.sink_tokens);
    }
    if (seq > cache->room()) {
      return Status::Error(StatusCode::kCapacityExceeded,
                           "cache: at %zu tokens with capacity %zu it can take %zu more, not %zu",
                           past, c.capacity, cache->room(), seq);
    }
  }
  if (!options.positions.absent()) {
    HEED_RETURN_IF_ERROR(CheckPositions(options.positions, batch, seq));
  } else if (past + seq > INT32_MAX) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "x: positions beyond 2^31 are not supported");
  }
  if (!options.context.absent()) {
    HEED_RETURN_IF_ERROR(CheckRowOutput("context", options.context, 2, 3));
    HEED_RETURN_IF_ERROR(
        check_rows("context", options.context, config_.num_heads * config_.v_head_dim));
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

AttentionOptions MultiHeadAttention::OptionsFor(const ForwardOptions& options) const {
  const auto per_head = [this](const std::unique_ptr<float[]>& values) {
    return values != nullptr ? TensorView(values.get(), {config_.num_heads}) : TensorView();
  };
  AttentionOptions attention;
  attention.scale = config_.scale;
  attention.logits_soft_cap = config_.logits_soft_cap;
  attention.alibi_slopes = per_head(alibi_slopes_);
  attention.sinks = per_head(sinks_);
  attention.causal = config_.causal;
  attention.window = config_.window;
  attention.sink_tokens = config_.sink_tokens;
  attention.kv_lens = options.kv_lens;
  // Padding at the end must not shift the queries before it.
  if (!options.kv_lens.absent()) attention.causal_alignment = CausalAlignment::kTopLeft;
  attention.key_mask = options.key_mask;
  attention.dropout = options.dropout;
  attention.lse = options.lse;
  attention.weights = options.weights;
  return attention;
}

// Heads of queries and keys lie side by side in `qkv` and are normed and turned in place.
Status MultiHeadAttention::Attend(const MutableTensorView& qkv, const MutableTensorView& heads,
                                  const ForwardOptions& options, Context& context) const {
  const MultiHeadAttentionConfig& c = config_;
  const size_t batch = qkv.shape[0], seq = qkv.shape[1];
  const size_t k_first = c.num_heads * c.head_dim, v_first = k_first + c.num_kv_heads * c.head_dim;
  const TensorView q = HeadsOf(qkv, batch, seq, 0, c.num_heads, c.head_dim);
  const TensorView k = HeadsOf(qkv, batch, seq, k_first, c.num_kv_heads, c.head_dim);
  const TensorView v = HeadsOf(qkv, batch, seq, v_first, c.num_kv_heads, c.v_head_dim);
  if (q_norm_ != nullptr) NormHeads(q, q_norm_.get(), c.norm_eps, context);
  if (k_norm_ != nullptr) NormHeads(k, k_norm_.get(), c.norm_eps, context);
  if (c.rope) {
    const MutableTensorView rotated =
        Writable(HeadsOf(qkv, batch, seq, 0, c.num_heads + c.num_kv_heads, c.head_dim));
    HEED_RETURN_IF_ERROR(rope(rotated, options.positions, rotated, *c.rope, context));
  }
  const MutableTensorView out = Writable(HeadsOf(heads, batch, seq, 0, c.num_heads, c.v_head_dim));
  KvCache* cache = options.cache;
  if (cache == nullptr) return attention(q, k, v, out, OptionsFor(options), context);
  const size_t past = cache->length();
  HEED_RETURN_IF_ERROR(cache->append(k, v));
  const Status status = attention(q, *cache, out, OptionsFor(options), context);
  if (!status.ok()) HEED_RETURN_IF_ERROR(cache->truncate(past));
  return status;
}

Status MultiHeadAttention::forward(const TensorView& x, const MutableTensorView& y,
                                   const ForwardOptions& options, Context& context) const {
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckForward(x, y, options));
  const size_t batch = x.rank == 3 ? x.shape[0] : 1, seq = x.shape[x.rank - 2];
  if (batch == 0 || seq == 0) return Status();
  const size_t width = qkv_.out(), joined = config_.num_heads * config_.v_head_dim;

  // q, k and v of every token side by side, the heads joined, and positions.
  const size_t factors[] = {batch, seq, width + joined + 1};
  size_t floats = 0;
  if (!Product(factors, 3, &floats)) {
    return Status::Error(StatusCode::kInvalidArgument, "x: shape %s is too large for this layer",
                         ShapeText(x).text);
  }
  float* memory = context.impl()->Reserve(Buffer::kLayer, floats);
  if (memory == nullptr) return OutOfMemory("workspace", floats * sizeof(float));
  const MutableTensorView qkv(memory, {batch, seq, width});
  HEED_RETURN_IF_ERROR(Project(x, qkv_, qkv_bias_, qkv, batch, seq, context));

  KvCache* cache = options.cache;
  const size_t past = cache != nullptr ? cache->length() : 0;
  ForwardOptions filled = options;
  if (options.positions.absent()) {
    auto* own = reinterpret_cast<int32_t*>(memory + batch * seq * (width + joined));
    for (size_t i = 0; i < seq; ++i) own[i] = static_cast<int32_t>(past + i);
    filled.positions = TensorView(own, {seq});
  }
  MutableTensorView heads(memory + batch * seq * width, {batch, seq, joined});
  if (!options.context.absent()) heads = options.context;
  if (!has_out_) heads = y;
  HEED_RETURN_IF_ERROR(Attend(qkv, heads, filled, context));
  if (!has_out_) return options.context.absent() ? Status() : convert(y, options.context);
  const Status status = Project(heads, out_, out_bias_, y, batch, seq, context);
  if (!status.ok() && cache != nullptr) HEED_RETURN_IF_ERROR(cache->truncate(past));
  return status;
}

}  // namespace heed
