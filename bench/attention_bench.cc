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

  Result<Run> run(const Library& library, bool reference) {
    AttentionArgs to = args;
    if (reference) {
      to.out = want.data();
      to.cache = false;
    }
    return library.attention(to);
  }
};

void add_problem(Suite* suite, const AttentionShape& shape, const Choice& choice) {
  const bool cache = shape.q_len == 1;
  Case c;
  c.operation = cache ? "decode" : "prefill";
  c.shape = shape_of(shape);
  c.bound = cache ? Bound::kMemory : Bound::kFlops;
  c.work = work_of(shape);
  const size_t copies = cache ? suite->copies_beyond_cache(c.work.bytes) : 1;
  add_for_all(suite, c, choice, Operation::kAttention,
              [=](const Library& library, const Library& reference) {
                return prepare_copies<AttentionProblem>(copies, library, reference, shape, cache);
              });
}

}  // namespace

void add_attention(Suite* suite) {
  const auto prompt = [](size_t len, size_t heads, size_t kv_heads, size_t dim) {
    return AttentionShape{len, len, heads, kv_heads, dim};
  };
  add_problem(suite, prompt(1024, 12, 12, 64), {.scaling = true});
  for (const AttentionShape& shape : {prompt(2048, 16, 16, 64), prompt(2048, 8, 8, 128),
                                      prompt(1024, 32, 8, 128), prompt(64, 4, 4, 32)}) {
    add_problem(suite, shape, {});
  }
  for (const size_t dim : {33u, 80u, 96u, 256u}) {
    add_problem(suite, prompt(1024, 12, 12, dim), {.tier = Tier::kDefault, .rivals = false});
  }
  const Choice sweep{.tier = Tier::kDefault, .rivals = false};
  for (const size_t len : {128u, 256u, 512u, 2048u, 4096u}) {
    add_problem(suite, prompt(len, 12, 12, 64), sweep);
  }
  for (const size_t len : {4096u, 32768u}) {
    add_problem(suite, {1, len, 12, 12, 64}, {.scaling = len == 4096});
    add_problem(suite, {1, len, 32, 8, 128}, {});
  }
  for (const size_t len : {512u, 1024u, 2048u, 8192u, 16384u}) {
    add_problem(suite, {1, len, 12, 12, 64}, sweep);
  }
}

}  // namespace heed::bench
