#include "bench/library.h"

#include <algorithm>

namespace heed::bench {
namespace {

// The buffers between the steps of a layer that is put together by hand, and its steps.
struct ComposedLayer {
  LayerShape shape;
  Buffer qkv;   // [seq, q k v, num_heads, head_dim]
  Buffer k, v;  // [num_heads, past + seq, head_dim], with a past only
  Buffer context;
  Run project, attend, finish;

  explicit ComposedLayer(const LayerArgs& args)
      : shape(args.shape), qkv(shape.seq * 3 * shape.width()), context(shape.seq * shape.width()) {
    if (shape.past == 0) return;
    k.resize(shape.width() * (shape.past + shape.seq));
    v.resize(k.size());
    for (size_t head = 0; head < shape.num_heads; ++head) {
      const size_t from = head * shape.past * shape.head_dim;
      std::copy_n(args.k_past + from, shape.past * shape.head_dim, cache_row(k, head, 0));
      std::copy_n(args.v_past + from, shape.past * shape.head_dim, cache_row(v, head, 0));
    }
  }

  float* cache_row(Buffer& cache, size_t head, size_t token) const {
    return cache.data() + (head * (shape.past + shape.seq) + token) * shape.head_dim;
  }

  // New keys and values to the end of the cache.
  void append() {
    for (size_t token = 0; token < shape.seq; ++token) {
      const float* row = qkv.data() + token * 3 * shape.width() + shape.width();
      for (size_t head = 0; head < shape.num_heads; ++head, row += shape.head_dim) {
        std::copy_n(row, shape.head_dim, cache_row(k, head, shape.past + token));
        std::copy_n(row + shape.width(), shape.head_dim, cache_row(v, head, shape.past + token));
      }
    }
  }

  AttentionArgs attention_args() {
    const size_t width = shape.width(), dim = shape.head_dim;
    AttentionArgs args{
        shape.attention(), {qkv.data(), 3 * width, dim}, {}, {}, context.data(), false};
    if (shape.past == 0) {
      args.k = {qkv.data() + width, 3 * width, dim};
      args.v = {qkv.data() + 2 * width, 3 * width, dim};
    } else {
      args.k = {k.data(), dim, (shape.past + shape.seq) * dim};
      args.v = {v.data(), dim, (shape.past + shape.seq) * dim};
    }
    return args;
  }

  Status operator()() {
    if (Status s = project(); !s.ok()) return s;
    if (shape.past > 0) append();
    if (Status s = attend(); !s.ok()) return s;
    return finish();
  }
};

}  // namespace

Result<Run> Library::layer(const LayerArgs& args) const {
  const size_t seq = args.shape.seq, width = args.shape.width();
  const auto layer = std::make_shared<ComposedLayer>(args);
  Result<Run> project = matmul({{seq, 3 * width, width},
                                args.x,
                                args.w_qkv,
                                layer->qkv.data(),
                                has(Operation::kPackedMatmul)});
  if (!project.ok()) return project.status();
  Result<Run> attend = attention(layer->attention_args());
  if (!attend.ok()) return attend.status();
  Result<Run> finish = matmul({{seq, width, width},
                               layer->context.data(),
                               args.w_out,
                               args.y,
                               has(Operation::kPackedMatmul)});
  if (!finish.ok()) return finish.status();
  layer->project = *project;
  layer->attend = *attend;
  layer->finish = *finish;
  return Run([layer] { return (*layer)(); });
}

std::vector<std::shared_ptr<const Library>> make_libraries(size_t threads, const char* target) {
  std::vector<std::shared_ptr<const Library>> libraries{make_heed(threads, target),
                                                        make_unfused(threads, target)};
#if defined(HEED_BENCH_ONEDNN)
  libraries.push_back(make_onednn(threads));
#endif
#if defined(HEED_BENCH_OPENBLAS)
  libraries.push_back(make_openblas(threads, target));
#endif
  return libraries;
}

}  // namespace heed::bench
