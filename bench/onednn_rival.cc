// oneDNN as a rival: its matmul and softmax primitives, and attention made of them. Versions 2.6
// and 3.
#include <cmath>
#include <limits>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "bench/library.h"

namespace heed::bench {
namespace {

using dnnl::memory;
using Args = std::unordered_map<int, memory>;
constexpr auto kF32 = memory::data_type::f32;

memory::dim to_dim(size_t n) { return static_cast<memory::dim>(n); }

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory memory_of(const memory::desc& desc, const float* data) {
  return memory(desc, cpu_engine(), const_cast<float*>(data));
}

dnnl::matmul::primitive_desc matmul_desc(const memory::desc& a, const memory::desc& b,
                                         const memory::desc& c,
                                         const dnnl::primitive_attr& attr = {}) {
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), a, b, c, attr};
#else
  return {dnnl::matmul::desc(a, b, c), attr, cpu_engine()};
#endif
}

dnnl::softmax_forward::primitive_desc softmax_desc(const memory::desc& desc, int axis) {
  constexpr auto kInference = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), kInference, dnnl::algorithm::softmax_accurate, desc, desc, axis};
#else
  return {dnnl::softmax_forward::desc(kInference, desc, axis), cpu_engine()};
#endif
}

void append_scale(float scale, dnnl::post_ops* ops) {
#if DNNL_VERSION_MAJOR >= 3
  ops->append_eltwise(dnnl::algorithm::eltwise_linear, scale, 0.0f);
#else
  ops->append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, scale, 0.0f);
#endif
}

// Primitives with their arguments, one after another.
class Steps {
 public:
  void add(const dnnl::primitive& primitive, Args args) {
    steps_.emplace_back(primitive, std::move(args));
  }
  Status operator()() {
    for (const auto& [primitive, args] : steps_) primitive.execute(stream_, args);
    stream_.wait();
    return Status();
  }

 private:
  dnnl::stream stream_{cpu_engine()};
  std::vector<std::pair<dnnl::primitive, Args>> steps_;
};

// Attention as three primitives per task. A task is a head with all its queries; of a single query,
// all heads at once, with the query heads of a kv head as rows. Nothing hidden is skipped: the
// causal mask is added.
class PrimitiveAttention {
 public:
  explicit PrimitiveAttention(const AttentionArgs& args)
      : args_(args), decode_(args.shape.q_len == 1) {
    const AttentionShape& s = args.shape;
    const size_t group = s.num_heads / s.num_kv_heads;
    rows_ = decode_ ? group : s.q_len;
    batch_ = decode_ ? s.num_kv_heads : 1;
    scores_.resize(batch_ * rows_ * s.kv_len);
    if (!decode_) fill_mask();
    make_primitives();
    for (size_t head = 0; head < (decode_ ? 1 : s.num_heads); ++head) add_task(head, head / group);
  }

  Status operator()() { return steps_(); }

 private:
  memory::desc desc_of(size_t rows, size_t cols, size_t batch_stride, size_t row_stride,
                       size_t col_stride) const {
    return {{to_dim(batch_), to_dim(rows), to_dim(cols)},
            kF32,
            {to_dim(batch_stride), to_dim(row_stride), to_dim(col_stride)}};
  }

  void fill_mask() {
    const AttentionShape& s = args_.shape;
    mask_.assign(s.q_len * s.kv_len, 0.0f);
    for (size_t i = 0; i < s.q_len; ++i) {
      for (size_t j = i + s.kv_len - s.q_len + 1; j < s.kv_len; ++j) {
        mask_[i * s.kv_len + j] = -std::numeric_limits<float>::infinity();
      }
    }
  }

  void make_primitives() {
    const AttentionShape& s = args_.shape;
    const size_t group = s.num_heads / s.num_kv_heads, dim = s.head_dim, len = s.kv_len;
    q_ = desc_of(rows_, dim, group * args_.q.head_stride,
                 decode_ ? args_.q.head_stride : args_.q.token_stride, 1);
    k_ = desc_of(dim, len, args_.k.head_stride, 1, args_.k.token_stride);
    v_ = desc_of(len, dim, args_.v.head_stride, args_.v.token_stride, 1);
    out_ = desc_of(rows_, dim, group * dim, decode_ ? dim : s.num_heads * dim, 1);
    weights_ = desc_of(rows_, len, rows_ * len, len, 1);
    dnnl::post_ops ops;
    append_scale(1.0f / std::sqrt(static_cast<float>(dim)), &ops);
    if (!decode_) ops.append_binary(dnnl::algorithm::binary_add, weights_);
    dnnl::primitive_attr attr;
    attr.set_post_ops(ops);
    qk_ = dnnl::matmul(matmul_desc(q_, k_, weights_, attr));
    softmax_ = dnnl::softmax_forward(softmax_desc(weights_, 2));
    pv_ = dnnl::matmul(matmul_desc(weights_, v_, out_));
  }

  void add_task(size_t head, size_t kv_head) {
    const memory scores = memory_of(weights_, scores_.data());
    Args qk{
        {DNNL_ARG_SRC, memory_of(q_, args_.q.data + head * args_.q.head_stride)},
        {DNNL_ARG_WEIGHTS, memory_of(k_, args_.k.data + kv_head * args_.k.head_stride)},
        {DNNL_ARG_DST, scores},
    };
    if (!decode_) {
      qk.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(1) | DNNL_ARG_SRC_1,
                 memory_of(weights_, mask_.data()));
    }
    steps_.add(qk_, std::move(qk));
    steps_.add(softmax_, {{DNNL_ARG_SRC, scores}, {DNNL_ARG_DST, scores}});
    steps_.add(pv_,
               {{DNNL_ARG_SRC, scores},
                {DNNL_ARG_WEIGHTS, memory_of(v_, args_.v.data + kv_head * args_.v.head_stride)},
                {DNNL_ARG_DST, memory_of(out_, args_.out + head * args_.shape.head_dim)}});
  }

  AttentionArgs args_;
  bool decode_;
  size_t rows_ = 0, batch_ = 0;
  Buffer scores_, mask_;
  memory::desc q_, k_, v_, out_, weights_;
  dnnl::matmul qk_, pv_;
  dnnl::softmax_forward softmax_;
  Steps steps_;
};

class OneDnn : public Library {
 public:
  explicit OneDnn(size_t threads) : threads_(threads) {}

  const char* name() const override { return "oneDNN"; }
  bool has(Operation) const override { return true; }
  void use_threads() const override {
#if defined(_OPENMP)
    omp_set_num_threads(static_cast<int>(threads_));
#endif
  }

  Result<Run> matmul(const MatmulArgs& args) const override {
    const auto [m, n, k] = args.shape;
    const memory::desc a({to_dim(m), to_dim(k)}, kF32, {to_dim(k), 1});
    const memory::desc b({to_dim(k), to_dim(n)}, kF32, {to_dim(n), 1});
    const memory::desc c({to_dim(m), to_dim(n)}, kF32, {to_dim(n), 1});
    const memory::desc any({to_dim(k), to_dim(n)}, kF32, memory::format_tag::any);
    const auto desc = matmul_desc(a, args.pack ? any : b, c);
    memory weights = memory_of(b, args.b);
    if (args.pack) {
      memory packed(desc.weights_desc(), cpu_engine());
      dnnl::stream stream(cpu_engine());
      dnnl::reorder(weights, packed).execute(stream, weights, packed);
      stream.wait();
      weights = packed;
    }
    const auto steps = std::make_shared<Steps>();
    steps->add(dnnl::matmul(desc), {{DNNL_ARG_SRC, memory_of(a, args.a)},
                                    {DNNL_ARG_WEIGHTS, weights},
                                    {DNNL_ARG_DST, memory_of(c, args.c)}});
    return Run([steps] { return (*steps)(); });
  }

  Result<Run> softmax(const SoftmaxArgs& args) const override {
    const memory::desc desc({to_dim(args.rows), to_dim(args.cols)}, kF32, {to_dim(args.cols), 1});
    const auto steps = std::make_shared<Steps>();
    steps->add(dnnl::softmax_forward(softmax_desc(desc, 1)),
               {{DNNL_ARG_SRC, memory_of(desc, args.x)}, {DNNL_ARG_DST, memory_of(desc, args.y)}});
    return Run([steps] { return (*steps)(); });
  }

  Result<Run> attention(const AttentionArgs& args) const override {
    const auto attention = std::make_shared<PrimitiveAttention>(args);
    return Run([attention] { return (*attention)(); });
  }

 private:
  size_t threads_;
};

}  // namespace

std::string onednn_version() {
  const dnnl::version_t* version = dnnl::version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

std::shared_ptr<const Library> make_onednn(size_t threads) {
  return std::make_shared<OneDnn>(threads);
}

}  // namespace heed::bench
