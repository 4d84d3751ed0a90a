#include "heed/multi_head_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <new>

#include "heed/convert.hpp"
#include "src/check.h"
#include "src/context.h"
#include "src/rope.h"

namespace heed {
namespace {

struct Projection {
  const char* name;
  const LinearWeights* weights;
  size_t in, out;
};

Status CheckProjection(const Projection& p, WeightLayout layout) {
  char name[32];
  std::snprintf(name, sizeof(name), "%s.weight", p.name);
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, p.weights->weight, 2, 2));
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const size_t* shape = p.weights->weight.shape;
  if (shape[in_dim] != p.in || shape[1 - in_dim] != p.out) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu, %zu] ([%s])",
                         name, ShapeText(p.weights->weight).text, in_dim == 0 ? p.in : p.out,
                         in_dim == 0 ? p.out : p.in, in_dim == 0 ? "in, out" : "out, in");
  }
  if (p.weights->bias.absent()) return Status();
  std::snprintf(name, sizeof(name), "%s.bias", p.name);
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, p.weights->bias, 1, 1));
  if (p.weights->bias.shape[0] != p.out) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu]", name,
                         ShapeText(p.weights->bias).text, p.out);
  }
  return Status();
}

Status CheckConfig(MultiHeadAttentionConfig* c) {
  if (c->num_kv_heads == 0) c->num_kv_heads = c->num_heads;
  if (c->v_head_dim == 0) c->v_head_dim = c->head_dim;
  if (c->d_in == 0 || c->num_heads == 0 || c->head_dim == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: d_in %zu, num_heads %zu and head_dim %zu must be at least 1",
                         c->d_in, c->num_heads, c->head_dim);
  }
  if (c->num_heads % c->num_kv_heads != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: num_heads is %zu, must be a multiple of num_kv_heads, %zu",
                         c->num_heads, c->num_kv_heads);
  }
  constexpr size_t kLimit = size_t{1}
                            << 24;  // wider than any model, and sums of products can't wrap
  if (c->d_in > kLimit || c->num_heads > kLimit || c->head_dim > kLimit || c->v_head_dim > kLimit) {
    return Status::Error(
        StatusCode::kInvalidArgument,
        "config: d_in %zu, num_heads %zu, head_dim %zu, v_head_dim %zu must be at most %zu",
        c->d_in, c->num_heads, c->head_dim, c->v_head_dim, kLimit);
  }
  if (c->scale && !std::isfinite(*c->scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "config.scale: is %g, must be finite",
                         static_cast<double>(*c->scale));
  }
  if (c->rope) HEED_RETURN_IF_ERROR(CheckRope(*c->rope, c->head_dim, &c->rope->rope_dim));
  return Status();
}

// Biases side by side, 0 where there is none; null when none is given.
Status JoinBiases(const Projection* projections, size_t count, std::unique_ptr<float[]>* joined) {
  bool any = false;
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    any |= !projections[i].weights->bias.absent();
    total += projections[i].out;
  }
  if (!any) return Status();
  joined->reset(new (std::nothrow) float[total]());
  if (*joined == nullptr) return OutOfMemory("biases", total * sizeof(float));
  float* to = joined->get();
  for (size_t i = 0; i < count; to += projections[i].out, ++i) {
    if (projections[i].weights->bias.absent()) continue;
    HEED_RETURN_IF_ERROR(
        convert(projections[i].weights->bias, MutableTensorView(to, {projections[i].out})));
  }
  return Status();
}

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

}  // namespace

size_t MultiHeadAttention::d_out() const {
  return has_out_ ? out_.out() : config_.num_heads * config_.v_head_dim;
}

size_t MultiHeadAttention::bytes() const {
  return qkv_.bytes() + out_.bytes() +
         ((qkv_bias_ ? qkv_.out() : 0) + (out_bias_ ? out_.out() : 0)) * sizeof(float);
}

Result<KvCache> MultiHeadAttention::create_cache(size_t batch, size_t capacity) const {
  return KvCache::create(
      {batch, config_.num_kv_heads, config_.head_dim, config_.v_head_dim, capacity});
}

Result<MultiHeadAttention> MultiHeadAttention::create(const MultiHeadAttentionConfig& config,
                                                      const MultiHeadAttentionWeights& weights) {
  MultiHeadAttention layer;
  layer.config_ = config;
  HEED_RETURN_IF_ERROR(CheckConfig(&layer.config_));
  const MultiHeadAttentionConfig& c = layer.config_;
  const size_t q = c.num_heads * c.head_dim, k = c.num_kv_heads * c.head_dim,
               v = c.num_kv_heads * c.v_head_dim, joined = c.num_heads * c.v_head_dim;
  const bool fused = !weights.qkv.weight.absent();
  if (fused &&
      (!weights.q.weight.absent() || !weights.k.weight.absent() || !weights.v.weight.absent())) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "weights: qkv and one of q, k, v are given, must be either");
  }
  const Projection separate[] = {
      {"q", &weights.q, c.d_in, q}, {"k", &weights.k, c.d_in, k}, {"v", &weights.v, c.d_in, v}};
  const Projection one[] = {{"qkv", &weights.qkv, c.d_in, q + k + v}};
  const Projection* projections = fused ? one : separate;
  const size_t count = fused ? 1 : 3;
  TensorView views[3];
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckProjection(projections[i], weights.layout));
    views[i] = projections[i].weights->weight;
  }
  layer.has_out_ = !weights.out.weight.absent();
  if (layer.has_out_) {
    const size_t out_dim = weights.layout == WeightLayout::kInOut ? 1 : 0;
    const Projection out = {"out", &weights.out, joined, weights.out.weight.shape[out_dim]};
    HEED_RETURN_IF_ERROR(CheckProjection(out, weights.layout));
    Result<PackedMatrix> packed = PackedMatrix::pack(weights.out.weight, weights.layout);
    HEED_RETURN_IF_ERROR(packed.status());
    layer.out_ = std::move(*packed);
    HEED_RETURN_IF_ERROR(JoinBiases(&out, 1, &layer.out_bias_));
  } else if (!weights.out.bias.absent()) {
    return Status::Error(StatusCode::kInvalidArgument, "out.bias: is given without out.weight");
  }
  Result<PackedMatrix> packed = PackedMatrix::pack(views, count, weights.layout);
  HEED_RETURN_IF_ERROR(packed.status());
  layer.qkv_ = std::move(*packed);
  HEED_RETURN_IF_ERROR(JoinBiases(projections, count, &layer.qkv_bias_));
  return layer;
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
      return CheckNoOverlap(name, view, "x", x);
    }
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be that of x, %s, with %zu as the last size", name,
                         ShapeText(view).text, ShapeText(x).text, width);
  };
  HEED_RETURN_IF_ERROR(check_rows("y", y, d_out()));
  const KvCache* cache = options.cache;
  const size_t past = cache != nullptr ? cache->length() : 0;
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
    if (seq > c.capacity - past) {
      return Status::Error(StatusCode::kCapacityExceeded,
                           "cache: holds %zu of %zu tokens, %zu more do not fit", past, c.capacity,
                           seq);
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
    HEED_RETURN_IF_ERROR(CheckNoOverlap("context", options.context, "y", y));
  }
  const struct {
    const char* name;
    const MutableTensorView& view;
  } results[] = {{"lse", options.lse}, {"weights", options.weights}};
  for (const auto& result : results) {
    HEED_RETURN_IF_ERROR(CheckNoOverlap(result.name, result.view, "x", x));
    HEED_RETURN_IF_ERROR(CheckNoOverlap(result.name, result.view, "y", y));
    HEED_RETURN_IF_ERROR(CheckNoOverlap(result.name, result.view, "context", options.context));
  }
  return Status();
}

Status MultiHeadAttention::forward(const TensorView& x, const MutableTensorView& y,
                                   const ForwardOptions& options, Context& context) const {
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckForward(x, y, options));
  const size_t batch = x.rank == 3 ? x.shape[0] : 1, seq = x.shape[x.rank - 2];
  if (batch == 0 || seq == 0) return Status();
  const MultiHeadAttentionConfig& c = config_;
  const size_t width = qkv_.out(), joined = c.num_heads * c.v_head_dim;

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
  if (c.rope) {
    TensorView positions = options.positions;
    if (positions.absent()) {
      auto* own = reinterpret_cast<int32_t*>(memory + batch * seq * (width + joined));
      for (size_t i = 0; i < seq; ++i) own[i] = static_cast<int32_t>(past + i);
      positions = TensorView(own, {seq});
    }
    // Heads of queries and keys lie side by side and turn alike.
    const MutableTensorView rotated =
        Writable(HeadsOf(qkv, batch, seq, 0, c.num_heads + c.num_kv_heads, c.head_dim));
    HEED_RETURN_IF_ERROR(rope(rotated, positions, rotated, *c.rope, context));
  }

  const size_t k_first = c.num_heads * c.head_dim, v_first = k_first + c.num_kv_heads * c.head_dim;
  const TensorView q = HeadsOf(qkv, batch, seq, 0, c.num_heads, c.head_dim);
  const TensorView k = HeadsOf(qkv, batch, seq, k_first, c.num_kv_heads, c.head_dim);
  const TensorView v = HeadsOf(qkv, batch, seq, v_first, c.num_kv_heads, c.v_head_dim);
  TensorView heads = MutableTensorView(memory + batch * seq * width, {batch, seq, joined});
  if (!options.context.absent()) heads = options.context;
  if (!has_out_) heads = y;
  const MutableTensorView out = Writable(HeadsOf(heads, batch, seq, 0, c.num_heads, c.v_head_dim));
  AttentionOptions attention_options;
  attention_options.scale = c.scale;
  attention_options.causal = c.causal;
  attention_options.dropout = options.dropout;
  attention_options.lse = options.lse;
  attention_options.weights = options.weights;

  if (cache != nullptr) HEED_RETURN_IF_ERROR(cache->append(k, v));
  Status status = cache != nullptr ? attention(q, *cache, out, attention_options, context)
                                   : attention(q, k, v, out, attention_options, context);
  if (status.ok() && has_out_) status = Project(heads, out_, out_bias_, y, batch, seq, context);
  if (!status.ok() && cache != nullptr) HEED_RETURN_IF_ERROR(cache->truncate(past));
  if (status.ok() && !has_out_ && !options.context.absent()) return convert(y, options.context);
  return status;
}

}  // namespace heed
