// The ways to hand a problem to heed: tensors, caches, pages, packed sequences, parts.
#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>

#include "heed/attention_state.hpp"
#include "heed/kv_cache.hpp"
#include "heed/numerics.hpp"
#include "test/cases/attention_problem.h"
#include "test/support/stored_tensor.h"

namespace heed::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Sizes = std::vector<size_t>;

// A tensor of a problem in the type in which heed is given it.
class Operand {
 public:
  Operand(const Tensor<float>& of, DType dtype, Layout layout) : view_(of.view()) {
    if (dtype == DType::kF32) return;
    stored_.emplace(dtype, of.shape(), layout, of.Dense());
    view_ = stored_->view();
  }
  const TensorView& view() const { return view_; }
  bool quantized() const { return HasScales(view_.dtype); }
  TensorView scales() const { return stored_ ? stored_->scales_view() : TensorView(); }

 private:
  std::optional<StoredTensor> stored_;
  TensorView view_;
};

struct Operands {
  explicit Operands(const AttentionProblem& p)
      : q(p.q, p.given.q_dtype, p.given.layout),
        k(p.k, p.given.k_dtype, p.given.layout),
        v(p.v, p.given.v_dtype, p.given.layout) {}
  Operand q, k, v;
};

PlacedVector<int32_t> Copied(const std::vector<int32_t>& from) {
  return PlacedVector<int32_t>(from.begin(), from.end());
}

// Pages in an order of their own; what no token fills is NaN.
struct Pages {
  explicit Pages(const AttentionProblem& p) {
    const AttentionShape& s = p.given.shape;
    const size_t block_size = p.given.block_size, heads = s.num_kv_heads;
    const size_t per_sequence = (s.kv_len + block_size - 1) / block_size;
    const size_t blocks = s.batch * per_sequence;
    const std::vector<float> keys = p.k.Dense(), values = p.v.Dense();
    std::vector<float> k_dense(blocks * block_size * heads * s.head_dim, kNaN);
    std::vector<float> v_dense(blocks * block_size * heads * s.v_head_dim, kNaN);
    table.reserve(blocks);
    seq_lens.reserve(s.batch);
    for (size_t b = 0; b < s.batch; ++b) {
      seq_lens.push_back(static_cast<int32_t>(p.KvLen(b)));
      for (size_t t = 0; t < per_sequence * block_size; ++t) {
        const size_t block = blocks - 1 - (t / block_size * s.batch + b);
        if (t % block_size == 0) table.push_back(static_cast<int32_t>(block));
        if (t >= p.KvLen(b)) continue;
        const size_t slot = block * block_size + t % block_size, token = b * s.kv_len + t;
        std::copy_n(&keys[token * heads * s.head_dim], heads * s.head_dim,
                    &k_dense[slot * heads * s.head_dim]);
        std::copy_n(&values[token * heads * s.v_head_dim], heads * s.v_head_dim,
                    &v_dense[slot * heads * s.v_head_dim]);
      }
    }
    k.emplace(p.given.k_dtype, Sizes{blocks, block_size, heads, s.head_dim}, Layout::kContiguous,
              k_dense);
    v.emplace(p.given.v_dtype, Sizes{blocks, block_size, heads, s.v_head_dim}, Layout::kContiguous,
              v_dense);
    view.k = k->view();
    view.v = v->view();
    view.k_scales = k->scales_view();
    view.v_scales = v->scales_view();
    view.block_table = TensorView(table.data(), {s.batch, per_sequence});
    view.seq_lens = TensorView(seq_lens.data(), {s.batch});
  }
  std::optional<StoredTensor> k, v;
  PlacedVector<int32_t> table, seq_lens;
  PagedKv view;
};

// [max, sum, acc] of a part.
struct State {
  State(size_t segments, const AttentionShape& s)
      : max({segments, s.batch, s.num_heads, s.q_len}),
        sum({segments, s.batch, s.num_heads, s.q_len}),
        acc({segments, s.batch, s.q_len, s.num_heads, s.v_head_dim}) {}
  AttentionState view() { return {max.mutable_view(), sum.mutable_view(), acc.mutable_view()}; }
  Tensor<float> max, sum, acc;
};

}  // namespace

struct AttentionProblem::Results {
  explicit Results(const AttentionProblem& p) : Results(p, p.given, p.given.shape) {}

  void AskFor(const AttentionCase& c, AttentionOptions* o) {
    if (c.lse) o->lse = lse.mutable_view();
    if (c.weights) o->weights = weights.mutable_view();
    if (c.weights && c.chosen) {
      o->weights_heads = TensorView(heads.data(), {heads.size()});
      o->weights_queries = TensorView(queries.data(), {queries.size()});
    }
    if (c.key_scores) o->key_scores = key_scores.mutable_view();
  }

  PlacedVector<int32_t> heads, queries;
  StoredTensor out;
  Tensor<float> lse, weights, key_scores;

 private:
  Results(const AttentionProblem& p, const AttentionCase& c, const AttentionShape& s)
      : heads(Copied(p.ChosenHeads())),
        queries(Copied(p.ChosenQueries())),
        out(c.out_dtype,
            c.source == Source::kPacked ? Sizes{s.batch * s.q_len, s.num_heads, s.v_head_dim}
                                        : Sizes{s.batch, s.q_len, s.num_heads, s.v_head_dim},
            c.out_layout),
        lse(!c.lse                        ? Sizes{0}
            : c.source == Source::kPacked ? Sizes{s.num_heads, s.batch * s.q_len}
                                          : Sizes{s.batch, s.num_heads, s.q_len},
            c.out_layout),
        weights(c.weights ? Sizes{s.batch, heads.size(), queries.size(), s.kv_len} : Sizes{0},
                c.out_layout),
        key_scores(c.key_scores ? Sizes{s.batch, s.num_heads, s.kv_len} : Sizes{0}, c.out_layout) {}
};

Status AttentionProblem::CallCache(const KvCacheConfig& config, const AttentionOptions& options,
                                   Results* results, Context& context) const {
  const size_t kv_len = given.shape.kv_len, last = std::min(given.shape.q_len, kv_len);
  Result<KvCache> cache = KvCache::create(config);
  if (!cache.ok()) return cache.status();
  const Operands of(*this);
  const TensorView keys = of.k.quantized() ? k.view() : of.k.view();
  const TensorView values = of.v.quantized() ? v.view() : of.v.view();
  // The queries' own tokens come last and together, so that a ring holds what all of them see.
  for (size_t begin = 0; begin < kv_len;) {
    const size_t rest = begin < kv_len - last ? kv_len - last - begin : kv_len - begin;
    const size_t end =
        begin + (begin < kv_len - last ? std::min({rest, cache->room(), size_t{50}}) : rest);
    const Status status =
        cache->append(keys.slice(1, begin, end), values.slice(1, begin, end), context);
    if (!status.ok()) return status;
    begin = end;
  }
  return attention(of.q.view(), *cache, results->out.mutable_view(), options, context);
}

Status AttentionProblem::CallPages(const AttentionOptions& options, Results* results,
                                   Context& context) const {
  const Pages pages(*this);
  return attention(Operands(*this).q.view(), pages.view, results->out.mutable_view(), options,
                   context);
}

// Every sequence has all its queries, and as many keys as kv_lens says.
Status AttentionProblem::CallPacked(AttentionOptions options, Results* results,
                                    Context& context) const {
  const AttentionShape& s = given.shape;
  PlacedVector<int32_t> cu_q(s.batch + 1), cu_k(s.batch + 1);
  const std::vector<float> keys = k.Dense(), values = v.Dense();
  std::vector<float> packed_k, packed_v;
  const size_t k_row = s.num_kv_heads * s.head_dim, v_row = s.num_kv_heads * s.v_head_dim;
  for (size_t b = 0; b < s.batch; ++b) {
    const size_t len = KvLen(b);
    cu_q[b + 1] = cu_q[b] + static_cast<int32_t>(s.q_len);
    cu_k[b + 1] = cu_k[b] + static_cast<int32_t>(len);
    const float* from_k = keys.data() + b * s.kv_len * k_row;
    const float* from_v = values.data() + b * s.kv_len * v_row;
    packed_k.insert(packed_k.end(), from_k, from_k + len * k_row);
    packed_v.insert(packed_v.end(), from_v, from_v + len * v_row);
  }
  const size_t total_q = s.batch * s.q_len, total_k = static_cast<size_t>(cu_k.back());
  const StoredTensor q_rows(given.q_dtype, {total_q, s.num_heads, s.head_dim}, given.layout,
                            q.Dense());
  const StoredTensor k_rows(given.k_dtype, {total_k, s.num_kv_heads, s.head_dim}, given.layout,
                            packed_k);
  const StoredTensor v_rows(given.v_dtype, {total_k, s.num_kv_heads, s.v_head_dim}, given.layout,
                            packed_v);
  options.k_scales = k_rows.scales_view();
  options.v_scales = v_rows.scales_view();
  options.cu_seqlens_q = TensorView(cu_q.data(), {cu_q.size()});
  options.cu_seqlens_k = TensorView(cu_k.data(), {cu_k.size()});
  return attention(q_rows.view(), k_rows.view(), v_rows.view(), results->out.mutable_view(),
                   options, context);
}

// Parts of one segment and of two in turn.
Status AttentionProblem::CallParts(AttentionOptions options, Results* results,
                                   Context& context) const {
  const size_t kv_len = given.shape.kv_len;
  const Operands of(*this);
  const TensorView sinks_view = options.sinks;
  const MutableTensorView lse = options.lse;
  options.sinks = {};
  options.lse = {};
  std::vector<State> states;
  std::vector<AttentionState> parts;
  states.reserve(kv_len / kSegmentKeys + 1);
  for (size_t begin = 0; begin < kv_len;) {
    const size_t end = std::min(kv_len, begin + (states.size() % 2 + 1) * kSegmentKeys);
    states.emplace_back((end - begin + kSegmentKeys - 1) / kSegmentKeys, given.shape);
    parts.push_back(states.back().view());
    if (of.k.quantized()) options.k_scales = of.k.scales().slice(1, begin, end);
    if (of.v.quantized()) options.v_scales = of.v.scales().slice(1, begin, end);
    const Status status = attention_partial(of.q.view(), of.k.view().slice(1, begin, end),
                                            of.v.view().slice(1, begin, end), begin, kv_len,
                                            parts.back(), options, context);
    if (!status.ok()) return status;
    begin = end;
  }
  return merge_attention(parts.data(), parts.size(), sinks_view, results->out.mutable_view(), lse,
                         context);
}

Status AttentionProblem::CallOn(Source source, const AttentionOptions& options, Results* results,
                                Context& context) const {
  const AttentionShape& s = given.shape;
  KvCacheConfig config;
  config.batch = s.batch;
  config.num_kv_heads = s.num_kv_heads;
  config.head_dim = s.head_dim;
  config.v_head_dim = s.v_head_dim;
  config.capacity = std::max<size_t>(s.kv_len, 1);
  if (HasScales(given.k_dtype)) config.k_dtype = given.k_dtype;
  if (HasScales(given.v_dtype)) config.v_dtype = given.v_dtype;
  switch (source) {
    case Source::kTensors:
      break;
    case Source::kCache:
      return CallCache(config, options, results, context);
    case Source::kRing:
      config.window = given.window;
      config.sink_tokens = given.sink_tokens;
      config.capacity = given.window + s.q_len;
      return CallCache(config, options, results, context);
    case Source::kPages:
      return CallPages(options, results, context);
    case Source::kPacked:
      return CallPacked(options, results, context);
    case Source::kParts:
      return CallParts(options, results, context);
  }
  const Operands of(*this);
  AttentionOptions with_scales = options;
  with_scales.k_scales = of.k.scales();
  with_scales.v_scales = of.v.scales();
  return attention(of.q.view(), of.k.view(), of.v.view(), results->out.mutable_view(), with_scales,
                   context);
}

std::string AttentionProblem::Call(const AttentionOptions& options, Context& context,
                                   AttentionAnswer* answer) const {
  const AttentionShape& s = given.shape;
  Results results(*this);
  AttentionOptions asking = options;
  results.AskFor(given, &asking);
  const Status status = CallOn(given.source, asking, &results, context);
  if (!status.ok()) return std::string("refused: ") + status.message();
  bool intact = results.out.GapsIntact();
  for (const Tensor<float>* t : {&results.lse, &results.weights, &results.key_scores}) {
    intact &= t->GapsIntact();
  }
  if (!intact) {
    return "heed wrote between or beside its results";
  }
  *answer = {results.out.Dense(), {}, {}, {}};
  if (given.lse) answer->lse = results.lse.Dense();
  if (given.weights) answer->weights = results.weights.Dense();
  if (given.key_scores) answer->key_scores = results.key_scores.Dense();
  if (given.source == Source::kPacked && given.lse) {  // from [heads, batch * q_len]
    const std::vector<float> packed = answer->lse;
    for (size_t n = 0; n < packed.size(); ++n) {
      const size_t head = n / (s.batch * s.q_len), b = n / s.q_len % s.batch, i = n % s.q_len;
      answer->lse[(b * s.num_heads + head) * s.q_len + i] = packed[n];
    }
  }
  return "";
}

}  // namespace heed::test
