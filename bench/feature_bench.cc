// What options of attention cost beside plain causal attention, per key that is seen.
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "bench/case.h"
#include "heed/heed.hpp"

namespace heed::bench {
namespace {

constexpr size_t kPageSize = 16;

// A batch of one, q, k and v as [len, heads, head_dim].
struct FeatureProblem {
  FeatureProblem(const AttentionShape& s, size_t threads, const char* target)
      : shape(s),
        q(random_normal(s.q_len * s.num_heads * s.head_dim, 1)),
        k(random_normal(s.kv_len * s.num_kv_heads * s.head_dim, 2)),
        v(random_normal(k.size(), 3)),
        out(q.size()),
        want(q.size()),
        context({.num_threads = threads, .target = target}) {
    options.causal = true;
  }

  TensorView q_view() const { return {q.data(), {shape.q_len, shape.num_heads, shape.head_dim}}; }
  TensorView kv_view(const Buffer& of) const {
    return {of.data(), {shape.kv_len, shape.num_kv_heads, shape.head_dim}};
  }
  MutableTensorView out_view(Buffer& to) const {
    return {to.data(), {shape.q_len, shape.num_heads, shape.head_dim}};
  }
  Status attend(const AttentionOptions& o, Buffer& to) {
    return attention(q_view(), kv_view(k), kv_view(v), out_view(to), o, context);
  }

  AttentionShape shape;
  Buffer q, k, v, out, want, k_pages, v_pages, bias;
  std::vector<int32_t> offsets, table, seq_lens;
  std::vector<uint8_t> mask;
  std::vector<float> slopes;
  PagedKv pages;
  AttentionOptions options;
  Context context;
};
using Shared = std::shared_ptr<FeatureProblem>;

// Makes the call of a feature, and another way to its result where there is one.
struct Calls {
  Run run, check;
};

Calls window_calls(const Shared& p) {
  constexpr size_t kWindow = 1024;
  const size_t len = p->shape.kv_len;
  p->options.window = kWindow;
  p->mask.resize(len * len);
  for (size_t i = 0; i < len; ++i) {
    for (size_t j = 0; j <= i; ++j) p->mask[i * len + j] = i - j < kWindow;
  }
  return {[p] { return p->attend(p->options, p->out); },
          [p] {
            AttentionOptions masked;
            masked.mask = TensorView(p->mask.data(), {1, p->shape.q_len, p->shape.kv_len});
            return p->attend(masked, p->want);
          }};
}

Calls pages_calls(const Shared& p) {
  const AttentionShape& s = p->shape;
  const size_t blocks = (s.kv_len + kPageSize - 1) / kPageSize, row = s.num_kv_heads * s.head_dim;
  p->k_pages.resize(blocks * kPageSize * row);
  p->v_pages.resize(p->k_pages.size());
  for (size_t n = 0; n < blocks; ++n) {  // 7 has no factor in common with a power of two
    p->table.push_back(static_cast<int32_t>((n * 7 + 3) % blocks));
  }
  for (size_t i = 0; i < s.kv_len * row; ++i) {
    const size_t token = i / row, block = static_cast<size_t>(p->table[token / kPageSize]);
    const size_t at = (block * kPageSize + token % kPageSize) * row + i % row;
    p->k_pages[at] = p->k[i];
    p->v_pages[at] = p->v[i];
  }
  p->seq_lens = {static_cast<int32_t>(s.kv_len)};
  p->pages.k = TensorView(p->k_pages.data(), {blocks, kPageSize, s.num_kv_heads, s.head_dim});
  p->pages.v = TensorView(p->v_pages.data(), {blocks, kPageSize, s.num_kv_heads, s.head_dim});
  p->pages.block_table = TensorView(p->table.data(), {1, blocks});
  p->pages.seq_lens = TensorView(p->seq_lens.data(), {1});
  return {
      [p] {
        const TensorView q(p->q.data(), {1, p->shape.q_len, p->shape.num_heads, p->shape.head_dim});
        const MutableTensorView out(p->out.data(),
                                    {1, p->shape.q_len, p->shape.num_heads, p->shape.head_dim});
        return attention(q, p->pages, out, p->options, p->context);
      },
      [p] { return p->attend(p->options, p->want); }};
}

constexpr int32_t kPackedLens[] = {1500, 37, 700, 259, 1000, 90, 510};  // 4096 in all

Calls packed_calls(const Shared& p) {
  p->offsets = {0};
  for (int32_t len : kPackedLens) p->offsets.push_back(p->offsets.back() + len);
  p->options.cu_seqlens_q = TensorView(p->offsets.data(), {p->offsets.size()});
  p->options.cu_seqlens_k = p->options.cu_seqlens_q;
  return {[p] { return p->attend(p->options, p->out); },
          [p] {
            AttentionOptions alone;
            alone.causal = true;
            for (size_t b = 0; b + 1 < p->offsets.size(); ++b) {
              const auto begin = static_cast<size_t>(p->offsets[b]);
              const auto end = static_cast<size_t>(p->offsets[b + 1]);
              const Status status =
                  attention(p->q_view().slice(0, begin, end), p->kv_view(p->k).slice(0, begin, end),
                            p->kv_view(p->v).slice(0, begin, end),
                            p->out_view(p->want).slice(0, begin, end), alone, p->context);
              if (!status.ok()) return status;
            }
            return Status();
          }};
}

Calls plain_calls(const Shared& p) {
  return {[p] { return p->attend(p->options, p->out); },
          [p] { return p->attend(p->options, p->want); }};
}

Calls soft_cap_calls(const Shared& p) {
  p->options.logits_soft_cap = 50.0f;
  return plain_calls(p);
}

Calls alibi_calls(const Shared& p) {
  p->slopes.resize(p->shape.num_heads);
  (void)alibi_slopes(MutableTensorView(p->slopes.data(), {p->slopes.size()}));
  p->options.alibi_slopes = TensorView(p->slopes.data(), {p->slopes.size()});
  return plain_calls(p);
}

// What masks cost is measured per call: a key that they hide is computed all the same.

// Nine of ten; 7919 is prime.
bool shows(size_t n) { return n * 7919 % 1009 % 10 != 0; }

Calls key_mask_calls(const Shared& p) {
  for (size_t j = 0; j < p->shape.kv_len; ++j) p->mask.push_back(shows(j) ? 1 : 0);
  p->options.key_mask = TensorView(p->mask.data(), {1, p->shape.kv_len});
  return plain_calls(p);
}

Calls mask_calls(const Shared& p) {
  const size_t count = p->shape.q_len * p->shape.kv_len;
  for (size_t n = 0; n < count; ++n) p->mask.push_back(shows(n) ? 1 : 0);
  p->options.mask = TensorView(p->mask.data(), {1, p->shape.q_len, p->shape.kv_len});
  return plain_calls(p);
}

Calls bias_calls(const Shared& p) {
  p->bias = random_normal(p->shape.q_len * p->shape.kv_len, 4);
  p->options.mask = TensorView(p->bias.data(), {1, p->shape.q_len, p->shape.kv_len});
  return plain_calls(p);
}

// Drafts of a binary tree, each of which sees those it follows.
Calls tree_calls(const Shared& p) {
  const size_t drafts = p->shape.q_len;
  p->mask.resize(drafts * drafts);
  for (size_t i = 0; i < drafts; ++i) {
    size_t ancestor = i;
    for (; ancestor > 0; ancestor = (ancestor - 1) / 2) p->mask[i * drafts + ancestor] = 1;
    p->mask[i * drafts] = 1;
  }
  p->options.tree_mask = TensorView(p->mask.data(), {drafts, drafts});
  return plain_calls(p);
}

double packed_flops(const AttentionShape& s) {
  double flops = 0;
  for (int32_t len : kPackedLens) {
    const auto n = static_cast<size_t>(len);
    flops += attention_flops({n, n, s.num_heads, s.num_kv_heads, s.head_dim});
  }
  return flops;
}

// Rows before the window is full see as many keys as in plain causal attention.
double window_flops(const AttentionShape& s) {
  constexpr size_t kWindow = 1024;
  AttentionShape hidden = s;
  hidden.q_len = hidden.kv_len = s.kv_len - kWindow;
  return attention_flops(s) - attention_flops(hidden);
}

struct Feature {
  const char* name;
  AttentionShape shape;
  AttentionShape baseline;  // plain causal attention, the same head_dim
  Calls (*calls)(const Shared&);
  double (*flops)(const AttentionShape&);
};

constexpr AttentionShape kShort = {1024, 1024, 12, 12, 64}, kLong = {4096, 4096, 12, 12, 64};
constexpr AttentionShape kDrafts = {64, 2112, 12, 12, 64};
const Feature kFeatures[] = {
    {"window:1024", kLong, kLong, &window_calls, &window_flops},
    {"gqa", {1024, 1024, 12, 4, 64}, kShort, &plain_calls, &attention_flops},
    {"gqa", {1024, 1024, 32, 8, 128}, {1024, 1024, 32, 32, 128}, &plain_calls, &attention_flops},
    {"paged:16", kShort, kShort, &pages_calls, &attention_flops},
    {"packed:7", kLong, kShort, &packed_calls, &packed_flops},
    {"soft_cap", kShort, kShort, &soft_cap_calls, &attention_flops},
    {"alibi", kShort, kShort, &alibi_calls, &attention_flops},
    {"key_mask", kShort, kShort, &key_mask_calls, &attention_flops},
    {"mask", kShort, kShort, &mask_calls, &attention_flops},
    {"mask", kDrafts, kDrafts, &mask_calls, &attention_flops},
    {"bias", kShort, kShort, &bias_calls, &attention_flops},
    {"tree", kDrafts, kDrafts, &tree_calls, &attention_flops},
};

Result<Runs> prepare_feature(const Feature& feature, size_t threads, const char* target) {
  const auto p = std::make_shared<FeatureProblem>(feature.shape, threads, target);
  const Calls calls = feature.calls(p);
  if (Status s = check_against(calls.check, p->want, calls.run, p->out); !s.ok()) return s;
  return Runs{calls.run};
}

// Plain causal attention, which the feature is compared with in turn.
Result<Runs> prepare_baseline(const Feature& feature, size_t threads, const char* target) {
  return Runs{plain_calls(std::make_shared<FeatureProblem>(feature.baseline, threads, target)).run};
}

// Caches of other types than f32, beside one of f32. That results are right is tested, not checked
// here: they are not f32's.
struct StoredCase {
  AttentionShape shape;
  DType k_dtype, v_dtype;
  Compute compute = Compute::kF32;
};

constexpr DType kBf16 = DType::kBF16, kF16 = DType::kF16, kInt8 = DType::kInt8,
                kInt4 = DType::kInt4;
constexpr AttentionShape kDecodes[] = {
    {1, 4096, 12, 12, 64}, {1, 32768, 12, 12, 64}, {1, 4096, 32, 8, 128}, {1, 32768, 32, 8, 128}};
constexpr AttentionShape kPrompts[] = {kShort, {1024, 1024, 32, 8, 128}};

std::vector<StoredCase> stored_cases() {
  std::vector<StoredCase> cases;
  const auto add = [&](const AttentionShape& shape) {
    for (const DType dtype : {kBf16, kF16, kInt8, kInt4}) cases.push_back({shape, dtype, dtype});
    for (const DType dtype : {kInt8, kInt4}) cases.push_back({shape, kBf16, dtype});
    for (const DType dtype : {kInt8, kInt4}) {
      cases.push_back({shape, dtype, dtype, Compute::kInt16});
    }
  };
  for (const AttentionShape& shape : kDecodes) add(shape);
  for (const AttentionShape& shape : kPrompts) add(shape);
  return cases;
}

std::string name_of(const StoredCase& stored) {
  std::string name = std::string("cache:") + heed::name_of(stored.k_dtype);
  if (stored.v_dtype != stored.k_dtype) {
    name += std::string("/values:") + heed::name_of(stored.v_dtype);
  }
  if (stored.compute == Compute::kInt16) name += "/compute:int16";
  return name;
}

// Of a token of one head, scales included.
double stored_bytes(DType dtype, size_t dim) {
  const auto n = static_cast<double>(dim);
  if (dtype == kInt8) return n + 4;
  if (dtype == kInt4) return n / 2 + n / 16;
  return n * static_cast<double>(size_of(dtype));
}

double cache_bytes(const StoredCase& stored) {
  const AttentionShape& s = stored.shape;
  return static_cast<double>(s.kv_len * s.num_kv_heads) *
         (stored_bytes(stored.k_dtype, s.head_dim) + stored_bytes(stored.v_dtype, s.head_dim));
}

Result<Run> prepare_stored(const StoredCase& stored, size_t threads, const char* target) {
  const auto p = std::make_shared<FeatureProblem>(stored.shape, threads, target);
  KvCacheConfig config;
  config.num_kv_heads = stored.shape.num_kv_heads;
  config.head_dim = stored.shape.head_dim;
  config.capacity = stored.shape.kv_len;
  config.k_dtype = stored.k_dtype;
  config.v_dtype = stored.v_dtype;
  Result<KvCache> created = KvCache::create(config);
  if (!created.ok()) return created.status();
  const auto cache = std::make_shared<KvCache>(std::move(*created));
  const Status status = cache->append(p->kv_view(p->k), p->kv_view(p->v), p->context);
  if (!status.ok()) return status;
  p->k = p->v = Buffer();
  p->options.compute = stored.compute;
  return Run([p, cache] {
    return attention(p->q_view(), *cache, p->out_view(p->out), p->options, p->context);
  });
}

Result<Runs> prepare_copies_of(const StoredCase& stored, size_t copies, size_t threads,
                               const char* target) {
  Runs runs;
  for (size_t i = 0; i < copies; ++i) {
    const Result<Run> run = prepare_stored(stored, threads, target);
    if (!run.ok()) return run.status();
    runs.push_back(*run);
  }
  return runs;
}

void add_stored(Suite* suite) {
  const char* target = suite->settings.target_or_null();
  for (const StoredCase& stored : stored_cases()) {
    for (const size_t threads : suite->settings.threads) {
      const bool decodes = stored.shape.q_len == 1;
      Case c;
      c.operation = "feature";
      c.shape = shape_of(stored.shape);
      c.shape.name = name_of(stored) + (decodes ? "/decode/" : "/prefill/") + c.shape.name;
      c.bound = decodes ? Bound::kMemory : Bound::kFlops;
      c.threads = threads;
      c.tier = Tier::kNamed;
      const auto add = [&](const StoredCase& of, const std::string& name) {
        c.work = work_of(of.shape);
        const double f32 = cache_bytes({of.shape, DType::kF32, DType::kF32});
        c.work.bytes += cache_bytes(of) - f32;
        const size_t copies = decodes ? suite->copies_beyond_cache(c.work.bytes) : 1;
        c.library_name = name;
        c.prepare = [of, copies, threads, target] {
          return prepare_copies_of(of, copies, threads, target);
        };
        suite->cases.push_back(c);
      };
      c.library = make_heed(threads, target);
      add(stored, c.library->name());
      add({stored.shape, DType::kF32, DType::kF32}, kStoredF32);
    }
  }
}

}  // namespace

void add_features(Suite* suite) {
  add_stored(suite);
  const char* target = suite->settings.target_or_null();
  for (const Feature& feature : kFeatures) {
    for (const size_t threads : suite->settings.threads) {
      Case c;
      c.operation = "feature";
      c.shape = shape_of(feature.shape);
      c.shape.name = std::string(feature.name) + "/" + c.shape.name;
      c.threads = threads;
      c.work = work_of(feature.shape);
      c.work.flops = feature.flops(feature.shape);
      c.tier = Tier::kNamed;
      c.library = make_heed(threads, target);
      c.library_name = c.library->name();
      c.prepare = [&feature, threads, target] { return prepare_feature(feature, threads, target); };
      suite->cases.push_back(c);
      c.shape.sizes = shape_of(feature.baseline).sizes;
      c.work = work_of(feature.baseline);
      c.library_name = kCausal;
      c.prepare = [&feature, threads, target] {
        return prepare_baseline(feature, threads, target);
      };
      suite->cases.push_back(std::move(c));
    }
  }
}

}  // namespace heed::bench
