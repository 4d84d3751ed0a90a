#include "test/support/random_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "heed/attention.hpp"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// All arrays of one problem, dense as the specification wants them.
struct Data {
  explicit Data(const Draw& d);

  spec::Attention Spec() const;
  size_t heads() const { return d.num_kv_heads * d.group; }
  int32_t kv_len(size_t b) const { return d.lengths ? lens[b] : static_cast<int32_t>(d.kv_len); }

  const Draw& d;
  std::vector<float> q, k, v, bias, multiplier;
  std::vector<uint8_t> mask;
  // What heed is given as it is; the masks as their view has them, [heads or 1, q_len or 1, kv_len].
  PlacedVector<float> slopes, sinks, small_bias;
  PlacedVector<int32_t> prefix, lens;
  PlacedVector<uint8_t> key_mask, tree, small_mask;
};

template <class Floats>
void Fill(Floats& to, size_t n, Random& random, float scale = 1.0f) {
  to.resize(n);
  for (float& x : to) x = random.Normal() * scale;
}

Data::Data(const Draw& draw) : d(draw) {
  Random random(d.seed * 2 + 1);
  const size_t h = heads();
  Fill(q, d.batch * d.q_len * h * d.head_dim, random, random.Below(4) == 0 ? 6.0f : 1.0f);
  Fill(k, d.batch * d.kv_len * d.num_kv_heads * d.head_dim, random);
  Fill(v, d.batch * d.kv_len * d.num_kv_heads * d.v_head_dim, random);
  if (d.alibi) Fill(slopes, h, random, 0.1f);
  if (d.sinks) Fill(sinks, h, random, 3.0f);
  prefix.reserve(d.batch);
  lens.reserve(d.batch);
  for (size_t b = 0; b < d.batch; ++b) {
    if (d.prefix) prefix.push_back(static_cast<int32_t>(random.Below(d.kv_len + 3)));
    if (d.lengths) {  // the first is the longest, whose length masks have
      const size_t least = d.tree ? std::min(d.q_len, d.kv_len) : 0;
      const size_t len = b == 0 ? d.kv_len : least + random.Below(d.kv_len - least + 1);
      lens.push_back(static_cast<int32_t>(len));
    }
  }
  const auto bits = [&](PlacedVector<uint8_t>& to, size_t n) {
    to.resize(n);
    for (uint8_t& x : to) x = random.Below(4) != 0;
  };
  if (d.key_mask) bits(key_mask, d.batch * d.kv_len);
  if (d.tree) bits(tree, d.q_len * d.q_len);
  if (d.mask_dtype != DType::kI32) {
    const size_t mh = d.mask_heads ? h : 1, mq = d.mask_queries ? d.q_len : 1;
    bits(small_mask, mh * mq * d.kv_len);
    Fill(small_bias, small_mask.size(), random);
    for (size_t n = 0; n < small_mask.size(); ++n) {
      if (small_mask[n] == 0) small_bias[n] = -kInf;
    }
    for (size_t n = 0; n < d.batch * h * d.q_len * d.kv_len; ++n) {
      const size_t j = n % d.kv_len, i = n / d.kv_len % d.q_len, head = n / d.kv_len / d.q_len % h;
      const size_t at = ((d.mask_heads ? head : 0) * mq + (d.mask_queries ? i : 0)) * d.kv_len + j;
      if (d.mask_dtype == DType::kU8) mask.push_back(small_mask[at]);
      if (d.mask_dtype == DType::kF32) bias.push_back(small_bias[at]);
    }
  }
  for (size_t n = 0; d.dropout > 0 && n < d.batch * h * d.q_len * d.kv_len; ++n) {
    const size_t j = n % d.kv_len, i = n / d.kv_len % d.q_len, row = n / d.kv_len / d.q_len;
    const size_t len = static_cast<size_t>(kv_len(row / h));
    multiplier.push_back(spec::DropoutMultiplier(d.dropout, d.seed, row / h, row % h, i, j,
                                                 d.top_left ? 0 : d.q_len, d.top_left ? 0 : len));
  }
}

template <class Values>
auto OrNull(const Values& values) {
  return values.empty() ? nullptr : values.data();
}

float ScaleOf(const Draw& d) {
  return d.scale != 0.0f ? d.scale : 1.0f / std::sqrt(static_cast<float>(d.head_dim));
}

spec::Attention Data::Spec() const {
  spec::Attention a;
  a.batch = d.batch, a.q_len = d.q_len, a.kv_len = d.kv_len;
  a.num_heads = heads(), a.num_kv_heads = d.num_kv_heads;
  a.head_dim = d.head_dim, a.v_head_dim = d.v_head_dim;
  a.q = q.data(), a.k = k.data(), a.v = v.data();
  a.scale = ScaleOf(d), a.logits_soft_cap = d.soft_cap;
  a.alibi_slopes = OrNull(slopes), a.bias = OrNull(bias), a.sinks = OrNull(sinks);
  a.causal = d.causal, a.top_left = d.top_left;
  a.window = d.window, a.sink_tokens = d.sink_tokens;
  a.prefix_lens = OrNull(prefix), a.kv_lens = OrNull(lens), a.key_mask = OrNull(key_mask);
  a.mask = OrNull(mask), a.multiplier = OrNull(multiplier);
  return a;
}

struct Results {
  std::vector<float> out, lse, weights, key_scores;
};

Results Expected(const Data& data, Family family) {
  const Draw& d = data.d;
  const size_t rows = d.batch * data.heads() * d.q_len;
  Results r;
  r.out.resize(rows * d.v_head_dim);
  r.lse.resize(rows);
  r.weights.resize(rows * d.kv_len);
  r.key_scores.resize(d.batch * data.heads() * d.kv_len);
  std::vector<uint8_t> tree;
  for (size_t b = 0; b < d.batch; ++b) tree.insert(tree.end(), data.tree.begin(), data.tree.end());
  spec::Attention a = data.Spec();
  a.tree_mask = OrNull(tree);
  a.out = r.out.data(), a.lse = r.lse.data();
  a.weights = r.weights.data(), a.key_scores = r.key_scores.data();
  WithSpec(family, [&](auto spec) { spec.Attend(a); });
  return r;
}

// The output in float64, from the definition.
std::vector<double> Reference(const Data& data) {
  const Draw& d = data.d;
  const size_t h = data.heads();
  std::vector<double> out(d.batch * d.q_len * h * d.v_head_dim);
  for (size_t n = 0; n < d.batch * d.q_len * h; ++n) {
    const size_t head = n % h, i = n / h % d.q_len, b = n / h / d.q_len;
    const auto len = static_cast<int64_t>(data.kv_len(b));
    const int64_t past = len - static_cast<int64_t>(d.q_len);
    const int64_t e = static_cast<int64_t>(i) + (d.top_left ? 0 : past);
    std::vector<double> scores(d.kv_len, -std::numeric_limits<double>::infinity());
    double max = d.sinks ? double{data.sinks[head]} : -1e300;
    for (size_t j = 0; j < d.kv_len; ++j) {
      const auto key = static_cast<int64_t>(j);
      bool sees = key < len;
      if (d.causal && key > e) sees = false;
      if (d.window > 0 && e - key >= static_cast<int64_t>(d.window) && j >= d.sink_tokens) {
        sees = false;
      }
      if (d.prefix && key < data.prefix[b] && key < len) sees = true;
      const size_t pair = ((b * h + head) * d.q_len + i) * d.kv_len + j;
      if (d.key_mask && data.key_mask[b * d.kv_len + j] == 0) sees = false;
      if (!data.mask.empty() && data.mask[pair] == 0) sees = false;
      if (!data.bias.empty() && std::isinf(data.bias[pair])) sees = false;
      if (d.tree && key >= past && sees) {
        sees = data.tree[i * d.q_len + static_cast<size_t>(key - past)] != 0;
      }
      if (!sees) continue;
      double s = 0;
      const size_t kv = ((b * d.kv_len + j) * d.num_kv_heads + head / d.group) * d.head_dim;
      for (size_t c = 0; c < d.head_dim; ++c) {
        s += double{data.q[n * d.head_dim + c]} * double{data.k[kv + c]};
      }
      s *= double{ScaleOf(d)};
      if (d.soft_cap > 0) s = double{d.soft_cap} * std::tanh(s / double{d.soft_cap});
      if (d.alibi) s -= double{data.slopes[head]} * static_cast<double>(std::llabs(e - key));
      if (!data.bias.empty()) s += double{data.bias[pair]};
      scores[j] = s;
      max = std::max(max, s);
    }
    double sum = d.sinks ? std::exp(double{data.sinks[head]} - max) : 0.0;
    for (double s : scores) sum += std::exp(s - max);
    for (size_t j = 0; j < d.kv_len && sum > 0; ++j) {
      double p = std::exp(scores[j] - max) / sum;
      if (d.dropout > 0 && p > 0) {
        p *= double{data.multiplier[((b * h + head) * d.q_len + i) * d.kv_len + j]};
      }
      const size_t kv = ((b * d.kv_len + j) * d.num_kv_heads + head / d.group) * d.v_head_dim;
      for (size_t c = 0; c < d.v_head_dim; ++c) {
        out[n * d.v_head_dim + c] += p * double{data.v[kv + c]};
      }
    }
  }
  return out;
}

AttentionOptions OptionsOf(const Data& data) {
  const Draw& d = data.d;
  AttentionOptions o;
  if (d.scale != 0.0f) o.scale = d.scale;
  o.logits_soft_cap = d.soft_cap;
  const size_t h = data.heads();
  if (d.alibi) o.alibi_slopes = TensorView(data.slopes.data(), {h});
  if (d.sinks) o.sinks = TensorView(data.sinks.data(), {h});
  o.causal = d.causal;
  if (d.top_left) o.causal_alignment = CausalAlignment::kTopLeft;
  o.window = d.window;
  o.sink_tokens = d.sink_tokens;
  if (d.prefix) o.prefix_lens = TensorView(data.prefix.data(), {d.batch});
  if (d.lengths && d.source != Source::kPaged) {
    o.kv_lens = TensorView(data.lens.data(), {d.batch});
  }
  if (d.key_mask) o.key_mask = TensorView(data.key_mask.data(), {d.batch, d.kv_len});
  if (d.tree) o.tree_mask = TensorView(data.tree.data(), {d.q_len, d.q_len});
  const size_t mh = d.mask_heads ? h : 1;
  const auto keys = static_cast<ptrdiff_t>(d.kv_len);
  const auto rows = d.mask_queries ? static_cast<ptrdiff_t>(d.q_len) : ptrdiff_t{1};
  const std::initializer_list<ptrdiff_t> steps = {rows * keys, d.mask_queries ? keys : 0, 1};
  if (d.mask_dtype == DType::kU8) {
    o.mask = TensorView(data.small_mask.data(), {mh, d.q_len, d.kv_len}, steps);
  } else if (d.mask_dtype == DType::kF32) {
    o.mask = TensorView(data.small_bias.data(), {mh, d.q_len, d.kv_len}, steps);
  }
  o.dropout.probability = d.dropout;
  o.dropout.seed = d.seed;
  return o;
}

// Pages in an order of their own; what no token fills is NaN.
struct Pages {
  explicit Pages(const Data& data) : data_(data) {
    const Draw& d = data.d;
    const size_t per_sequence = (d.kv_len + d.block_size - 1) / d.block_size;
    const size_t blocks = d.batch * per_sequence, heads = d.num_kv_heads;
    k.assign(blocks * d.block_size * heads * d.head_dim, kNaN);
    v.assign(blocks * d.block_size * heads * d.v_head_dim, kNaN);
    table.reserve(blocks);
    seq_lens.reserve(d.batch);
    for (size_t b = 0; b < d.batch; ++b) {
      seq_lens.push_back(data.kv_len(b));
      for (size_t t = 0; t < per_sequence * d.block_size; ++t) {
        const size_t block = blocks - 1 - (t / d.block_size * d.batch + b);
        if (t % d.block_size == 0) table.push_back(static_cast<int32_t>(block));
        if (t >= static_cast<size_t>(seq_lens[b])) continue;
        const size_t slot = block * d.block_size + t % d.block_size, token = b * d.kv_len + t;
        std::copy_n(&data.k[token * heads * d.head_dim], heads * d.head_dim,
                    &k[slot * heads * d.head_dim]);
        std::copy_n(&data.v[token * heads * d.v_head_dim], heads * d.v_head_dim,
                    &v[slot * heads * d.v_head_dim]);
      }
    }
    view.k = TensorView(k.data(), {blocks, d.block_size, heads, d.head_dim});
    view.v = TensorView(v.data(), {blocks, d.block_size, heads, d.v_head_dim});
    view.block_table = TensorView(table.data(), {d.batch, per_sequence});
    view.seq_lens = TensorView(seq_lens.data(), {d.batch});
  }
  const Data& data_;
  PlacedVector<float> k, v;
  PlacedVector<int32_t> table, seq_lens;
  PagedKv view;
};

Status Call(const Data& data, const TensorView& q, const TensorView& k, const TensorView& v,
            const MutableTensorView& out, const AttentionOptions& o, Context& context) {
  const Draw& d = data.d;
  if (d.source == Source::kPaged) return attention(q, Pages(data).view, out, o, context);
  if (d.source != Source::kCache) return attention(q, k, v, out, o, context);
  auto cache = KvCache::create({.batch = d.batch,
                                .num_kv_heads = d.num_kv_heads,
                                .head_dim = d.head_dim,
                                .v_head_dim = d.v_head_dim,
                                .capacity = d.kv_len});
  if (!cache.ok()) return cache.status();
  if (Status s = cache->append(k, v, context); !s.ok()) return s;
  return attention(q, *cache, out, o, context);
}

Tensor<float> Placed(const std::vector<float>& dense, std::vector<size_t> shape, Layout layout) {
  Tensor<float> t(std::move(shape), layout);
  t.Assign(dense);
  return t;
}

// Packed: every sequence has all its queries, and as many keys as `lens` says.
std::string PackedFault(const Data& data, const Results& want, Context& context) {
  const Draw& d = data.d;
  const size_t h = data.heads();
  PlacedVector<int32_t> cu_q(d.batch + 1), cu_k(d.batch + 1);
  std::vector<float> k, v;
  for (size_t b = 0; b < d.batch; ++b) {
    const auto len = static_cast<size_t>(data.kv_len(b));
    cu_q[b + 1] = cu_q[b] + static_cast<int32_t>(d.q_len);
    cu_k[b + 1] = cu_k[b] + data.kv_len(b);
    const size_t k_row = d.num_kv_heads * d.head_dim, v_row = d.num_kv_heads * d.v_head_dim;
    const float* from_k = data.k.data() + b * d.kv_len * k_row;
    const float* from_v = data.v.data() + b * d.kv_len * v_row;
    k.insert(k.end(), from_k, from_k + len * k_row);
    v.insert(v.end(), from_v, from_v + len * v_row);
  }
  const size_t total_q = d.batch * d.q_len, total_k = static_cast<size_t>(cu_k.back());
  const Tensor<float> q = Placed(data.q, {total_q, h, d.head_dim}, d.layout);
  const Tensor<float> k_rows = Placed(k, {total_k, d.num_kv_heads, d.head_dim}, d.layout);
  const Tensor<float> v_rows = Placed(v, {total_k, d.num_kv_heads, d.v_head_dim}, d.layout);
  Tensor<float> out({total_q, h, d.v_head_dim}), lse({h, total_q});
  AttentionOptions o = OptionsOf(data);
  o.kv_lens = {};
  o.cu_seqlens_q = TensorView(cu_q.data(), {cu_q.size()});
  o.cu_seqlens_k = TensorView(cu_k.data(), {cu_k.size()});
  o.lse = lse.mutable_view();
  const Status status =
      attention(q.view(), k_rows.view(), v_rows.view(), out.mutable_view(), o, context);
  if (!status.ok()) return status.message();
  std::vector<float> lse_want(h * total_q);
  for (size_t n = 0; n < lse_want.size(); ++n) {
    const size_t head = n / total_q, b = n % total_q / d.q_len, i = n % d.q_len;
    lse_want[n] = want.lse[(b * h + head) * d.q_len + i];
  }
  if (std::string f = Difference(out.Dense(), want.out); !f.empty()) return "out: " + f;
  if (std::string f = Difference(lse.Dense(), lse_want); !f.empty()) return "lse: " + f;
  return "";
}

// begin, begin + step ... below end.
PlacedVector<int32_t> Every(size_t step, size_t begin, size_t end) {
  PlacedVector<int32_t> values(end > begin ? (end - begin - 1) / step + 1 : 0);
  for (size_t n = 0; n < values.size(); ++n) values[n] = static_cast<int32_t>(begin + n * step);
  return values;
}

std::string PlainFault(const Data& data, const Results& want, Context& context) {
  const Draw& d = data.d;
  const size_t h = data.heads();
  const Tensor<float> q = Placed(data.q, {d.batch, d.q_len, h, d.head_dim}, d.layout);
  const Tensor<float> k = Placed(data.k, {d.batch, d.kv_len, d.num_kv_heads, d.head_dim}, d.layout);
  const Tensor<float> v =
      Placed(data.v, {d.batch, d.kv_len, d.num_kv_heads, d.v_head_dim}, d.layout);
  Tensor<float> out({d.batch, d.q_len, h, d.v_head_dim}), lse({d.batch, h, d.q_len});
  const PlacedVector<int32_t> heads = Every(d.chosen ? 2 : 1, 0, h);
  const PlacedVector<int32_t> queries = d.chosen ? Every(3, 1, d.q_len) : Every(1, 0, d.q_len);
  Tensor<float> weights({d.batch, heads.size(), queries.size(), d.kv_len});
  Tensor<float> key_scores({d.batch, h, d.kv_len});
  AttentionOptions o = OptionsOf(data);
  o.lse = lse.mutable_view();
  if (d.weights) o.weights = weights.mutable_view();
  if (d.weights && d.chosen) {
    o.weights_heads = TensorView(heads.data(), {heads.size()});
    o.weights_queries = TensorView(queries.data(), {queries.size()});
  }
  if (d.key_scores) o.key_scores = key_scores.mutable_view();
  const Status status = Call(data, q.view(), k.view(), v.view(), out.mutable_view(), o, context);
  if (!status.ok()) return status.message();
  if (std::string f = Difference(out.Dense(), want.out); !f.empty()) return "out: " + f;
  if (std::string f = Difference(lse.Dense(), want.lse); !f.empty()) return "lse: " + f;
  if (d.key_scores) {
    std::string f = Difference(key_scores.Dense(), want.key_scores);
    if (!f.empty()) return "key_scores: " + f;
  }
  if (!d.weights) return "";
  std::vector<float> weights_want;
  for (size_t b = 0; b < d.batch; ++b) {
    for (int32_t head : heads) {
      for (int32_t i : queries) {
        const size_t row = (b * h + static_cast<size_t>(head)) * d.q_len + static_cast<size_t>(i);
        const auto from = want.weights.begin() + static_cast<ptrdiff_t>(row * d.kv_len);
        weights_want.insert(weights_want.end(), from, from + static_cast<ptrdiff_t>(d.kv_len));
      }
    }
  }
  std::string f = Difference(weights.Dense(), weights_want);
  return f.empty() ? "" : "weights: " + f;
}

}  // namespace

std::string FaultOf(const Draw& d) {
  Runner& runner = Runners()[d.runner];
  const Data data(d);
  const Results want = Expected(data, runner.family);
  // f32 against f64: a few hundred roundings of scores below 100 and of values below 6, dropout
  // doubling them at most.
  const double error = WorstError(want.out, Reference(data));
  if (!(error < 2e-3)) return "the specification is " + std::to_string(error) + " from float64";
  return d.source == Source::kPacked ? PackedFault(data, want, *runner.context)
                                     : PlainFault(data, want, *runner.context);
}

}  // namespace heed::test
