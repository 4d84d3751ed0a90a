// Attention over keys that lie elsewhere than in one tensor each: packed, paged, cached, in parts.
#include <algorithm>
#include <limits>

#include "heed/attention_state.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "tools/conformance/attention_problem.h"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

struct State {
  State(const AttentionShape& s, size_t segments)
      : max({segments, s.batch, s.heads(), s.q_len}),
        sum({segments, s.batch, s.heads(), s.q_len}),
        acc({segments, s.batch, s.q_len, s.heads(), s.v_head_dim}) {}
  AttentionState view() { return {max.mutable_view(), sum.mutable_view(), acc.mutable_view()}; }

  Tensor<float> max, sum, acc;
};

}  // namespace

void PackedBatch(Run& run) {
  for (size_t i = 0; i < 80; ++i) {
    AttentionShape shape = SmallShape(run);
    shape.batch = 1;
    AttentionProblem p(run, shape);
    p.AddPackedBatch();
    if (i % 4 != 0) p.AddCausal();
    p.Attend();
  }
}

void Paged(Run& run) {
  for (size_t i = 0; i < 60; ++i) {
    AttentionProblem p(run);
    if (i % 4 != 0) p.AddCausal();
    if (i % 3 != 0) p.AddKvLens();
    p.AttendPaged();
  }
}

// Prefill, chunks and single tokens.
void Cache(Run& run) {
  for (size_t i = 0; i < 12; ++i) {
    const size_t tokens = run.Between(20, 160);
    AttentionProblem p(run, StreamShape(run, tokens));
    p.options.causal = true;
    if (i % 3 == 1) p.AddAlibi();
    if (i % 3 == 2) p.AddWindow();
    p.AttendStream(p.CacheConfig(), 60);
  }
}

// Streams longer than the ring.
void Ring(Run& run) {
  for (size_t i = 0; i < 8; ++i) {
    AttentionProblem p(run, StreamShape(run, 330));
    p.options.causal = true;
    p.options.window = run.Between(1, 60);
    p.options.sink_tokens = i % 2 == 0 ? 0 : run.Between(1, 10);
    KvCacheConfig config = p.CacheConfig();
    config.capacity = p.options.window + 39;
    config.window = p.options.window;
    config.sink_tokens = p.options.sink_tokens;
    p.AttendStream(config, 40);
  }
}

// Rows over up to four segments of kSegmentKeys, by a few queries and by many.
void LongKeys(Run& run) {
  for (size_t i = 0; i < 12; ++i) {
    const size_t segments = run.Between(1, 3);
    AttentionShape shape = StreamShape(run, segments * kSegmentKeys + run.Below(300));
    shape.q_len = i % 4 == 3 ? run.Between(25, 40) : run.Between(1, 3);
    AttentionProblem p(run, shape);
    p.options.causal = true;
    if (i % 5 == 1) p.AddAlibi(0.005f);
    if (i % 5 == 2) p.AddWindow();
    if (i % 5 == 3) p.AddSinks();
    i % 2 == 0 ? p.Attend() : p.AttendCached();
  }
  AttentionShape shape;  // threads share the segments of its rows
  shape.kv_len = 2 * kSegmentKeys + 100;
  shape.num_kv_heads = 2, shape.group = 4;
  shape.head_dim = shape.v_head_dim = 64;
  AttentionProblem(run, shape).Attend();
}

// Parts cut at segments, and merged.
void Parts(Run& run) {
  for (size_t i = 0; i < 8; ++i) {
    const size_t segments = run.Between(1, 2);
    AttentionShape shape = StreamShape(run, segments * kSegmentKeys + run.Between(1, 200));
    shape.q_len = run.Between(1, 9);
    AttentionProblem p(run, shape);
    p.options.causal = i % 2 == 0;
    State states[] = {{shape, 1}, {shape, segments}};
    AttentionState parts[2];
    for (size_t part = 0; part < 2; ++part) {
      const size_t begin = part * kSegmentKeys;
      const size_t end = part == 0 ? kSegmentKeys : shape.kv_len;
      parts[part] = states[part].view();
      run.Expect(attention_partial(p.q.view(), p.k.view().slice(1, begin, end),
                                   p.v.view().slice(1, begin, end), begin, shape.kv_len,
                                   parts[part], p.options, run.context));
      run.Add(states[part].max);
      run.Add(states[part].sum);
      run.Add(states[part].acc);
    }
    if (i % 3 == 0) p.AddSinks();
    Tensor<float> out({shape.batch, shape.q_len, shape.heads(), shape.v_head_dim});
    Tensor<float> lse({shape.batch, shape.heads(), shape.q_len});
    run.Expect(merge_attention(parts, 2, p.options.sinks, out.mutable_view(), lse.mutable_view(),
                               run.context));
    run.Add(out);
    run.Add(lse);
  }
}

// Two finished results, one of them at times over no key.
void MergedResults(Run& run) {
  for (size_t i = 0; i < 60; ++i) {
    const AttentionShape s = SmallShape(run);
    const std::vector<size_t> shape = {s.batch, s.q_len, s.heads(), s.v_head_dim};
    const std::vector<size_t> rows = {s.batch, s.heads(), s.q_len};
    const Tensor<float> a = run.Normal(shape), b = run.Normal(shape);
    const Tensor<float> lse_a = run.Normal(rows, Layout::kContiguous, 10.0f);
    Tensor<float> lse_b = run.Normal(rows, Layout::kContiguous, 10.0f);
    lse_b[0] = -std::numeric_limits<float>::infinity();
    Tensor<float> out(shape), lse(rows);
    run.Expect(merge_attention(a.view(), lse_a.view(), b.view(), lse_b.view(), out.mutable_view(),
                               lse.mutable_view(), run.context));
    run.Add(out);
    run.Add(lse);
  }
}

}  // namespace heed::bits
