// Attention in float64 by its textbook definition: three plain loops, libm, no blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "test/support/attention.h"

namespace heed::test {

template <class Real>
struct ReferenceAnswer {
  std::vector<Real> out, lse, weights;
};

// In Real: double is the reference, float what a naive program would lose.
template <class Real>
ReferenceAnswer<Real> Reference(const AttentionProblem& p) {
  const AttentionShape& s = p.shape;
  const size_t group = s.num_heads / s.num_kv_heads;
  const Real scale = static_cast<Real>(
      p.settings.scale.value_or(1.0f / std::sqrt(static_cast<float>(s.head_dim))));
  ReferenceAnswer<Real> answer;
  answer.out.resize(s.batch * s.q_len * s.num_heads * s.v_head_dim);
  for (size_t row = 0; row < s.batch * s.num_heads * s.q_len; ++row) {
    const size_t i = row % s.q_len, h = row / s.q_len % s.num_heads;
    const size_t b = row / s.q_len / s.num_heads;
    const size_t token = (b * s.q_len + i) * s.num_heads + h;
    const auto key = [&](size_t j) { return (b * s.kv_len + j) * s.num_kv_heads + h / group; };
    std::vector<Real> weight(s.kv_len, Real{0});
    const size_t visible =
        p.settings.causal
            ? static_cast<size_t>(std::max<ptrdiff_t>(
                  0, static_cast<ptrdiff_t>(s.kv_len + i + 1) - static_cast<ptrdiff_t>(s.q_len)))
            : s.kv_len;
    Real max = -std::numeric_limits<Real>::infinity(), sum = 0;
    for (size_t j = 0; j < visible; ++j) {
      for (size_t d = 0; d < s.head_dim; ++d) {
        weight[j] += static_cast<Real>(p.q[token * s.head_dim + d]) *
                     static_cast<Real>(p.k[key(j) * s.head_dim + d]);
      }
      weight[j] *= scale;
      max = std::max(max, weight[j]);
    }
    for (size_t j = 0; j < visible; ++j) sum += weight[j] = std::exp(weight[j] - max);
    for (size_t j = 0; j < visible; ++j) {
      weight[j] /= sum;
      if (p.settings.mask) weight[j] *= static_cast<Real>(p.mask[row * s.kv_len + j]);
      for (size_t d = 0; d < s.v_head_dim; ++d) {
        answer.out[token * s.v_head_dim + d] +=
            weight[j] * static_cast<Real>(p.v[key(j) * s.v_head_dim + d]);
      }
    }
    answer.lse.push_back(max + std::log(sum));
    answer.weights.insert(answer.weights.end(), weight.begin(), weight.end());
  }
  return answer;
}

}  // namespace heed::test
