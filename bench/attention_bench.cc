// Causal attention: prefill of a whole prompt, and decode of one token against a cache.
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

// Prefill has its tensors as [len, heads, head_dim], as projections write them; decode has keys and
// values as [heads, len, head_dim], as caches keep them.
struct AttentionProblem {
  Buffer q, k, v, out, want;
  AttentionArgs args;

  AttentionProblem(const AttentionShape& s, bool cache)
      : q(random_normal(s.q_len * s.num_heads * s.head_dim, 1)),
        k(random_normal(s.kv_len * s.num_kv_heads * s.head_dim, 2)),
        v(random_normal(k.size(), 3)),
        out(q.size()),
        want(q.size()),
        args{s, {q.data(), s.num_heads * s.head_dim, s.head_dim}, {}, {}, out.data(), cache} {
    const size_t token_stride = cache ? s.head_dim : s.num_kv_heads * s.head_dim;
    const size_t head_stride = cache ? s.kv_len * s.head_dim : s.head_dim;
    args.k = {k.data(), token_stride, head_stride};
    args.v = {v.data(), token_stride, head_stride};
  }
};

Result<Runs> PrepareAttention(const AttentionShape& shape, bool cache, size_t copies,
                              const Library& library, const Library& reference) {
  Runs runs;
  for (size_t i = 0; i < copies; ++i) {
    const auto p = std::make_shared<AttentionProblem>(shape, cache);
    Result<Run> run = library.attention(p->args);
    if (!run.ok()) return run.status();
    if (i == 0) {
      AttentionArgs args = p->args;
      args.out = p->want.data();
      args.cache = false;
      Result<Run> want = reference.attention(args);
      if (!want.ok()) return want.status();
      if (Status s = check_against(*want, p->want, *run, p->out); !s.ok()) return s;
    }
    runs.push_back([p, run = *run] { return run(); });
  }
  return runs;
}

void RegisterAttention(const Suite& suite, const std::string& name, const AttentionShape& shape,
                       bool cache) {
  const Work work = work_of(shape);
  const size_t copies = cache ? copies_beyond_cache(suite.machine, work.bytes) : 1;
  register_for_all(suite, name + "/" + name_of(shape), Operation::kAttention, work,
                   [=](const Library& library, const Library& reference) {
                     return PrepareAttention(shape, cache, copies, library, reference);
                   });
}

}  // namespace

void register_attention(const Suite& suite) {
  const AttentionShape prefill[] = {
      {1024, 1024, 12, 12, 64}, {2048, 2048, 16, 16, 64}, {2048, 2048, 8, 8, 128},
      {1024, 1024, 32, 8, 128}, {64, 64, 4, 4, 32},
  };
  for (const AttentionShape& shape : prefill) RegisterAttention(suite, "prefill", shape, false);
  for (const size_t kv_len : {size_t{4096}, size_t{32768}}) {
    RegisterAttention(suite, "decode", {1, kv_len, 12, 12, 64}, true);
    RegisterAttention(suite, "decode", {1, kv_len, 32, 8, 128}, true);
  }
}

}  // namespace heed::bench
