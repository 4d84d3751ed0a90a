#include "tools/conformance/attention_problem.h"

#include <algorithm>

#include "heed/paged_kv_cache.hpp"

namespace heed::bits {
namespace {

// Without the batch of one before it, as packed sequences are.
TensorView Joined(const TensorView& view) {
  return TensorView(view.data, view.dtype, view.shape + 1, view.rank - 1, view.strides + 1,
                    view.rank - 1);
}
MutableTensorView Joined(const MutableTensorView& view) {
  return MutableTensorView(view.mutable_data(), view.dtype, view.shape + 1, view.rank - 1,
                           view.strides + 1, view.rank - 1);
}

}  // namespace

// call(out) with the results that the options name.
template <class CallHeed>
void AttentionProblem::Collect(CallHeed call) {
  Tensor<float> out({shape.batch, shape.q_len, shape.heads(), shape.v_head_dim},
                    run_.UnitStrideLayout());
  Tensor<float> lse({shape.batch, shape.heads(), shape.q_len});
  const auto given = [&](const MutableTensorView& view) { return packed() ? Joined(view) : view; };
  options.lse = given(lse.mutable_view());
  if (!run_.Expect(call(given(out.mutable_view())))) return;
  run_.Add(out);
  run_.Add(lse);
  run_.Add(weights_);
  run_.Add(key_scores_);
}

void AttentionProblem::Attend() {
  Collect([&](const MutableTensorView& out) {
    const auto given = [&](const TensorView& view) { return packed() ? Joined(view) : view; };
    return attention(given(q.view()), given(k.view()), given(v.view()), out, options, run_.context);
  });
}

void AttentionProblem::AttendCached() {
  Result<KvCache> cache = KvCache::create({.batch = shape.batch,
                                           .num_kv_heads = shape.num_kv_heads,
                                           .head_dim = shape.head_dim,
                                           .v_head_dim = shape.v_head_dim,
                                           .capacity = shape.kv_len + run_.Below(200)});
  if (!run_.Expect(cache.status())) return;
  for (size_t begin = 0, end = 0; begin < shape.kv_len; begin = end) {
    end = std::min(shape.kv_len, begin + run_.Between(1, 100));
    run_.Expect(
        cache->append(k.view().slice(1, begin, end), v.view().slice(1, begin, end), run_.context));
  }
  Collect([&](const MutableTensorView& out) {
    return attention(q.view(), *cache, out, options, run_.context);
  });
}

void AttentionProblem::AttendPaged() {
  const size_t block_size = run_.OneIn(3) ? 16 : run_.Between(1, 40);
  const size_t blocks = shape.batch * ((shape.kv_len + block_size - 1) / block_size);
  Result<PagedKvCache> cache = PagedKvCache::create({.num_blocks = blocks,
                                                     .block_size = block_size,
                                                     .num_kv_heads = shape.num_kv_heads,
                                                     .head_dim = shape.head_dim,
                                                     .v_head_dim = shape.v_head_dim});
  if (!run_.Expect(cache.status())) return;
  std::vector<PagedSequence> names;
  std::vector<size_t> lengths;
  for (size_t b = 0; b < shape.batch; ++b) {
    const Result<PagedSequence> name = cache->add();
    if (!run_.Expect(name.status())) return;
    names.push_back(*name);
    lengths.push_back(options.kv_lens.absent() ? shape.kv_len : static_cast<size_t>(kv_lens_[b]));
  }
  const size_t chunk = run_.Between(1, 60);  // the sequences take their blocks in turn
  for (size_t begin = 0; begin < shape.kv_len; begin += chunk) {
    for (size_t b = 0; b < shape.batch; ++b) {
      const size_t end = std::min(lengths[b], begin + chunk);
      if (begin >= end) continue;
      run_.Expect(cache->append(names[b], k.view().slice(0, b, b + 1).slice(1, begin, end),
                                v.view().slice(0, b, b + 1).slice(1, begin, end), run_.context));
    }
  }
  const Result<PagedKv> kv = cache->view(names);
  if (!run_.Expect(kv.status())) return;
  options.kv_lens = {};
  Collect([&](const MutableTensorView& out) {
    return attention(q.view(), *kv, out, options, run_.context);
  });
}

}  // namespace heed::bits
