// Attention by its textbook definition: plain loops, libm, no blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "test/cases/attention_problem.h"

namespace heed::test {

// What a query at a position sees by the rules, and what becomes of its scores.
template <class Real>
struct ReferenceRule {
  bool causal = false;
  size_t window = 0, sink_tokens = 0;
  int64_t prefix_len = 0;
  Real scale = 1, soft_cap = 0, slope = 0;
  Real sink = -std::numeric_limits<Real>::infinity();  // none

  bool Sees(int64_t position, size_t j) const {
    const auto key = static_cast<int64_t>(j);
    if (key < prefix_len) return true;
    if (causal && key > position) return false;
    return window == 0 || position - key < static_cast<int64_t>(window) || j < sink_tokens;
  }
  Real Score(Real dot, int64_t position, size_t j) const {
    Real score = dot * scale;
    if (soft_cap > 0) score = soft_cap * std::tanh(score / soft_cap);
    return score - slope * std::fabs(static_cast<Real>(position - static_cast<int64_t>(j)));
  }
};

// In scores, -inf for keys that are not seen; out exp(score - max) / sum of them. Returns the
// log-sum-exp.
template <class Real>
Real SoftmaxOf(std::vector<Real>* scores, Real sink) {
  constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  Real max = sink;
  for (Real score : *scores) max = std::max(max, score);
  if (max == kNone) {
    std::fill(scores->begin(), scores->end(), Real{0});
    return kNone;
  }
  Real sum = std::exp(sink - max);
  for (Real& score : *scores) sum += score = std::exp(score - max);
  for (Real& score : *scores) score /= sum;
  return max + std::log(sum);
}

template <class Real>
struct ReferenceAnswer {
  std::vector<Real> out, lse, weights;  // all heads' and queries' weights, after dropout
};

// In Real: double is the reference, float what a naive program would lose.
template <class Real>
ReferenceAnswer<Real> Reference(const AttentionProblem& p);

}  // namespace heed::test
