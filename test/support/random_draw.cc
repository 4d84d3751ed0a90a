// Drawing, shrinking and printing of random attention problems.
#include <sstream>
#include <string>

#include "test/support/contexts.h"
#include "test/support/random_attention.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

size_t Size(Random& random, size_t most) { return 1 + random.Below(most); }

void DrawShape(Random& random, Draw* d) {
  const size_t kind = random.Below(20);
  d->batch = Size(random, 3);
  d->num_kv_heads = Size(random, 3);
  d->group = Size(random, 4);
  d->head_dim = Size(random, 24);
  d->v_head_dim = Size(random, 40);
  d->q_len = Size(random, kind < 10 ? 6 : 40);
  d->kv_len = Size(random, kind < 14 ? 40 : 200);
  if (kind == 19) {  // several segments
    d->batch = d->num_kv_heads = 1;
    d->group = Size(random, 2);
    d->head_dim = d->v_head_dim = Size(random, 4);
    d->q_len = Size(random, 3);
    d->kv_len = 1000 + Size(random, 1300);
  }
  if (random.Below(8) == 0) d->q_len = d->kv_len < 60 ? d->kv_len : d->q_len;
}

// Options that need one another, or exclude one another, are settled here.
void Legalize(Draw* d) {
  if (!d->causal) d->window = 0, d->prefix = false, d->tree = false;
  if (d->window == 0) d->sink_tokens = 0;
  if (d->top_left || d->q_len > d->kv_len) d->tree = false;
  if (d->source == Source::kPacked) {
    d->key_mask = d->tree = d->weights = d->key_scores = false;
    d->mask_dtype = DType::kI32;
    d->lengths = true;
  }
  if (!d->weights) d->chosen = false;
}

}  // namespace

Draw DrawFrom(uint64_t seed) {
  Random random(seed);
  const auto one_in = [&](size_t n) { return random.Below(n) == 0; };
  Draw d;
  d.seed = seed;
  d.runner = random.Below(Runners().size());
  d.source = static_cast<Source>(random.Below(4));
  DrawShape(random, &d);
  d.block_size = one_in(3) ? 16 : Size(random, 40);
  d.layout = kAllLayouts[random.Below(std::size(kAllLayouts))];
  if (one_in(3)) d.scale = random.Normal();
  if (one_in(3)) d.soft_cap = 0.5f + 10.0f * static_cast<float>(random.Below(5));
  d.alibi = one_in(3);
  d.sinks = one_in(3);
  d.causal = !one_in(4);
  d.top_left = one_in(6);
  if (one_in(2)) d.window = Size(random, d.kv_len + 10);
  if (one_in(2)) d.sink_tokens = random.Below(12);
  d.prefix = one_in(5);
  d.lengths = one_in(3);
  d.key_mask = one_in(5);
  d.tree = one_in(5);
  if (one_in(4)) d.mask_dtype = one_in(2) ? DType::kU8 : DType::kF32;
  d.mask_heads = one_in(2);
  d.mask_queries = one_in(2);
  if (one_in(6)) d.dropout = 0.3f;
  d.weights = one_in(4);
  d.chosen = one_in(2);
  d.key_scores = one_in(4);
  Legalize(&d);
  return d;
}

Draw Shrink(Draw failing) {
  using Step = void (*)(Draw*);
  static const Step kSteps[] = {
      [](Draw* d) { d->batch = (d->batch + 1) / 2; },
      [](Draw* d) { d->q_len = (d->q_len + 1) / 2; },
      [](Draw* d) { d->kv_len = (d->kv_len + 1) / 2; },
      [](Draw* d) { d->kv_len -= d->kv_len > 1 ? 1 : 0; },
      [](Draw* d) { d->num_kv_heads = 1; },
      [](Draw* d) { d->group = 1; },
      [](Draw* d) { d->head_dim = (d->head_dim + 1) / 2; },
      [](Draw* d) { d->v_head_dim = (d->v_head_dim + 1) / 2; },
      [](Draw* d) { d->layout = Layout::kContiguous; },
      [](Draw* d) { d->source = Source::kTensors; },
      [](Draw* d) { d->scale = 0.0f; },
      [](Draw* d) { d->soft_cap = 0.0f; },
      [](Draw* d) { d->alibi = false; },
      [](Draw* d) { d->sinks = false; },
      [](Draw* d) { d->causal = false; },
      [](Draw* d) { d->top_left = false; },
      [](Draw* d) { d->window = 0; },
      [](Draw* d) { d->sink_tokens = 0; },
      [](Draw* d) { d->prefix = false; },
      [](Draw* d) { d->lengths = false; },
      [](Draw* d) { d->key_mask = false; },
      [](Draw* d) { d->tree = false; },
      [](Draw* d) { d->mask_dtype = DType::kI32; },
      [](Draw* d) { d->dropout = 0.0f; },
      [](Draw* d) { d->weights = false; },
      [](Draw* d) { d->chosen = false; },
      [](Draw* d) { d->key_scores = false; },
  };
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (Step step : kSteps) {
      Draw candidate = failing;
      step(&candidate);
      Legalize(&candidate);
      if (Text(candidate) == Text(failing) || FaultOf(candidate).empty()) continue;
      failing = candidate;
      smaller = true;
    }
  }
  return failing;
}

std::string Text(const Draw& d) {
  std::ostringstream out;
  const char* const sources[] = {"tensors", "cache", "paged", "packed"};
  out << "seed " << d.seed << " on " << Runners()[d.runner].name << ": "
      << sources[static_cast<int>(d.source)] << ", batch " << d.batch << ", q_len " << d.q_len
      << ", kv_len " << d.kv_len << ", heads " << d.num_kv_heads * d.group << "/" << d.num_kv_heads
      << ", head_dim " << d.head_dim << "/" << d.v_head_dim << ", layout "
      << static_cast<int>(d.layout);
  const auto flag = [&](bool on, const char* name) {
    if (on) out << ", " << name;
  };
  const auto number = [&](double value, const char* name) {
    if (value != 0) out << ", " << name << " " << value;
  };
  if (d.source == Source::kPaged) out << ", block_size " << d.block_size;
  number(static_cast<double>(d.scale), "scale");
  number(static_cast<double>(d.soft_cap), "soft cap");
  flag(d.alibi, "alibi");
  flag(d.sinks, "sinks");
  flag(d.causal, "causal");
  flag(d.top_left, "top-left");
  number(static_cast<double>(d.window), "window");
  number(static_cast<double>(d.sink_tokens), "sink_tokens");
  flag(d.prefix, "prefix_lens");
  flag(d.lengths, "kv_lens");
  flag(d.key_mask, "key_mask");
  flag(d.tree, "tree_mask");
  if (d.mask_dtype != DType::kI32) {
    out << ", mask " << name_of(d.mask_dtype) << (d.mask_heads ? " per head" : "")
        << (d.mask_queries ? " per query" : "");
  }
  number(static_cast<double>(d.dropout), "dropout");
  flag(d.weights, "weights");
  flag(d.chosen, "of chosen heads and queries");
  flag(d.key_scores, "key_scores");
  return out.str();
}

}  // namespace heed::test
