// heed, as a user calls it.
#include <algorithm>
#include <utility>

#include "bench/library.h"

namespace heed::bench {
namespace {

TensorView view_of(const Heads& heads, size_t len, size_t num_heads, size_t head_dim) {
  return TensorView(
      heads.data, {len, num_heads, head_dim},
      {static_cast<ptrdiff_t>(heads.token_stride), static_cast<ptrdiff_t>(heads.head_stride), 1});
}

// [num_heads, len, head_dim] in memory, seen as [len, num_heads, head_dim].
TensorView past_view(const float* data, const LayerShape& shape) {
  return view_of({data, shape.head_dim, shape.past * shape.head_dim}, shape.past, shape.num_heads,
                 shape.head_dim);
}

class HeedLibrary : public Library {
 public:
  explicit HeedLibrary(std::shared_ptr<Context> context) : context_(std::move(context)) {}

  const char* name() const override { return "heed"; }
  bool has(Operation) const override { return true; }
  void use_threads() const override {}  // the Context knows
  size_t workspace_bytes() const override { return context_->workspace_bytes(); }

  Result<Run> matmul(const MatmulArgs& args) const override {
    const auto [m, n, k] = args.shape;
    const TensorView a(args.a, {m, k}), b(args.b, {k, n});
    const MutableTensorView c(args.c, {m, n});
    if (!args.pack) {
      return Run([=, ctx = context_] { return heed::matmul(a, b, c, MatmulOptions{}, *ctx); });
    }
    Result<PackedMatrix> packed = PackedMatrix::pack(b, WeightLayout::kInOut, *context_);
    if (!packed.ok()) return packed.status();
    const auto shared = std::make_shared<PackedMatrix>(std::move(*packed));
    return Run([=, ctx = context_] { return heed::matmul(a, *shared, c, MatmulOptions{}, *ctx); });
  }

  Result<Run> softmax(const SoftmaxArgs& args) const override {
    const TensorView x(args.x, {args.rows, args.cols});
    const MutableTensorView y(args.y, {args.rows, args.cols});
    return Run([=, ctx = context_] { return heed::softmax(x, y, SoftmaxOptions{}, *ctx); });
  }

  Result<Run> attention(const AttentionArgs& args) const override {
    const AttentionShape& s = args.shape;
    const TensorView q = view_of(args.q, s.q_len, s.num_heads, s.head_dim);
    const TensorView k = view_of(args.k, s.kv_len, s.num_kv_heads, s.head_dim);
    const TensorView v = view_of(args.v, s.kv_len, s.num_kv_heads, s.head_dim);
    const MutableTensorView out(args.out, {s.q_len, s.num_heads, s.head_dim});
    AttentionOptions options;
    options.causal = true;
    if (!args.cache) {
      return Run([=, ctx = context_] { return heed::attention(q, k, v, out, options, *ctx); });
    }
    Result<KvCache> cache = KvCache::create(
        {.num_kv_heads = s.num_kv_heads, .head_dim = s.head_dim, .capacity = s.kv_len});
    if (!cache.ok()) return cache.status();
    if (Status appended = cache->append(k, v, *context_); !appended.ok()) return appended;
    const auto shared = std::make_shared<KvCache>(std::move(*cache));
    return Run([=, ctx = context_] { return heed::attention(q, *shared, out, options, *ctx); });
  }

  Result<Run> layer(const LayerArgs& args) const override {
    const LayerShape& s = args.shape;
    MultiHeadAttentionConfig config;
    config.d_in = s.width();
    config.num_heads = s.num_heads;
    config.head_dim = s.head_dim;
    MultiHeadAttentionWeights weights;
    weights.layout = WeightLayout::kInOut;
    weights.qkv.weight = TensorView(args.w_qkv, {s.width(), 3 * s.width()});
    weights.out.weight = TensorView(args.w_out, {s.width(), s.width()});
    Result<MultiHeadAttention> created = MultiHeadAttention::create(config, weights, *context_);
    if (!created.ok()) return created.status();
    const auto layer = std::make_shared<MultiHeadAttention>(std::move(*created));
    const TensorView x(args.x, {s.seq, s.width()});
    const MutableTensorView y(args.y, {s.seq, s.width()});
    if (s.past == 0) {
      return Run([=, ctx = context_] { return layer->forward(x, y, ForwardOptions{}, *ctx); });
    }
    Result<KvCache> made = layer->create_cache(1, s.past + s.seq);
    if (!made.ok()) return made.status();
    Status appended = made->append(past_view(args.k_past, s), past_view(args.v_past, s), *context_);
    if (!appended.ok()) return appended;
    const auto cache = std::make_shared<KvCache>(std::move(*made));
    return Run([=, past = s.past, ctx = context_] {
      if (Status cut = cache->truncate(past); !cut.ok()) return cut;
      return layer->forward(x, y, *cache, *ctx);
    });
  }

 private:
  std::shared_ptr<Context> context_;
};

}  // namespace

std::shared_ptr<const Library> make_heed(size_t threads, const char* target) {
  ContextOptions options;
  options.num_threads = threads;
  options.target = target;
  return make_heed(std::make_shared<Context>(options));
}

std::shared_ptr<const Library> make_heed(std::shared_ptr<Context> context) {
  return std::make_shared<HeedLibrary>(std::move(context));
}

}  // namespace heed::bench
