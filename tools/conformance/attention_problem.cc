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
  FloatTensor out(out_dtype_, {shape.batch, shape.q_len, shape.heads(), shape.v_head_dim},
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
    return attention(given(q_view()), given(k_view()), given(v_view()), out, options, run_.context);
  });
}

void AttentionProblem::AttendCached() {
  KvCacheConfig config = CacheConfig();
  config.capacity += run_.Below(200);
  Result<KvCache> cache = KvCache::create(config);
  if (!run_.Expect(cache.status())) return;
  for (size_t begin = 0, end = 0; begin < shape.kv_len; begin = end) {
    end = std::min(shape.kv_len, begin + run_.Between(1, 100));
    Append(&*cache, begin, end);
  }
  Collect([&](const MutableTensorView& out) {
    return attention(q_view(), *cache, out, options, run_.context);
  });
}

KvCacheConfig AttentionProblem::CacheConfig() const {
  return {.batch = shape.batch,
          .num_kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .v_head_dim = shape.v_head_dim,
          .capacity = shape.kv_len,
          .k_dtype = k_cache_dtype,
          .v_dtype = v_cache_dtype,
          .values_in_keys = values_in_keys};
}

void AttentionProblem::Append(KvCache* cache, size_t begin, size_t end) {
  const TensorView tokens = k_view().slice(1, begin, end);
  run_.Expect(values_in_keys ? cache->append(tokens, run_.context)
                             : cache->append(tokens, v_view().slice(1, begin, end), run_.context));
}

void AttentionProblem::AttendStream(const KvCacheConfig& config, size_t longest_chunk) {
  Result<KvCache> cache = KvCache::create(config);
  if (!run_.Expect(cache.status())) return;
  for (size_t begin = 0, end = 0; begin < shape.kv_len; begin = end) {
    const size_t chunk = run_.OneIn(2) ? 1 : run_.Between(1, longest_chunk);
    end = std::min(shape.kv_len, begin + chunk);
    Append(&*cache, begin, end);
    FloatTensor out(out_dtype_, {shape.batch, end - begin, shape.heads(), shape.v_head_dim});
    run_.Expect(attention(q_view().slice(1, begin, end), *cache, out.mutable_view(), options,
                          run_.context));
    run_.Add(out);
  }
}

void AttentionProblem::AttendPaged() {
  const size_t block_size = run_.OneIn(3) ? 16 : run_.Between(1, 40);
  const size_t blocks = shape.batch * ((shape.kv_len + block_size - 1) / block_size);
  Result<PagedKvCache> cache = PagedKvCache::create({.num_blocks = blocks,
                                                     .block_size = block_size,
                                                     .num_kv_heads = shape.num_kv_heads,
                                                     .head_dim = shape.head_dim,
                                                     .v_head_dim = shape.v_head_dim,
                                                     .k_dtype = k_cache_dtype,
                                                     .v_dtype = v_cache_dtype});
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
      run_.Expect(cache->append(names[b], k_view().slice(0, b, b + 1).slice(1, begin, end),
                                v_view().slice(0, b, b + 1).slice(1, begin, end), run_.context));
    }
  }
  const Result<PagedKv> kv = cache->view(names);
  if (!run_.Expect(kv.status())) return;
  options.kv_lens = {};
  Collect([&](const MutableTensorView& out) {
    return attention(q_view(), *kv, out, options, run_.context);
  });
}

}  // namespace heed::bits
