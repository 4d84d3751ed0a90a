#include "test/cases/attention_case.h"

#include <sstream>

namespace heed::test {
namespace {

template <Source kSource>
constexpr Feature From(const char* name) {
  return {name, [](const AttentionCase& c) { return c.source == kSource; },
          [](AttentionCase* c) { c->source = Source::kTensors; }};
}

#define HEED_FLAG(field)                                                                          \
  {                                                                                               \
#field, [](const AttentionCase& c) { return c.field; },                                       \
                                                         [](AttentionCase * c) { c->field = {}; } \
  }
#define HEED_NUMBER(field)                                                               \
  {                                                                                      \
#field, [](const AttentionCase& c) { return c.field != 0; }, [](AttentionCase *      \
                                                                    c) { c->field = 0; } \
  }

constexpr Feature kFeatures[] = {
    From<Source::kCache>("from a cache"),
    From<Source::kRing>("from a ring"),
    From<Source::kPages>("from pages"),
    From<Source::kPacked>("packed"),
    From<Source::kParts>("in parts"),
    HEED_FLAG(causal),
    HEED_FLAG(top_left),
    HEED_NUMBER(window),
    HEED_NUMBER(sink_tokens),
    HEED_FLAG(prefix_lens),
    HEED_FLAG(kv_lens),
    HEED_FLAG(key_mask),
    {"boolean mask", [](const AttentionCase& c) { return c.mask == MaskType::kBoolean; },
     [](AttentionCase* c) { c->mask = MaskType::kNone; }},
    {"additive mask", [](const AttentionCase& c) { return c.mask == MaskType::kAdditive; },
     [](AttentionCase* c) { c->mask = MaskType::kNone; }},
    HEED_FLAG(mask_batch),
    HEED_FLAG(mask_heads),
    HEED_FLAG(mask_queries),
    HEED_FLAG(mask_strided),
    HEED_FLAG(tree_mask),
    HEED_FLAG(tree_batch),
    {"scale", [](const AttentionCase& c) { return c.scale.has_value(); },
     [](AttentionCase* c) { c->scale.reset(); }},
    HEED_NUMBER(soft_cap),
    HEED_FLAG(alibi),
    HEED_FLAG(sinks),
    HEED_FLAG(lse),
    HEED_FLAG(weights),
    HEED_FLAG(chosen),
    HEED_FLAG(key_scores),
    HEED_NUMBER(dropout),
    HEED_FLAG(dropout_mask),
    {"large scores", [](const AttentionCase& c) { return c.q_scale != 1.0f; },
     [](AttentionCase* c) { c->q_scale = 1.0f; }},
    {"layout", [](const AttentionCase& c) { return c.layout != Layout::kContiguous; },
     [](AttentionCase* c) { c->layout = Layout::kContiguous; }},
    {"out_layout", [](const AttentionCase& c) { return c.out_layout != Layout::kContiguous; },
     [](AttentionCase* c) { c->out_layout = Layout::kContiguous; }},
};
#undef HEED_FLAG
#undef HEED_NUMBER

}  // namespace

std::span<const Feature> Features() { return kFeatures; }

std::ostream& operator<<(std::ostream& out, const AttentionShape& s) {
  return out << "batch " << s.batch << ", q_len " << s.q_len << ", kv_len " << s.kv_len
             << ", heads " << s.num_heads << "/" << s.num_kv_heads << ", head_dim " << s.head_dim
             << "/" << s.v_head_dim;
}

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  out << c.shape;
  for (const Feature& feature : kFeatures) {
    if (feature.has(c)) out << ", " << feature.name;
  }
  const auto number = [&](const char* name, auto value, bool given) {
    if (given) out << ", " << name << " " << value;
  };
  out << "; seed " << c.seed;
  number("block_size", c.block_size, c.source == Source::kPages);
  number("window", c.window, c.window > 0);
  number("sink_tokens", c.sink_tokens, c.sink_tokens > 0);
  number("scale", c.scale.value_or(0.0f), c.scale.has_value());
  number("soft_cap", c.soft_cap, c.soft_cap > 0);
  number("dropout", c.dropout, c.dropout > 0);
  number("q_scale", c.q_scale, c.q_scale != 1.0f);
  return out << ", layouts " << static_cast<int>(c.layout) << "/" << static_cast<int>(c.out_layout);
}

std::string Text(const AttentionCase& c) {
  std::ostringstream out;
  out << c;
  return out.str();
}

}  // namespace heed::test
