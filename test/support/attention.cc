#include "test/support/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "test/support/compare.h"

namespace heed::test {
namespace {

using Sizes = std::vector<size_t>;

Sizes ScoreShape(const AttentionShape& s) { return {s.batch, s.num_heads, s.q_len, s.kv_len}; }

uint64_t SeedOf(const AttentionShape& s) {
  uint64_t seed = 1;
  for (size_t x :
       {s.batch, s.q_len, s.kv_len, s.num_heads, s.num_kv_heads, s.head_dim, s.v_head_dim}) {
    seed = seed * 1000003 + x;
  }
  return seed;
}

std::vector<float> Multipliers(const AttentionShape& s, const AttentionSettings& settings) {
  std::vector<float> values(s.batch * s.num_heads * s.q_len * s.kv_len);
  size_t index = 0;
  for (size_t b = 0; b < s.batch; ++b) {
    for (size_t h = 0; h < s.num_heads; ++h) {
      for (size_t i = 0; i < s.q_len; ++i) {
        for (size_t j = 0; j < s.kv_len; ++j) {
          values[index++] = spec::DropoutMultiplier(settings.dropout, settings.seed, b, h, i, j,
                                                    s.q_len, s.kv_len);
        }
      }
    }
  }
  return values;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const AttentionShape& s) {
  return out << "batch " << s.batch << ", q_len " << s.q_len << ", kv_len " << s.kv_len
             << ", heads " << s.num_heads << "/" << s.num_kv_heads << ", head_dim " << s.head_dim
             << "/" << s.v_head_dim;
}

std::ostream& operator<<(std::ostream& out, const AttentionSettings& s) {
  return out << (s.causal ? "causal" : "full") << (s.lse ? ", lse" : "")
             << (s.weights ? ", weights" : "") << (s.mask ? ", mask" : "") << ", dropout "
             << s.dropout << ", q_scale " << s.q_scale << ", layouts " << static_cast<int>(s.layout)
             << "/" << static_cast<int>(s.out_layout);
}

AttentionProblem::AttentionProblem(const AttentionShape& s, const AttentionSettings& t)
    : shape(s),
      settings(t),
      q({s.batch, s.q_len, s.num_heads, s.head_dim}, t.layout),
      k({s.batch, s.kv_len, s.num_kv_heads, s.head_dim}, t.layout),
      v({s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim}, t.layout),
      mask(t.mask ? ScoreShape(s) : Sizes{0}, t.layout) {
  Random random(SeedOf(s));
  q.FillNormal(random, t.q_scale);
  k.FillNormal(random);
  v.FillNormal(random);
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = random.Below(3) == 0 ? 0.0f : 1.5f;
}

AttentionOptions AttentionProblem::Options() const {
  AttentionOptions options;
  options.scale = settings.scale;
  options.causal = settings.causal;
  options.dropout.probability = settings.dropout;
  options.dropout.seed = settings.seed;
  if (settings.mask) options.dropout.mask = mask.view();
  return options;
}

AttentionAnswer AttentionProblem::Expected(Family family) const {
  const AttentionShape& s = shape;
  AttentionAnswer answer;
  const std::vector<float> q_dense = q.Dense(), k_dense = k.Dense(), v_dense = v.Dense();
  std::vector<float> multipliers;
  if (settings.mask) multipliers = mask.Dense();
  if (settings.dropout > 0.0f) multipliers = Multipliers(s, settings);
  answer.out.resize(s.batch * s.q_len * s.num_heads * s.v_head_dim);
  if (settings.lse) answer.lse.resize(s.batch * s.num_heads * s.q_len);
  if (settings.weights) answer.weights.resize(s.batch * s.num_heads * s.q_len * s.kv_len);

  spec::Attention a;
  a.batch = s.batch, a.q_len = s.q_len, a.kv_len = s.kv_len;
  a.num_heads = s.num_heads, a.num_kv_heads = s.num_kv_heads;
  a.head_dim = s.head_dim, a.v_head_dim = s.v_head_dim;
  a.q = q_dense.data(), a.k = k_dense.data(), a.v = v_dense.data();
  a.scale = settings.scale.value_or(1.0f / std::sqrt(static_cast<float>(s.head_dim)));
  a.causal = settings.causal;
  a.multiplier = multipliers.empty() ? nullptr : multipliers.data();
  a.out = answer.out.data();
  a.lse = settings.lse ? answer.lse.data() : nullptr;
  a.weights = settings.weights ? answer.weights.data() : nullptr;
  WithSpec(family, [&](auto spec) { spec.Attend(a); });
  return answer;
}

AttentionAnswer AttentionProblem::Run(Context& context) const {
  const AttentionShape& s = shape;
  Tensor<float> out({s.batch, s.q_len, s.num_heads, s.v_head_dim}, settings.out_layout);
  Tensor<float> lse({s.batch, s.num_heads, s.q_len}, settings.out_layout);
  Tensor<float> weights(settings.weights ? ScoreShape(s) : Sizes{0}, settings.out_layout);
  AttentionOptions options = Options();
  if (settings.lse) options.lse = lse.mutable_view();
  if (settings.weights) options.weights = weights.mutable_view();
  const Status status =
      attention(q.view(), k.view(), v.view(), out.mutable_view(), options, context);
  INFO(shape << "; " << settings);
  REQUIRE(std::string(status.message()) == "");
  CHECK(out.GapsIntact());
  CHECK(lse.GapsIntact());
  CHECK(weights.GapsIntact());
  AttentionAnswer answer;
  answer.out = out.Dense();
  if (settings.lse) answer.lse = lse.Dense();
  if (settings.weights) answer.weights = weights.Dense();
  return answer;
}

std::string AttentionProblem::Fault() const {
  const PerFamily<AttentionAnswer> want([this](Family family) { return Expected(family); });
  for (Runner& runner : Runners()) {
    const std::string difference = Difference(Run(*runner.context), want[runner.family]);
    if (!difference.empty()) return runner.name + ": " + difference;
  }
  return "";
}

std::string Difference(const AttentionAnswer& got, const AttentionAnswer& want) {
  if (std::string d = Difference(got.out, want.out); !d.empty()) return "out: " + d;
  if (std::string d = Difference(got.lse, want.lse); !d.empty()) return "lse: " + d;
  if (std::string d = Difference(got.weights, want.weights); !d.empty()) return "weights: " + d;
  return "";
}

}  // namespace heed::test
