#include "tools/onednn_layer.h"

#ifdef HEED_HAVE_ONEDNN

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <utility>

#include "heed/convert.hpp"
#include "tools/onednn_operations.h"
#include "tools/plain_heads.h"

namespace heed::tools {
namespace {

using Floats = std::vector<float>;

Result<Floats> widen(const TensorView& view) {
  Floats values(view.num_elements());
  const MutableTensorView to(values.data(), DType::kF32, view.shape, view.rank);
  Context context;
  if (const Status s = convert(view, to, context); !s.ok()) return s;
  return values;
}

// x [rows, in] times the weights, plus the bias.
Result<Floats> project(const Floats& x, size_t rows, const LinearWeights& linear,
                       WeightLayout layout) {
  const Result<Floats> weight = widen(linear.weight);
  if (!weight.ok()) return weight.status();
  const bool out_in = layout == WeightLayout::kOutIn;
  const size_t in = linear.weight.shape[out_in ? 1 : 0];
  const size_t out = linear.weight.shape[out_in ? 0 : 1];
  Floats y(rows * out);
  onednn_gemm(out_in, rows, out, in, 1.0f, x.data(), in, weight->data(), out_in ? in : out,
              y.data(), out);
  if (linear.bias.absent()) return y;
  const Result<Floats> bias = widen(linear.bias);
  if (!bias.ok()) return bias.status();
  for (size_t i = 0; i < y.size(); ++i) y[i] += (*bias)[i % out];
  return y;
}

struct Heads {  // of all tokens: token t, head h at data + t * stride + h * head_dim
  float* data;
  size_t stride;
};

struct Projected {
  Floats buffers[3];
  Heads q, k, v;
};

Result<Projected> project_qkv(const MultiHeadAttentionConfig& config,
                              const MultiHeadAttentionWeights& weights, const Floats& x,
                              size_t rows) {
  Projected result;
  const size_t q_out = config.num_heads * config.head_dim;
  const size_t kv_out = config.num_kv_heads * config.head_dim;
  if (!weights.qkv.weight.absent()) {
    Result<Floats> qkv = project(x, rows, weights.qkv, weights.layout);
    if (!qkv.ok()) return qkv.status();
    result.buffers[0] = std::move(*qkv);
    float* data = result.buffers[0].data();
    const size_t stride = q_out + 2 * kv_out;
    result.q = {data, stride};
    result.k = {data + q_out, stride};
    result.v = {data + q_out + kv_out, stride};
    return result;
  }
  const LinearWeights* linears[] = {&weights.q, &weights.k, &weights.v};
  for (size_t i = 0; i < 3; ++i) {
    Result<Floats> y = project(x, rows, *linears[i], weights.layout);
    if (!y.ok()) return y.status();
    result.buffers[i] = std::move(*y);
  }
  result.q = {result.buffers[0].data(), q_out};
  result.k = {result.buffers[1].data(), kv_out};
  result.v = {result.buffers[2].data(), kv_out};
  return result;
}

// Whether query i sees key j.
bool sees(const MultiHeadAttentionConfig& config, size_t i, size_t j) {
  return (!config.causal || j <= i) && (config.window == 0 || j + config.window > i);
}

void cap_and_mask(const MultiHeadAttentionConfig& config, size_t seq, size_t columns,
                  float* scores) {
  const float cap = config.logits_soft_cap;
  for (size_t i = 0; i < seq; ++i) {
    for (size_t j = 0; j < seq; ++j) {
      float& score = scores[i * columns + j];
      if (cap > 0) score = cap * std::tanh(score / cap);
      if (!sees(config, i, j)) score = -std::numeric_limits<float>::infinity();
    }
  }
}

// `sinks`, of each head, or empty: one more column of scores that meets no value.
void attend(const MultiHeadAttentionConfig& config, const Floats& sinks, const Projected& in,
            size_t batch, size_t seq, float* context) {
  const size_t dim = config.head_dim;
  const size_t group = config.num_heads / config.num_kv_heads;
  const float scale = config.scale.value_or(1.0f / std::sqrt(static_cast<float>(dim)));
  const size_t width = config.num_heads * dim;
  const size_t columns = seq + (sinks.empty() ? 0 : 1);
  Floats scores(seq * columns);
  for (size_t b = 0; b < batch; ++b) {
    for (size_t head = 0; head < config.num_heads; ++head) {
      const size_t kv = head / group * dim;
      onednn_gemm(true, seq, seq, dim, scale, in.q.data + b * seq * in.q.stride + head * dim,
                  in.q.stride, in.k.data + b * seq * in.k.stride + kv, in.k.stride, scores.data(),
                  columns);
      cap_and_mask(config, seq, columns, scores.data());
      for (size_t i = 0; i < seq && !sinks.empty(); ++i) scores[i * columns + seq] = sinks[head];
      onednn_softmax(seq, columns, scores.data());
      onednn_gemm(false, seq, dim, seq, 1.0f, scores.data(), columns,
                  in.v.data + b * seq * in.v.stride + kv, in.v.stride,
                  context + b * seq * width + head * dim, width);
    }
  }
}

// Norms, then rotates, all heads.
void prepare(const MultiHeadAttentionConfig& config, const Floats& norm, const Heads& heads,
             size_t num_heads, size_t rows, size_t seq) {
  std::optional<PlainRope> rope;
  if (config.rope.has_value()) rope.emplace(*config.rope, config.head_dim);
  for (size_t token = 0; token < rows; ++token) {
    for (size_t h = 0; h < num_heads; ++h) {
      float* x = heads.data + token * heads.stride + h * config.head_dim;
      if (!norm.empty()) plain_norm(norm, config.norm_weight_offset, config.norm_eps, x);
      if (rope.has_value()) rope->rotate(token % seq, x);
    }
  }
}

// The vectors of a layer, empty when absent.
struct Vectors {
  Floats q_norm, k_norm, sinks;
};

Result<Vectors> widen_vectors(const MultiHeadAttentionWeights& weights) {
  Vectors vectors;
  const std::pair<const TensorView*, Floats*> all[] = {{&weights.q_norm, &vectors.q_norm},
                                                       {&weights.k_norm, &vectors.k_norm},
                                                       {&weights.sinks, &vectors.sinks}};
  for (const auto& [view, values] : all) {
    if (view->absent()) continue;
    Result<Floats> wide = widen(*view);
    if (!wide.ok()) return wide.status();
    *values = std::move(*wide);
  }
  return vectors;
}

// What no configuration asks for yet.
Status check_computed(const MultiHeadAttentionConfig& config,
                      const MultiHeadAttentionWeights& weights) {
  const char* name = config.sink_tokens != 0          ? "sink_tokens"
                     : !weights.alibi_slopes.absent() ? "alibi_slopes"
                     : config.v_head_dim != 0 && config.v_head_dim != config.head_dim ? "v_head_dim"
                                                                                      : nullptr;
  if (name == nullptr) return Status();
  return Status::Error(StatusCode::kUnsupported, "%s: the oneDNN backend does not compute it",
                       name);
}

}  // namespace

bool onednn_available() { return true; }

Result<std::vector<float>> onednn_forward(const MultiHeadAttentionConfig& config,
                                          const MultiHeadAttentionWeights& weights,
                                          const std::vector<float>& x, size_t batch, size_t seq,
                                          size_t num_threads) {
  if (const Status s = check_computed(config, weights); !s.ok()) return s;
  const size_t rows = batch * seq;
  if (rows == 0) return Floats();
#ifdef _OPENMP
  if (num_threads != 0) omp_set_num_threads(static_cast<int>(num_threads));
#else
  static_cast<void>(num_threads);
#endif
  try {
    const Result<Vectors> vectors = widen_vectors(weights);
    if (!vectors.ok()) return vectors.status();
    const Result<Projected> projected = project_qkv(config, weights, x, rows);
    if (!projected.ok()) return projected.status();
    prepare(config, vectors->q_norm, projected->q, config.num_heads, rows, seq);
    prepare(config, vectors->k_norm, projected->k, config.num_kv_heads, rows, seq);
    Floats context(rows * config.num_heads * config.head_dim);
    attend(config, vectors->sinks, *projected, batch, seq, context.data());
    return project(context, rows, weights.out, weights.layout);
  } catch (const dnnl::error& error) {
    return Status::Error(StatusCode::kUnsupported, "oneDNN: %s", error.what());
  }
}

}  // namespace heed::tools

#else

namespace heed::tools {

bool onednn_available() { return false; }

Result<std::vector<float>> onednn_forward(const MultiHeadAttentionConfig&,
                                          const MultiHeadAttentionWeights&,
                                          const std::vector<float>&, size_t, size_t, size_t) {
  return Status::Error(StatusCode::kUnsupported, "this heed was built without oneDNN");
}

}  // namespace heed::tools

#endif
