#include "test/cases/attention_reference.h"

namespace heed::test {

template <class Real>
ReferenceAnswer<Real> Reference(const AttentionProblem& p) {
  const AttentionCase& c = p.given;
  const AttentionShape& s = c.shape;
  const std::vector<float> q = p.q.Dense(), k = p.k.Dense(), v = p.v.Dense();
  const std::vector<float> multipliers = p.Multipliers();
  ReferenceAnswer<Real> answer;
  answer.out.resize(s.batch * s.q_len * s.num_heads * s.v_head_dim);
  for (size_t row = 0; row < s.batch * s.num_heads * s.q_len; ++row) {
    const size_t i = row % s.q_len, h = row / s.q_len % s.num_heads;
    const size_t b = row / s.q_len / s.num_heads, len = p.KvLen(b);
    const size_t token = (b * s.q_len + i) * s.num_heads + h;
    const size_t kv_head = h / (s.num_heads / s.num_kv_heads);
    const auto key = [&](size_t j) { return (b * s.kv_len + j) * s.num_kv_heads + kv_head; };
    const int64_t past = static_cast<int64_t>(len) - static_cast<int64_t>(s.q_len);
    const int64_t position = static_cast<int64_t>(i) + (c.top_left ? 0 : past);
    ReferenceRule<Real> rule = {c.causal, c.window, c.sink_tokens};
    if (c.prefix_lens) rule.prefix_len = p.prefix_lens[b];
    rule.scale = static_cast<Real>(p.Scale());
    rule.soft_cap = static_cast<Real>(c.soft_cap);
    if (c.alibi) rule.slope = static_cast<Real>(p.slopes[h]);
    if (c.sinks) rule.sink = static_cast<Real>(p.sinks[h]);

    std::vector<Real> weight(s.kv_len, -std::numeric_limits<Real>::infinity());
    for (size_t j = 0; j < len; ++j) {
      bool sees = rule.Sees(position, j);
      if (c.key_mask) sees &= p.key_mask[b * s.kv_len + j] != 0;
      if (c.mask == MaskType::kBoolean) sees &= p.mask[p.MaskAt(b, h, i, j)] != 0;
      if (c.tree_mask && static_cast<int64_t>(j) >= past) {
        const size_t tree = c.tree_batch ? b * s.q_len : 0;
        const auto own = static_cast<size_t>(static_cast<int64_t>(j) - past);
        sees &= own < s.q_len && p.tree_mask[(tree + i) * s.q_len + own] != 0;
      }
      if (!sees) continue;
      Real dot = 0;
      for (size_t d = 0; d < s.head_dim; ++d) {
        dot += static_cast<Real>(q[token * s.head_dim + d]) *
               static_cast<Real>(k[key(j) * s.head_dim + d]);
      }
      weight[j] = rule.Score(dot, position, j);
      if (c.mask == MaskType::kAdditive) {
        weight[j] += static_cast<Real>(p.bias[p.MaskAt(b, h, i, j)]);
      }
    }
    answer.lse.push_back(SoftmaxOf(&weight, rule.sink));
    for (size_t j = 0; j < len; ++j) {
      if (!multipliers.empty()) weight[j] *= static_cast<Real>(multipliers[row * s.kv_len + j]);
      for (size_t d = 0; d < s.v_head_dim; ++d) {
        answer.out[token * s.v_head_dim + d] +=
            weight[j] * static_cast<Real>(v[key(j) * s.v_head_dim + d]);
      }
    }
    answer.weights.insert(answer.weights.end(), weight.begin(), weight.end());
  }
  return answer;
}

template ReferenceAnswer<float> Reference(const AttentionProblem& p);
template ReferenceAnswer<double> Reference(const AttentionProblem& p);

}  // namespace heed::test
