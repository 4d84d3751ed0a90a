#include "test/cases/random_attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "src/kernels/panels.h"
#include "test/cases/attention_problem.h"
#include "test/cases/attention_reference.h"
#include "test/support/compare.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

size_t Size(Random& random, size_t most) { return 1 + random.Below(most); }

AttentionShape DrawShape(Random& random, bool parts) {
  AttentionShape s;
  const size_t kind = random.Below(20);
  s.batch = Size(random, 3);
  s.num_kv_heads = Size(random, 3);
  s.num_heads = s.num_kv_heads * Size(random, 4);
  s.head_dim = Size(random, 24);
  s.v_head_dim = Size(random, 40);
  s.q_len = Size(random, kind < 10 ? 6 : 40);
  s.kv_len = Size(random, kind < 14 ? 40 : 200);
  if (kind >= 18 || (parts && kind % 3 == 0)) {  // several segments
    s.batch = s.num_kv_heads = 1;
    s.num_heads = Size(random, 2);
    s.head_dim = s.v_head_dim = Size(random, 4);
    s.q_len = Size(random, 3);
    s.kv_len = 1000 + Size(random, parts ? 3000 : 1300);
  }
  if (random.Below(8) == 0 && s.kv_len < 60) s.q_len = s.kv_len;
  return s;
}

// Options that need one another, or exclude one another, are settled here.
void Legalize(AttentionCase* c) {
  AttentionShape& s = c->shape;
  s.num_heads = std::max(s.num_heads / s.num_kv_heads, size_t{1}) * s.num_kv_heads;
  if (c->source == Source::kRing && c->window > 0) {
    c->causal = true;
    c->top_left = c->prefix_lens = c->kv_lens = c->key_mask = c->dropout_mask = false;
    c->weights = c->key_scores = false;
    c->mask = MaskType::kNone;
  } else if (c->source == Source::kRing) {
    c->source = Source::kCache;
  }
  if (!HasScales(c->k_dtype) && !HasScales(c->v_dtype)) c->int16 = false;
  if (c->source == Source::kPacked) {
    c->key_mask = c->tree_mask = c->weights = c->key_scores = c->dropout_mask = false;
    c->mask = MaskType::kNone;
    c->kv_lens = true;
  }
  if (c->source == Source::kParts) c->weights = c->key_scores = false;
  if (!c->causal) c->window = 0, c->prefix_lens = c->tree_mask = false;
  if (c->window == 0) c->sink_tokens = 0;
  if (c->top_left || s.q_len > s.kv_len) c->tree_mask = false;
  if (!c->tree_mask) c->tree_batch = false;
  if (c->mask == MaskType::kNone) {
    c->mask_batch = c->mask_heads = c->mask_queries = c->mask_strided = false;
  }
  if (c->dropout_mask) c->dropout = 0.0f;
  if (!c->weights) c->chosen = false;
}

}  // namespace

AttentionCase DrawCase(uint64_t seed) {
  Random random(seed);
  const auto one_in = [&](size_t n) { return random.Below(n) == 0; };
  AttentionCase c;
  c.seed = seed;
  c.source = static_cast<Source>(random.Below(kNumSources));
  c.shape = DrawShape(random, c.source == Source::kParts);
  c.block_size = one_in(3) ? 16 : Size(random, 40);
  c.layout = kAllLayouts[random.Below(std::size(kAllLayouts))];
  c.out_layout = kUnitStrideLayouts[random.Below(std::size(kUnitStrideLayouts))];
  if (one_in(4)) c.q_scale = 6.0f;
  if (one_in(3)) c.scale = random.Normal();
  if (one_in(3)) c.soft_cap = 0.5f + 10.0f * static_cast<float>(random.Below(5));
  c.alibi = one_in(3);
  c.sinks = one_in(3);
  c.causal = !one_in(4);
  c.top_left = one_in(6);
  if (one_in(2)) c.window = Size(random, c.shape.kv_len + 10);
  if (one_in(2)) c.sink_tokens = random.Below(12);
  c.prefix_lens = one_in(5);
  c.kv_lens = one_in(3);
  c.key_mask = one_in(5);
  c.tree_mask = one_in(4);
  c.tree_batch = one_in(2);
  if (one_in(3)) c.mask = one_in(2) ? MaskType::kBoolean : MaskType::kAdditive;
  c.mask_batch = one_in(2);
  c.mask_heads = one_in(2);
  c.mask_queries = one_in(2);
  c.mask_strided = one_in(2);
  if (one_in(6)) c.dropout = 0.3f;
  c.dropout_mask = one_in(8);
  c.lse = !one_in(4);
  c.weights = one_in(4);
  c.chosen = one_in(2);
  c.key_scores = one_in(4);
  for (DType* dtype : {&c.q_dtype, &c.k_dtype, &c.v_dtype, &c.out_dtype}) {
    if (one_in(3)) *dtype = one_in(2) ? DType::kBF16 : DType::kF16;
  }
  for (DType* dtype : {&c.k_dtype, &c.v_dtype}) {
    if (one_in(3)) *dtype = one_in(2) ? DType::kInt8 : DType::kInt4;
  }
  c.int16 = one_in(2);
  Legalize(&c);
  return c;
}

Runner& DrawRunner(uint64_t seed) { return Runners()[Random(~seed).Below(Runners().size())]; }

std::string FaultOf(const AttentionCase& c, const Runner& runner) {
  const AttentionProblem problem(c);
  const AttentionAnswer want = problem.Expected(runner.family);
  const ReferenceAnswer<double> reference = Reference<double>(problem);
  // f32 against f64: a few hundred roundings of scores below 100 and of values below 6, dropout
  // doubling them at most.
  double error = WorstError(want.out, reference.out);
  if (c.lse) error = std::max(error, WorstError(want.lse, reference.lse));
  // Rounding to int16 moves a query of 30 by 5e-4, and with it every score.
  if (!(error < (c.int16 ? 4e-2 : 2e-3)))
    return "the specification is " + std::to_string(error) + " from float64";
  return problem.FaultOn(runner);
}

AttentionCase Shrink(AttentionCase c,
                     const std::function<std::string(const AttentionCase&)>& fault) {
  using Step = void (*)(AttentionCase*);
  static constexpr Step kSizes[] = {
      [](AttentionCase* s) { s->shape.batch = (s->shape.batch + 1) / 2; },
      [](AttentionCase* s) { s->shape.q_len = (s->shape.q_len + 1) / 2; },
      [](AttentionCase* s) { s->shape.kv_len = (s->shape.kv_len + 1) / 2; },
      [](AttentionCase* s) { s->shape.kv_len -= s->shape.kv_len > 1 ? 1 : 0; },
      [](AttentionCase* s) {
        s->shape.num_heads /= s->shape.num_kv_heads;
        s->shape.num_kv_heads = 1;
      },
      [](AttentionCase* s) { s->shape.num_heads = s->shape.num_kv_heads; },
      [](AttentionCase* s) { s->shape.head_dim = (s->shape.head_dim + 1) / 2; },
      [](AttentionCase* s) { s->shape.v_head_dim = (s->shape.v_head_dim + 1) / 2; },
  };
  std::vector<Step> steps(std::begin(kSizes), std::end(kSizes));
  for (const Feature& feature : Features()) steps.push_back(feature.drop);
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (Step step : steps) {
      AttentionCase candidate = c;
      step(&candidate);
      Legalize(&candidate);
      if (Text(candidate) == Text(c) || fault(candidate).empty()) continue;
      c = candidate;
      smaller = true;
    }
  }
  return c;
}

}  // namespace heed::test
