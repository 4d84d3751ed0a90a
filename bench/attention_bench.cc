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

void AddAttention(Suite* suite, const AttentionShape& shape, const Choice& choice) {
  const bool cache = shape.q_len == 1;
  Case c;
  c.operation = cache ? "decode" : "prefill";
  c.shape = name_of(shape);
  c.work = work_of(shape);
  const size_t copies = cache ? suite->copies_beyond_cache(c.work.bytes) : 1;
  add_for_all(suite, c, choice, Operation::kAttention,
              [=](const Library& library, const Library& reference) {
                return PrepareAttention(shape, cache, copies, library, reference);
              });
}

}  // namespace

void add_attention(Suite* suite) {
  const auto prompt = [](size_t len, size_t heads, size_t kv_heads, size_t dim) {
    return AttentionShape{len, len, heads, kv_heads, dim};
  };
  AddAttention(suite, prompt(1024, 12, 12, 64), {.scaling = true});
  for (const AttentionShape& shape : {prompt(2048, 16, 16, 64), prompt(2048, 8, 8, 128),
                                      prompt(1024, 32, 8, 128), prompt(64, 4, 4, 32)}) {
    AddAttention(suite, shape, {});
  }
  for (const size_t dim : {33u, 80u, 96u, 256u}) {
    AddAttention(suite, prompt(1024, 12, 12, dim), {.tier = Tier::kDefault, .rivals = false});
  }
  const Choice sweep{.tier = Tier::kDefault, .rivals = false};
  for (const size_t len : {128u, 256u, 512u, 2048u, 4096u}) {
    AddAttention(suite, prompt(len, 12, 12, 64), sweep);
  }
  for (const size_t len : {4096u, 32768u}) {
    AddAttention(suite, {1, len, 12, 12, 64}, {.scaling = len == 4096});
    AddAttention(suite, {1, len, 32, 8, 128}, {});
  }
  for (const size_t len : {512u, 1024u, 2048u, 8192u, 16384u}) {
    AddAttention(suite, {1, len, 12, 12, 64}, sweep);
  }
}

}  // namespace heed::bench
