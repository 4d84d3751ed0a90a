// The specification of RoPE and of RMSNorm, on top of spec.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/rope.hpp"
#include "src/base/math.h"
#include "test/spec/spec.h"

namespace heed::spec {

// Angle per position of each pair, and what multiplies cosine and sine. In double. The formulas are
// those of src/layer/rope_scaling.cc, written again, because whoever changes one there must change
// it here: they define bits. That they are right, test/support/layer_reference.h says, with libm.
struct RopeTable {
  std::vector<double> frequency;
  double factor = 1.0;
};

inline double Llama3Frequency(const RopeScaling& s, double frequency) {
  const double turns = static_cast<double>(s.original_max_position_embeddings) * frequency /
                       (2.0 * 3.141592653589793);
  if (turns > s.high_freq_factor) return frequency;
  if (turns < s.low_freq_factor) return frequency / s.factor;
  const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - smooth) * (frequency / s.factor) + smooth * frequency;
}

// How much of pair t's frequency YaRN divides: 0 up to pair `low`, 1 from pair `high`.
inline double YarnShare(const RopeScaling& s, double theta, size_t rope_dim, size_t t) {
  const double dim = static_cast<double>(rope_dim);
  const auto pair = [&](double turns) {
    const double length = static_cast<double>(s.original_max_position_embeddings);
    return dim * Log(length / (turns * (2.0 * 3.141592653589793))) / (2.0 * Log(theta));
  };
  const double first = s.truncate ? std::floor(pair(s.beta_fast)) : pair(s.beta_fast);
  const double last = s.truncate ? std::ceil(pair(s.beta_slow)) : pair(s.beta_slow);
  const double low = std::max(first, 0.0);
  double high = std::min(last, dim - 1.0);
  if (low == high) high += 0.001;
  return std::clamp((static_cast<double>(t) - low) / (high - low), 0.0, 1.0);
}

inline double YarnFactor(const RopeScaling& s) {
  if (s.attention_factor) return *s.attention_factor;
  const double log = Log(s.factor);
  if (s.mscale == 0.0 || s.mscale_all_dim == 0.0) return 0.1 * log + 1.0;
  return (0.1 * s.mscale * log + 1.0) / (0.1 * s.mscale_all_dim * log + 1.0);
}

inline RopeTable MakeRopeTable(const RopeOptions& options, size_t rope_dim) {
  const RopeScaling& s = options.scaling;
  RopeTable table;
  for (size_t t = 0; t < rope_dim / 2; ++t) {
    double f = Pow(options.theta, -2.0 * static_cast<double>(t) / static_cast<double>(rope_dim));
    if (s.type == RopeScalingType::kLinear) f = f / s.factor;
    if (s.type == RopeScalingType::kLlama3) f = Llama3Frequency(s, f);
    if (s.type == RopeScalingType::kYarn) {
      const double share = YarnShare(s, options.theta, rope_dim, t);
      f = f / s.factor * share + f * (1.0 - share);
    }
    table.frequency.push_back(f);
  }
  if (s.type == RopeScalingType::kYarn) table.factor = YarnFactor(s);
  return table;
}

// Rotates one head of one token, x[head_dim], in place.
template <Family kFamily>
void Rope(float* x, int32_t position, size_t head_dim, const RopeOptions& options) {
  const size_t rope_dim = options.rope_dim == 0 ? head_dim : options.rope_dim;
  const RopeTable table = MakeRopeTable(options, rope_dim);
  for (size_t t = 0; t < rope_dim / 2; ++t) {
    double sine, cosine;
    SinCos(position * table.frequency[t], &sine, &cosine);
    const float sin = static_cast<float>(sine * table.factor);
    const float cos = static_cast<float>(cosine * table.factor);
    float& a = x[options.interleaved ? 2 * t : t];
    float& b = x[options.interleaved ? 2 * t + 1 : t + rope_dim / 2];
    const float rotated = Spec<kFamily>::Fma(a, cos, -(b * sin));
    b = Spec<kFamily>::Fma(b, cos, a * sin);
    a = rotated;
  }
}

// RMSNorm of one head of one token, x[n], in place.
template <Family kFamily>
void RmsNorm(float* x, size_t n, const float* weight, float offset, float eps) {
  const float mean = Spec<kFamily>::Dot(x, 1, x, 1, n) / static_cast<float>(n);
  const float inverse = 1.0f / std::sqrt(mean + eps);
  for (size_t i = 0; i < n; ++i) x[i] = x[i] * inverse * (offset + weight[i]);
}

}  // namespace heed::spec
