#include "test/cases/attention_problem.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "test/support/compare.h"
#include "test/support/stored_tensor.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

using Sizes = std::vector<size_t>;

uint64_t SeedOf(const AttentionCase& c) {
  const AttentionShape& s = c.shape;
  uint64_t seed = c.seed + 1;
  for (size_t x :
       {s.batch, s.q_len, s.kv_len, s.num_heads, s.num_kv_heads, s.head_dim, s.v_head_dim}) {
    seed = seed * 1000003 + x;
  }
  return seed;
}

void FillNormal(PlacedVector<float>& to, size_t n, Random& random, float scale) {
  to.resize(n);
  for (float& x : to) x = random.Normal() * scale;
}

void FillBits(PlacedVector<uint8_t>& to, size_t n, Random& random) {
  to.resize(n);
  for (uint8_t& x : to) x = random.Below(4) != 0;
}

template <class Values>
auto OrNull(Values& values) {
  return values.empty() ? nullptr : values.data();
}

// Steps of a mask [batch, heads, q_len, kv_len] in memory; 0 where it is shared.
struct MaskSteps {
  explicit MaskSteps(const AttentionCase& c) {
    const AttentionShape& s = c.shape;
    const size_t gap = c.mask_strided ? 3 : 0;
    key = c.mask_strided ? 2 : 1;
    size_t next = key * s.kv_len + gap;
    const auto take = [&](bool own, size_t n) {
      if (!own) return size_t{0};
      const size_t step = next;
      next = step * n + gap;
      return step;
    };
    query = take(c.mask_queries, s.q_len);
    head = take(c.mask_heads, s.num_heads);
    batch = take(c.mask_batch, s.batch);
    size = next;
  }
  size_t batch = 0, head = 0, query = 0, key = 1, size = 0;
};

template <class T>
TensorView MaskView(const PlacedVector<T>& mask, const AttentionCase& c) {
  const AttentionShape& s = c.shape;
  const MaskSteps steps(c);
  const size_t shape[] = {s.batch, c.mask_heads ? s.num_heads : 1, s.q_len, s.kv_len};
  const ptrdiff_t strides[] = {
      static_cast<ptrdiff_t>(steps.batch), static_cast<ptrdiff_t>(steps.head),
      static_cast<ptrdiff_t>(steps.query), static_cast<ptrdiff_t>(steps.key)};
  const size_t lead = c.mask_batch ? 0 : 1;
  return TensorView(mask.data(), DTypeOf<T>::value, shape + lead, 4 - lead, strides + lead,
                    4 - lead);
}

// Codes of rows of `dim` numbers that have them, as RoundRows leaves them.
struct SpecCodes {
  SpecCodes(DType dtype, size_t dim, const std::vector<float>& dense) : codes(dense.size()) {
    const size_t group = dtype == DType::kInt4 ? kInt4Group : dim;
    for (size_t first = 0; HasScales(dtype) && first < dense.size(); first += dim) {
      for (size_t d = 0; d < dim; d += group) {
        const size_t n = std::min(group, dim - d);
        const float extreme = Extreme(&dense[first + d], 1, n);
        const bool int4 = dtype == DType::kInt4;
        const float scale = int4 ? ToFloat(Int4Scale(extreme)) : Int8Scale(extreme);
        for (size_t i = first + d; i < first + d + n; ++i) {
          codes[i] = int4 ? Int4Code(dense[i], scale) : Int8Code(dense[i], scale);
        }
        scales.push_back(scale);
      }
    }
    view = {codes.data(), scales.data(), group};
  }
  std::vector<int8_t> codes;
  std::vector<float> scales;
  spec::Codes view;
};

AttentionAnswer InOutType(const AttentionCase& c, AttentionAnswer answer) {
  RoundAll(answer.out, c.out_dtype);
  return answer;
}

}  // namespace

AttentionProblem::AttentionProblem(const AttentionCase& c)
    : given(c),
      q({c.shape.batch, c.shape.q_len, c.shape.num_heads, c.shape.head_dim}, c.layout),
      k({c.shape.batch, c.shape.kv_len, c.shape.num_kv_heads, c.shape.head_dim}, c.layout),
      v({c.shape.batch, c.shape.kv_len, c.shape.num_kv_heads, c.shape.v_head_dim}, c.layout),
      dropout_mask(c.dropout_mask
                       ? Sizes{c.shape.batch, c.shape.num_heads, c.shape.q_len, c.shape.kv_len}
                       : Sizes{0},
                   c.layout) {
  const AttentionShape& s = c.shape;
  Random random(SeedOf(c));
  q.FillNormal(random, c.q_scale);
  k.FillNormal(random);
  v.FillNormal(random);
  RoundAll(q, c.q_dtype);
  RoundRows(k, c.k_dtype);
  RoundRows(v, c.v_dtype);
  for (size_t i = 0; i < dropout_mask.size(); ++i) {
    dropout_mask[i] = random.Below(3) == 0 ? 0.0f : 1.5f;
  }
  if (c.alibi) FillNormal(slopes, s.num_heads, random, 0.1f);
  if (c.sinks) FillNormal(sinks, s.num_heads, random, 3.0f);
  prefix_lens.reserve(s.batch);
  kv_lens.reserve(s.batch);
  for (size_t b = 0; b < s.batch; ++b) {
    if (c.prefix_lens) prefix_lens.push_back(static_cast<int32_t>(random.Below(s.kv_len + 3)));
    if (c.kv_lens) {  // the first is the longest, whose length masks have
      const size_t least = c.tree_mask ? std::min(s.q_len, s.kv_len) : 0;
      const size_t len = b == 0 ? s.kv_len : least + random.Below(s.kv_len - least + 1);
      kv_lens.push_back(static_cast<int32_t>(len));
    }
  }
  if (c.key_mask) FillBits(key_mask, s.batch * s.kv_len, random);
  if (c.tree_mask) {
    FillBits(tree_mask, (c.tree_batch ? s.batch : 1) * s.q_len * s.q_len, random);
  }
  if (c.mask == MaskType::kBoolean) FillBits(mask, MaskSteps(c).size, random);
  if (c.mask == MaskType::kAdditive) {
    FillNormal(bias, MaskSteps(c).size, random, 1.0f);
    for (float& x : bias) x = random.Below(4) == 0 ? -kInf : x;
  }
}

AttentionProblem::AttentionProblem(const AttentionShape& shape, AttentionCase c)
    : AttentionProblem((c.shape = shape, c)) {}

size_t AttentionProblem::KvLen(size_t b) const {
  return given.kv_lens ? static_cast<size_t>(kv_lens[b]) : given.shape.kv_len;
}

size_t AttentionProblem::MaskAt(size_t b, size_t h, size_t i, size_t j) const {
  const MaskSteps steps(given);
  return b * steps.batch + h * steps.head + i * steps.query + j * steps.key;
}

double AttentionProblem::Scale() const {
  return given.scale ? double{*given.scale}
                     : 1.0 / std::sqrt(static_cast<double>(given.shape.head_dim));
}

std::vector<float> AttentionProblem::Multipliers() const {
  if (given.dropout_mask) return dropout_mask.Dense();
  std::vector<float> values;
  const AttentionShape& s = given.shape;
  const size_t all = s.batch * s.num_heads * s.q_len * s.kv_len;
  values.reserve(given.dropout > 0 ? all : 0);
  for (size_t n = 0; given.dropout > 0 && n < all; ++n) {
    const size_t j = n % s.kv_len, i = n / s.kv_len % s.q_len, row = n / s.kv_len / s.q_len;
    const size_t b = row / s.num_heads, h = row % s.num_heads;
    values.push_back(spec::DropoutMultiplier(given.dropout, given.seed, b, h, i, j,
                                             given.top_left ? 0 : s.q_len,
                                             given.top_left ? 0 : KvLen(b)));
  }
  return values;
}

std::vector<int32_t> AttentionProblem::Chosen(size_t step, size_t begin, size_t end) const {
  std::vector<int32_t> values;
  for (size_t n = given.chosen ? begin : 0; n < end; n += given.chosen ? step : 1) {
    values.push_back(static_cast<int32_t>(n));
  }
  return values;
}

AttentionAnswer AttentionProblem::Expected(Family family) const {
  const AttentionCase& c = given;
  const AttentionShape& s = c.shape;
  const std::vector<float> q_dense = q.Dense(), k_dense = k.Dense(), v_dense = v.Dense();
  const std::vector<float> multipliers = Multipliers();
  std::vector<float> all_bias, all_weights;
  std::vector<uint8_t> all_mask, all_trees;
  for (size_t b = 0; b < s.batch && c.mask != MaskType::kNone; ++b) {
    for (size_t h = 0; h < s.num_heads; ++h) {
      for (size_t n = 0; n < s.q_len * s.kv_len; ++n) {
        const size_t at = MaskAt(b, h, n / s.kv_len, n % s.kv_len);
        if (c.mask == MaskType::kBoolean) all_mask.push_back(mask[at]);
        if (c.mask == MaskType::kAdditive) all_bias.push_back(bias[at]);
      }
    }
  }
  while (c.tree_mask && all_trees.size() < s.batch * s.q_len * s.q_len) {
    all_trees.insert(all_trees.end(), tree_mask.begin(), tree_mask.end());
  }
  AttentionAnswer answer;
  const size_t rows = s.batch * s.num_heads * s.q_len;
  answer.out.resize(rows * s.v_head_dim);
  if (c.lse) answer.lse.resize(rows);
  if (c.weights) all_weights.resize(rows * s.kv_len);
  if (c.key_scores) answer.key_scores.resize(s.batch * s.num_heads * s.kv_len);

  spec::Attention a;
  a.batch = s.batch, a.q_len = s.q_len, a.kv_len = s.kv_len;
  a.num_heads = s.num_heads, a.num_kv_heads = s.num_kv_heads;
  a.head_dim = s.head_dim, a.v_head_dim = s.v_head_dim;
  a.q = q_dense.data(), a.k = k_dense.data(), a.v = v_dense.data();
  const SpecCodes k_codes(c.k_dtype, s.head_dim, k_dense);
  const SpecCodes v_codes(c.v_dtype, s.v_head_dim, v_dense);
  if (c.int16 && HasScales(c.k_dtype)) a.k_codes = k_codes.view;
  if (c.int16 && HasScales(c.v_dtype)) a.v_codes = v_codes.view;
  a.scale = Scale(), a.logits_soft_cap = c.soft_cap;
  a.alibi_slopes = OrNull(slopes), a.bias = OrNull(all_bias), a.sinks = OrNull(sinks);
  a.causal = c.causal, a.top_left = c.top_left;
  a.window = c.window, a.sink_tokens = c.sink_tokens;
  a.prefix_lens = OrNull(prefix_lens), a.kv_lens = OrNull(kv_lens);
  a.key_mask = OrNull(key_mask), a.mask = OrNull(all_mask), a.tree_mask = OrNull(all_trees);
  a.multiplier = OrNull(multipliers);
  a.out = answer.out.data(), a.lse = OrNull(answer.lse);
  a.weights = OrNull(all_weights), a.key_scores = OrNull(answer.key_scores);
  WithSpec(family, [&](auto spec) { spec.Attend(a); });

  for (size_t b = 0; b < s.batch && c.weights; ++b) {
    for (int32_t h : ChosenHeads()) {
      for (int32_t i : ChosenQueries()) {
        const size_t row = (b * s.num_heads + static_cast<size_t>(h)) * s.q_len;
        const auto from =
            all_weights.begin() + static_cast<ptrdiff_t>((row + static_cast<size_t>(i)) * s.kv_len);
        answer.weights.insert(answer.weights.end(), from, from + static_cast<ptrdiff_t>(s.kv_len));
      }
    }
  }
  return answer;
}

AttentionOptions AttentionProblem::Options() const {
  const AttentionCase& c = given;
  const AttentionShape& s = c.shape;
  AttentionOptions o;
  o.scale = c.scale;
  o.logits_soft_cap = c.soft_cap;
  if (c.alibi) o.alibi_slopes = TensorView(slopes.data(), {s.num_heads});
  if (c.sinks) o.sinks = TensorView(sinks.data(), {s.num_heads});
  o.causal = c.causal;
  if (c.top_left) o.causal_alignment = CausalAlignment::kTopLeft;
  o.window = c.window;
  o.sink_tokens = c.sink_tokens;
  if (c.prefix_lens) o.prefix_lens = TensorView(prefix_lens.data(), {s.batch});
  // Pages and packed sequences say their lengths themselves.
  if (c.kv_lens && c.source != Source::kPages && c.source != Source::kPacked) {
    o.kv_lens = TensorView(kv_lens.data(), {s.batch});
  }
  if (c.key_mask) o.key_mask = TensorView(key_mask.data(), {s.batch, s.kv_len});
  if (c.mask == MaskType::kBoolean) o.mask = MaskView(mask, c);
  if (c.mask == MaskType::kAdditive) o.mask = MaskView(bias, c);
  if (c.tree_mask) {
    o.tree_mask = c.tree_batch ? TensorView(tree_mask.data(), {s.batch, s.q_len, s.q_len})
                               : TensorView(tree_mask.data(), {s.q_len, s.q_len});
  }
  o.dropout.probability = c.dropout;
  o.dropout.seed = c.seed;
  if (c.dropout_mask) o.dropout.mask = dropout_mask.view();
  if (c.int16) o.compute = Compute::kInt16;
  return o;
}

AttentionAnswer AttentionProblem::Run(Context& context) const { return Run(Options(), context); }

AttentionAnswer AttentionProblem::Run(const AttentionOptions& options, Context& context) const {
  AttentionAnswer answer;
  INFO(given);
  REQUIRE(Call(options, context, &answer) == "");
  return answer;
}

std::string AttentionProblem::FaultOn(const Runner& runner) const {
  AttentionAnswer answer;
  if (std::string f = Call(Options(), *runner.context, &answer); !f.empty()) return f;
  return Difference(answer, InOutType(given, Expected(runner.family)));
}

std::string AttentionProblem::Fault() const {
  const PerFamily<AttentionAnswer> want([this](Family family) { return Expected(family); });
  for (const Runner& runner : Runners()) {
    AttentionAnswer answer;
    std::string fault = Call(Options(), *runner.context, &answer);
    if (fault.empty()) fault = Difference(answer, InOutType(given, want[runner.family]));
    if (!fault.empty()) return runner.name + ": " + fault;
  }
  return "";
}

std::string Difference(const AttentionAnswer& got, const AttentionAnswer& want) {
  if (std::string d = Difference(got.out, want.out); !d.empty()) return "out: " + d;
  if (std::string d = Difference(got.lse, want.lse); !d.empty()) return "lse: " + d;
  if (std::string d = Difference(got.weights, want.weights); !d.empty()) return "weights: " + d;
  if (std::string d = Difference(got.key_scores, want.key_scores); !d.empty()) {
    return "key_scores: " + d;
  }
  return "";
}

}  // namespace heed::test
