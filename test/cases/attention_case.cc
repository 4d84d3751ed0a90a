#include "test/cases/attention_case.h"

#include <sstream>

namespace heed::test {
namespace {

template <Source kSource>
constexpr Feature From(const char* name) {
  return {name, [](const AttentionCase& c) { return c.source == kSource; },
          [](AttentionCase* c) { c->source = Source::kTensors; }};
}

template <MaskType kMask>
constexpr Feature With(const char* name) {
  return {name, [](const AttentionCase& c) { return c.mask == kMask; },
          [](AttentionCase* c) { c->mask = MaskType::kNone; }};
}

// A field that is not what it is by itself.
template <auto kField>
constexpr Feature Of(const char* name) {
  return {name, [](const AttentionCase& c) { return c.*kField != AttentionCase().*kField; },
          [](AttentionCase* c) { c->*kField = AttentionCase().*kField; }};
}

constexpr Feature kFeatures[] = {
    From<Source::kCache>("from a cache"),
    From<Source::kRing>("from a ring"),
    From<Source::kPages>("from pages"),
    From<Source::kPacked>("packed"),
    From<Source::kParts>("in parts"),
    Of<&AttentionCase::causal>("causal"),
    Of<&AttentionCase::top_left>("top_left"),
    Of<&AttentionCase::window>("window"),
    Of<&AttentionCase::sink_tokens>("sink_tokens"),
    Of<&AttentionCase::prefix_lens>("prefix_lens"),
    Of<&AttentionCase::kv_lens>("kv_lens"),
    Of<&AttentionCase::key_mask>("key_mask"),
    With<MaskType::kBoolean>("boolean mask"),
    With<MaskType::kAdditive>("additive mask"),
    Of<&AttentionCase::mask_batch>("mask_batch"),
    Of<&AttentionCase::mask_heads>("mask_heads"),
    Of<&AttentionCase::mask_queries>("mask_queries"),
    Of<&AttentionCase::mask_strided>("mask_strided"),
    Of<&AttentionCase::tree_mask>("tree_mask"),
    Of<&AttentionCase::tree_batch>("tree_batch"),
    Of<&AttentionCase::scale>("scale"),
    Of<&AttentionCase::soft_cap>("soft_cap"),
    Of<&AttentionCase::alibi>("alibi"),
    Of<&AttentionCase::sinks>("sinks"),
    Of<&AttentionCase::lse>("lse"),
    Of<&AttentionCase::weights>("weights"),
    Of<&AttentionCase::chosen>("chosen"),
    Of<&AttentionCase::key_scores>("key_scores"),
    Of<&AttentionCase::dropout>("dropout"),
    Of<&AttentionCase::dropout_mask>("dropout_mask"),
    Of<&AttentionCase::q_dtype>("q_dtype"),
    Of<&AttentionCase::k_dtype>("k_dtype"),
    Of<&AttentionCase::v_dtype>("v_dtype"),
    Of<&AttentionCase::out_dtype>("out_dtype"),
    Of<&AttentionCase::int16>("int16"),
    Of<&AttentionCase::q_scale>("q_scale"),
    Of<&AttentionCase::layout>("layout"),
    Of<&AttentionCase::out_layout>("out_layout"),
};

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
  out << ", types " << name_of(c.q_dtype) << " " << name_of(c.k_dtype) << " " << name_of(c.v_dtype)
      << " " << name_of(c.out_dtype);
  return out << ", layouts " << static_cast<int>(c.layout) << "/" << static_cast<int>(c.out_layout);
}

std::string Text(const AttentionCase& c) {
  std::ostringstream out;
  out << c;
  return out.str();
}

}  // namespace heed::test
