#include "tools/onednn_layer.h"

#ifdef HEED_HAVE_ONEDNN

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <oneapi/dnnl/dnnl.hpp>

#include "heed/convert.hpp"

namespace heed::tools {
namespace {

using Floats = std::vector<float>;
using Index = dnnl::memory::dim;

dnnl::softmax_forward::primitive_desc softmax_description(const dnnl::engine& engine,
                                                          const dnnl::memory::desc& shape) {
#if DNNL_VERSION_MAJOR >= 3
  return {
      engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::softmax_accurate, shape, shape,
      1};
#else
  return {dnnl::softmax_forward::desc(dnnl::prop_kind::forward_inference, shape, 1), engine};
#endif
}

// Softmax over the rows of one matrix, again and again.
class RowSoftmax {
 public:
  RowSoftmax(size_t size, float* scores)
      : engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_),
        shape_({static_cast<Index>(size), static_cast<Index>(size)}, dnnl::memory::data_type::f32,
               dnnl::memory::format_tag::ab),
        memory_(shape_, engine_, scores),
        primitive_(softmax_description(engine_, shape_)) {}

  void run() {
    primitive_.execute(stream_, {{DNNL_ARG_SRC, memory_}, {DNNL_ARG_DST, memory_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::memory::desc shape_;
  dnnl::memory memory_;
  dnnl::softmax_forward primitive_;
};

void gemm(bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float* a, size_t lda,
          const float* b, size_t ldb, float* c, size_t ldc) {
  const auto index = [](size_t value) { return static_cast<Index>(value); };
  const dnnl::status s = dnnl::sgemm('N', transpose_b ? 'T' : 'N', index(m), index(n), index(k),
                                     alpha, a, index(lda), b, index(ldb), 0.0f, c, index(ldc));
  dnnl::error::wrap_c_api(static_cast<dnnl_status_t>(s), "sgemm was refused");
}

Result<Floats> widen(const TensorView& view) {
  Floats values(view.num_elements());
  const MutableTensorView to(values.data(), DType::kF32, view.shape, view.rank);
  if (const Status s = convert(view, to); !s.ok()) return s;
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
  gemm(out_in, rows, out, in, 1.0f, x.data(), in, weight->data(), out_in ? in : out, y.data(), out);
  if (linear.bias.absent()) return y;
  const Result<Floats> bias = widen(linear.bias);
  if (!bias.ok()) return bias.status();
  for (size_t i = 0; i < y.size(); ++i) y[i] += (*bias)[i % out];
  return y;
}

// Rotates one head's vector at `position`, from the formula alone.
void rotate(const RopeOptions& rope, size_t head_dim, size_t position, float* x) {
  const size_t dim = rope.rope_dim == 0 ? head_dim : rope.rope_dim;
  for (size_t t = 0; t < dim / 2; ++t) {
    const double angle =
        static_cast<double>(position) *
        std::pow(rope.theta, -2.0 * static_cast<double>(t) / static_cast<double>(dim));
    float& a = x[rope.interleaved ? 2 * t : t];
    float& b = x[rope.interleaved ? 2 * t + 1 : t + dim / 2];
    const double old_a = static_cast<double>(a);
    const double old_b = static_cast<double>(b);
    a = static_cast<float>(old_a * std::cos(angle) - old_b * std::sin(angle));
    b = static_cast<float>(old_b * std::cos(angle) + old_a * std::sin(angle));
  }
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

void attend(const MultiHeadAttentionConfig& config, const Projected& in, size_t batch, size_t seq,
            float* context) {
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  const size_t dim = config.head_dim;
  const size_t group = config.num_heads / config.num_kv_heads;
  const float scale = config.scale.value_or(1.0f / std::sqrt(static_cast<float>(dim)));
  const size_t width = config.num_heads * dim;
  Floats scores(seq * seq);
  RowSoftmax softmax(seq, scores.data());
  for (size_t b = 0; b < batch; ++b) {
    for (size_t head = 0; head < config.num_heads; ++head) {
      const size_t kv = head / group * dim;
      gemm(true, seq, seq, dim, scale, in.q.data + b * seq * in.q.stride + head * dim, in.q.stride,
           in.k.data + b * seq * in.k.stride + kv, in.k.stride, scores.data(), seq);
      for (size_t i = 0; config.causal && i < seq; ++i) {
        std::fill(scores.begin() + static_cast<ptrdiff_t>(i * seq + i + 1),
                  scores.begin() + static_cast<ptrdiff_t>((i + 1) * seq), kHidden);
      }
      softmax.run();
      gemm(false, seq, dim, seq, 1.0f, scores.data(), seq, in.v.data + b * seq * in.v.stride + kv,
           in.v.stride, context + b * seq * width + head * dim, width);
    }
  }
}

void rotate_all(const MultiHeadAttentionConfig& config, const Projected& in, size_t batch,
                size_t seq) {
  for (size_t token = 0; token < batch * seq; ++token) {
    for (size_t h = 0; h < config.num_heads; ++h) {
      rotate(*config.rope, config.head_dim, token % seq,
             in.q.data + token * in.q.stride + h * config.head_dim);
    }
    for (size_t h = 0; h < config.num_kv_heads; ++h) {
      rotate(*config.rope, config.head_dim, token % seq,
             in.k.data + token * in.k.stride + h * config.head_dim);
    }
  }
}

}  // namespace

bool onednn_available() { return true; }

Result<std::vector<float>> onednn_forward(const MultiHeadAttentionConfig& config,
                                          const MultiHeadAttentionWeights& weights,
                                          const std::vector<float>& x, size_t batch, size_t seq,
                                          size_t num_threads) {
  const size_t rows = batch * seq;
  if (rows == 0) return Floats();
#ifdef _OPENMP
  if (num_threads != 0) omp_set_num_threads(static_cast<int>(num_threads));
#else
  static_cast<void>(num_threads);
#endif
  try {
    const Result<Projected> projected = project_qkv(config, weights, x, rows);
    if (!projected.ok()) return projected.status();
    if (config.rope.has_value()) rotate_all(config, *projected, batch, seq);
    Floats context(rows * config.num_heads * config.head_dim);
    attend(config, *projected, batch, seq, context.data());
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
