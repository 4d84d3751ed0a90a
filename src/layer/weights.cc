// Making a layer: its configuration and weights, checked and packed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <new>
#include <utility>

#include "heed/convert.hpp"
#include "src/attention/options.h"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/layer/multi_head_attention.h"
#include "src/layer/rope.h"
#include "src/matmul/matmul.h"
#include "src/matmul/packed_matrix.h"

namespace heed::inline v1 {
namespace {

struct Projection {
  const char* name;
  const LinearWeights* weights;
  size_t in, out;
};

bool IsGiven(const LinearWeights& weights) {
  return !weights.weight.absent() || weights.packed != nullptr;
}

// That a matrix that is packed already is this projection's.
Status CheckPacked(const Projection& p) {
  const PackedMatrix::Impl* packed = PackedMatrix::Impl::Of(*p.weights->packed);
  if (!p.weights->weight.absent()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s.packed: is given and %s.weight too, must be either", p.name, p.name);
  }
  if (packed == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "%s.packed: was moved from", p.name);
  }
  if (packed->in == p.in && packed->out == p.out) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s.packed: is of [%zu, %zu], must be [%zu, %zu] ([in, out])", p.name,
                       packed->in, packed->out, p.in, p.out);
}

Status CheckBias(const Projection& p) {
  if (p.weights->bias.absent()) return Status();
  char name[32];
  std::snprintf(name, sizeof(name), "%s.bias", p.name);
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, p.weights->bias, 1, 1));
  if (p.weights->bias.shape[0] == p.out) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu]", name,
                       ShapeText(p.weights->bias).text, p.out);
}

Status CheckProjection(const Projection& p, WeightLayout layout) {
  char name[32];
  std::snprintf(name, sizeof(name), "%s.compute", p.name);
  if (p.weights->packed != nullptr) {
    HEED_RETURN_IF_ERROR(CheckPacked(p));
    HEED_RETURN_IF_ERROR(CheckCompute(name, p.weights->compute, p.weights->packed->dtype()));
    return CheckBias(p);
  }
  HEED_RETURN_IF_ERROR(CheckCompute(name, p.weights->compute, p.weights->storage.dtype));
  std::snprintf(name, sizeof(name), "%s.weight", p.name);
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, p.weights->weight, 2, 2));
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const size_t* shape = p.weights->weight.shape;
  if (shape[in_dim] != p.in || shape[1 - in_dim] != p.out) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu, %zu] ([%s])",
                         name, ShapeText(p.weights->weight).text, in_dim == 0 ? p.in : p.out,
                         in_dim == 0 ? p.out : p.in, in_dim == 0 ? "in, out" : "out, in");
  }
  return CheckBias(p);
}

Status CheckScores(const MultiHeadAttentionConfig& c) {
  if (c.window != 0 && !c.causal) {
    return Status::Error(StatusCode::kInvalidArgument, "config.window: is %zu, needs config.causal",
                         c.window);
  }
  if (c.sink_tokens != 0 && c.window == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config.sink_tokens: is %zu, needs config.window", c.sink_tokens);
  }
  const struct {
    const char* name;
    float value;
    float lowest;
  } numbers[] = {{"logits_soft_cap", c.logits_soft_cap, 0.0f},
                 {"norm_eps", c.norm_eps, 0.0f},
                 {"norm_weight_offset", c.norm_weight_offset, -HUGE_VALF}};
  for (const auto& number : numbers) {
    if (std::isfinite(number.value) && number.value >= number.lowest) continue;
    return Status::Error(StatusCode::kInvalidArgument, "config.%s: is %g, must be finite%s",
                         number.name, static_cast<double>(number.value),
                         number.lowest == 0.0f ? " and at least 0" : "");
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
  if (c->values_in_keys) {
    if (c->v_head_dim > c->head_dim) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "config.v_head_dim: is %zu, must be at most head_dim, %zu, with "
                           "values_in_keys",
                           c->v_head_dim, c->head_dim);
    }
    c->v_cache_dtype = c->k_cache_dtype;
  }
  const struct {
    const char* name;
    DType dtype;
  } caches[] = {{"config.k_cache_dtype", c->k_cache_dtype},
                {"config.v_cache_dtype", c->v_cache_dtype}};
  for (const auto& cache : caches) {
    HEED_RETURN_IF_ERROR(CheckStored(cache.name, cache.dtype));
  }
  HEED_RETURN_IF_ERROR(CheckAttentionCompute("config.attention_compute", c->attention_compute,
                                             c->k_cache_dtype, c->v_cache_dtype));
  if (c->scale && !std::isfinite(*c->scale)) {
    return Status::Error(StatusCode::kInvalidArgument, "config.scale: is %g, must be finite",
                         static_cast<double>(*c->scale));
  }
  if (c->rope) HEED_RETURN_IF_ERROR(CheckRope(*c->rope, c->head_dim, &c->rope->rope_dim));
  return CheckScores(*c);
}

// Biases side by side, 0 where there is none; null when none is given.
Status JoinBiases(const Projection* projections, size_t count, Arena* arena, Context& context,
                  float** joined) {
  bool any = false;
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    any |= !projections[i].weights->bias.absent();
    total += projections[i].out;
  }
  if (!any) return Status();
  float* to = *joined = arena->Take<float>(total);
  if (arena->counts()) return Status();
  std::fill_n(to, total, 0.0f);
  for (size_t i = 0; i < count; to += projections[i].out, ++i) {
    if (projections[i].weights->bias.absent()) continue;
    HEED_RETURN_IF_ERROR(convert(projections[i].weights->bias,
                                 MutableTensorView(to, {projections[i].out}), context));
  }
  return Status();
}

// A vector of the layer's own: `view` with `offset` added; null when it is absent.
Status CopyVector(const char* name, const TensorView& view, size_t size, float offset, Arena* arena,
                  Context& context, float** copy) {
  if (view.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, view, 1, 1));
  if (view.shape[0] != size) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be [%zu]", name,
                         ShapeText(view).text, size);
  }
  *copy = arena->Take<float>(size);
  if (arena->counts()) return Status();
  HEED_RETURN_IF_ERROR(convert(view, MutableTensorView(*copy, {size}), context));
  for (size_t i = 0; i < size; ++i) (*copy)[i] = offset + (*copy)[i];
  return Status();
}

bool OneProduct(const LinearWeights& a, const LinearWeights& b) {
  return a.packed == nullptr && b.packed == nullptr && a.storage.dtype == b.storage.dtype &&
         a.storage.group == b.storage.group && a.compute == b.compute;
}

// As a Status that names a projection.
Status OfWeight(const Projection& projection, const Status& status) {
  if (status.ok()) return status;
  return Status::Error(status.code(), "%s.weight: %s", projection.name, status.message());
}

// `packed` = the projections' weights side by side, in the arena; an error names the projection.
Status Pack(const Projection* projections, size_t count, WeightLayout layout, Arena* arena,
            Context& context, PackedMatrix* packed) {
  if (const PackedMatrix* given = projections[0].weights->packed; given != nullptr) {
    Arena of_matrix;
    const PackedMatrix::Impl borrowed = PackedMatrix::Impl::Borrowed(*given);
    borrowed.LayOut(&of_matrix);
    const size_t bytes = of_matrix.used();
    void* memory = arena->Take<uint8_t>(bytes);
    if (arena->counts()) return Status();
    Result<PackedMatrix> matrix = PackedMatrix::Impl::Make(borrowed, {memory, bytes});
    HEED_RETURN_IF_ERROR(matrix.status());
    *packed = std::move(*matrix);
    return Status();
  }
  const PackOptions& storage = projections[0].weights->storage;
  TensorView views[3];
  for (size_t i = 0; i < count; ++i) views[i] = projections[i].weights->weight;
  PackedMatrix::Impl described;
  Arena of_matrix;
  HEED_RETURN_IF_ERROR(OfWeight(projections[0], described.Describe(views, count, layout, storage)));
  described.LayOut(&of_matrix);
  const size_t bytes = of_matrix.used();
  const Memory memory = {arena->Take<uint8_t>(bytes), bytes};
  if (Context::Impl::Of(context)->measures) {  // goes through all that is packed
    const Status status = PackedMatrix::pack(views, count, layout, storage, context).status();
    if (status.code() == StatusCode::kMeasured) return Status();
    return OfWeight(projections[0], status);
  }
  if (arena->counts()) return Status();
  Result<PackedMatrix> matrix = PackedMatrix::pack(views, count, layout, storage, memory, context);
  for (size_t i = 0; !matrix.ok() && count > 1 && i < count; ++i) {  // which of them is it?
    const Status alone =
        PackedMatrix::pack(views + i, 1, layout, storage, memory, context).status();
    HEED_RETURN_IF_ERROR(OfWeight(projections[i], alone));
  }
  HEED_RETURN_IF_ERROR(OfWeight(projections[0], matrix.status()));
  *packed = std::move(*matrix);
  return Status();
}

Status PackQkv(const MultiHeadAttentionConfig& c, const MultiHeadAttentionWeights& weights,
               Arena* arena, Context& context, QkvWeights* packed, float** bias) {
  const size_t q = c.num_heads * c.head_dim, k = c.num_kv_heads * c.head_dim,
               v = c.values_in_keys ? 0 : c.num_kv_heads * c.v_head_dim;
  const bool fused = IsGiven(weights.qkv);
  if (fused && (IsGiven(weights.q) || IsGiven(weights.k) || IsGiven(weights.v))) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "weights: qkv and one of q, k, v are given, must be either");
  }
  if (c.values_in_keys && (IsGiven(weights.v) || !weights.v.bias.absent())) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "v: is given, must be absent with config.values_in_keys");
  }
  const Projection separate[] = {
      {"q", &weights.q, c.d_in, q}, {"k", &weights.k, c.d_in, k}, {"v", &weights.v, c.d_in, v}};
  const Projection one[] = {{"qkv", &weights.qkv, c.d_in, q + k + v}};
  const Projection* projections = fused ? one : separate;
  const size_t count = fused ? 1 : c.values_in_keys ? 2 : 3;
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckProjection(projections[i], weights.layout));
  }
  for (size_t first = 0, end; first < count; first = end) {
    end = first + 1;
    while (end < count && OneProduct(*projections[first].weights, *projections[end].weights)) {
      ++end;
    }
    packed->compute[packed->count] = projections[first].weights->compute;
    HEED_RETURN_IF_ERROR(Pack(projections + first, end - first, weights.layout, arena, context,
                              &packed->parts[packed->count++]));
  }
  return JoinBiases(projections, count, arena, context, bias);
}

Status PackOut(const MultiHeadAttentionConfig& c, const MultiHeadAttentionWeights& weights,
               Arena* arena, Context& context, PackedMatrix* packed, float** bias) {
  const size_t out_dim = weights.layout == WeightLayout::kInOut ? 1 : 0;
  const LinearWeights& given = weights.out;
  const size_t d_out = given.packed != nullptr ? given.packed->out() : given.weight.shape[out_dim];
  const Projection out = {"out", &given, c.num_heads * c.v_head_dim, d_out};
  HEED_RETURN_IF_ERROR(CheckProjection(out, weights.layout));
  if (d_out == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "out.%s: shape is %s, must have at least one output",
                         given.packed != nullptr ? "packed" : "weight",
                         given.packed != nullptr ? "[.., 0]" : ShapeText(given.weight).text);
  }
  HEED_RETURN_IF_ERROR(Pack(&out, 1, weights.layout, arena, context, packed));
  return JoinBiases(&out, 1, arena, context, bias);
}

}  // namespace

size_t QkvWeights::out() const {
  size_t columns = 0;
  for (const PackedMatrix& part : all()) columns += part.out();
  return columns;
}

size_t QkvWeights::bytes() const {
  size_t sum = 0;
  for (const PackedMatrix& part : all()) sum += part.bytes();
  return sum;
}

Status MultiHeadAttention::Impl::Create(const MultiHeadAttentionWeights& weights, Arena* arena,
                                        Context& context) {
  HEED_RETURN_IF_ERROR(CheckConfig(&config));
  HEED_RETURN_IF_ERROR(CheckLayout(weights.layout));
  const MultiHeadAttentionConfig& c = config;
  (void)arena->Take<Impl>();
  const struct {
    const char* name;
    const TensorView* view;
    size_t size;
    float offset;
    float** copy;
  } vectors[] = {
      {"q_norm", &weights.q_norm, c.head_dim, c.norm_weight_offset, &q_norm},
      {"k_norm", &weights.k_norm, c.head_dim, c.norm_weight_offset, &k_norm},
      {"sinks", &weights.sinks, c.num_heads, 0.0f, &sinks},
      {"alibi_slopes", &weights.alibi_slopes, c.num_heads, 0.0f, &alibi_slopes},
  };
  for (const auto& v : vectors) {
    HEED_RETURN_IF_ERROR(CopyVector(v.name, *v.view, v.size, v.offset, arena, context, v.copy));
  }
  has_out = IsGiven(weights.out);
  if (!has_out && !weights.out.bias.absent()) {
    return Status::Error(StatusCode::kInvalidArgument, "out.bias: is given without out.weight");
  }
  HEED_RETURN_IF_ERROR(PackQkv(c, weights, arena, context, &qkv, &qkv_bias));
  if (has_out) out_compute = weights.out.compute;
  return has_out ? PackOut(c, weights, arena, context, &out_weights, &out_bias) : Status();
}

size_t MultiHeadAttention::Impl::d_out() const {
  return has_out ? out_weights.out() : config.num_heads * config.v_head_dim;
}

size_t MultiHeadAttention::Impl::bytes() const {
  const size_t vectors = (qkv_bias ? qkv.out() : 0) + (out_bias ? out_weights.out() : 0) +
                         (q_norm ? config.head_dim : 0) + (k_norm ? config.head_dim : 0) +
                         (sinks ? config.num_heads : 0) + (alibi_slopes ? config.num_heads : 0);
  return qkv.bytes() + out_weights.bytes() + vectors * sizeof(float);
}

Result<size_t> MultiHeadAttention::memory_bytes(const MultiHeadAttentionConfig& config,
                                                const MultiHeadAttentionWeights& weights,
                                                Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  Impl counted;
  counted.config = config;
  Arena arena;
  HEED_RETURN_IF_ERROR(counted.Create(weights, &arena, context));
  return arena.used();
}

Result<MultiHeadAttention> MultiHeadAttention::create(const MultiHeadAttentionConfig& config,
                                                      const MultiHeadAttentionWeights& weights,
                                                      const Memory& memory, Context& context) {
  if (IsHeap(memory)) return create(config, weights, context);
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  const Result<size_t> bytes = memory_bytes(config, weights, context);
  HEED_RETURN_IF_ERROR(bytes.status());
  if (Context::Impl::Of(context)->measures) return Context::Impl::Measured();
  HEED_RETURN_IF_ERROR(CheckMemory(memory, *bytes));
  MultiHeadAttention layer;
  layer.impl_.reset(new (memory.data) Impl);
  layer.impl_->config = config;
  Arena arena(memory.data);
  HEED_RETURN_IF_ERROR(layer.impl_->Create(weights, &arena, context));
  return layer;
}

Result<MultiHeadAttention> MultiHeadAttention::create(const MultiHeadAttentionConfig& config,
                                                      const MultiHeadAttentionWeights& weights,
                                                      Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  const Result<size_t> bytes = memory_bytes(config, weights, context);
  HEED_RETURN_IF_ERROR(bytes.status());
  if (Context::Impl::Of(context)->measures) return Context::Impl::Measured();
  void* memory = Allocate(*bytes);
  if (memory == nullptr) return OutOfMemory("layer", *bytes);
  Result<MultiHeadAttention> layer = create(config, weights, {memory, *bytes}, context);
  if (layer.ok()) {
    layer->impl_->on_heap = true;
  } else {
    Free(memory);
  }
  return layer;
}

}  // namespace heed::inline v1
