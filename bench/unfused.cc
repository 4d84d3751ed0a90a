// Attention as a user without a fused one would write it: heed's matmul and softmax around the
// whole matrix of scores.
#include <cmath>
#include <limits>

#include "bench/library.h"

namespace heed::bench {
namespace {

class Unfused : public Library {
 public:
  Unfused(size_t threads, const char* target)
      : heed_(make_heed(threads, target)),
        context_(
            std::make_shared<Context>(ContextOptions{.num_threads = threads, .target = target})) {}

  const char* name() const override { return "unfused"; }
  bool has(Operation operation) const override { return operation == Operation::kAttention; }
  void use_threads() const override {}  // the Context knows
  Result<Run> matmul(const MatmulArgs& args) const override { return heed_->matmul(args); }
  Result<Run> softmax(const SoftmaxArgs& args) const override { return heed_->softmax(args); }

  Result<Run> attention(const AttentionArgs& args) const override {
    const auto scores = std::make_shared<Buffer>(args.shape.q_len * args.shape.kv_len);
    return Run([args, scores, ctx = context_] {
      for (size_t head = 0; head < args.shape.num_heads; ++head) {
        if (Status s = attend(args, head, scores->data(), *ctx); !s.ok()) return s;
      }
      return Status();
    });
  }

 private:
  static Status attend(const AttentionArgs& args, size_t head, float* scores, Context& ctx) {
    const AttentionShape& s = args.shape;
    const size_t kv_head = head * s.num_kv_heads / s.num_heads;
    const auto stride = [](size_t n) { return static_cast<ptrdiff_t>(n); };
    const TensorView q(args.q.data + head * args.q.head_stride, {s.q_len, s.head_dim},
                       {stride(args.q.token_stride), 1});
    const TensorView k_transposed(args.k.data + kv_head * args.k.head_stride,
                                  {s.head_dim, s.kv_len}, {1, stride(args.k.token_stride)});
    const TensorView v(args.v.data + kv_head * args.v.head_stride, {s.kv_len, s.head_dim},
                       {stride(args.v.token_stride), 1});
    const TensorView weights(scores, {s.q_len, s.kv_len});
    const MutableTensorView logits(scores, {s.q_len, s.kv_len});
    const MutableTensorView out(args.out + head * s.head_dim, {s.q_len, s.head_dim},
                                {stride(s.num_heads * s.head_dim), 1});
    if (Status r = heed::matmul(q, k_transposed, logits, MatmulOptions{}, ctx); !r.ok()) return r;
    for (size_t i = 0; i < s.q_len; ++i) {
      float* row = scores + i * s.kv_len;
      std::fill(row + s.kv_len - s.q_len + i + 1, row + s.kv_len,
                -std::numeric_limits<float>::infinity());
    }
    const SoftmaxOptions scaled{1.0f / std::sqrt(static_cast<float>(s.head_dim))};
    if (Status r = heed::softmax(weights, logits, scaled, ctx); !r.ok()) return r;
    return heed::matmul(weights, v, out, MatmulOptions{}, ctx);
  }

  std::shared_ptr<const Library> heed_;
  std::shared_ptr<Context> context_;
};

}  // namespace

std::shared_ptr<const Library> make_unfused(size_t threads, const char* target) {
  return std::make_shared<Unfused>(threads, target);
}

}  // namespace heed::bench
