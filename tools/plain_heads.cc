#include "tools/plain_heads.h"

#include <algorithm>
#include <cmath>

namespace heed::tools {
namespace {

constexpr double kTurn = 6.283185307179586;

double llama3_frequency(const RopeScaling& s, double frequency) {
  const double length = static_cast<double>(s.original_max_position_embeddings);
  const double wavelength = kTurn / frequency;
  if (wavelength < length / s.high_freq_factor) return frequency;
  if (wavelength > length / s.low_freq_factor) return frequency / s.factor;
  const double smooth =
      (length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

double yarn_frequency(const RopeOptions& options, double dim, double pair, double frequency) {
  const RopeScaling& s = options.scaling;
  const auto pair_of = [&](double turns) {
    return dim *
           std::log(static_cast<double>(s.original_max_position_embeddings) / (turns * kTurn)) /
           (2 * std::log(options.theta));
  };
  double low = pair_of(s.beta_fast), high = pair_of(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const double divided = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / s.factor * divided + frequency * (1 - divided);
}

double yarn_factor(const RopeScaling& s) {
  if (s.attention_factor.has_value()) return *s.attention_factor;
  const auto m = [&](double scale) { return 0.1 * scale * std::log(s.factor) + 1; };
  return s.mscale != 0 && s.mscale_all_dim != 0 ? m(s.mscale) / m(s.mscale_all_dim) : m(1);
}

}  // namespace

void plain_norm(const std::vector<float>& weight, float offset, float eps, float* x) {
  double mean = 0;
  for (size_t i = 0; i < weight.size(); ++i) mean += static_cast<double>(x[i]) * x[i];
  mean /= static_cast<double>(weight.size());
  const double scale = 1 / std::sqrt(mean + static_cast<double>(eps));
  for (size_t i = 0; i < weight.size(); ++i) {
    x[i] = static_cast<float>(x[i] * scale * static_cast<double>(offset + weight[i]));
  }
}

PlainRope::PlainRope(const RopeOptions& options, size_t head_dim)
    : interleaved_(options.interleaved) {
  const size_t dim = options.rope_dim == 0 ? head_dim : options.rope_dim;
  const auto wide = static_cast<double>(dim);
  for (size_t t = 0; t < dim / 2; ++t) {
    const auto pair = static_cast<double>(t);
    double f = std::pow(options.theta, -2.0 * pair / wide);
    if (options.scaling.type == RopeScalingType::kLinear) f /= options.scaling.factor;
    if (options.scaling.type == RopeScalingType::kLlama3) f = llama3_frequency(options.scaling, f);
    if (options.scaling.type == RopeScalingType::kYarn) f = yarn_frequency(options, wide, pair, f);
    frequencies_.push_back(f);
  }
  if (options.scaling.type == RopeScalingType::kYarn) factor_ = yarn_factor(options.scaling);
}

void PlainRope::rotate(size_t position, float* x) const {
  const size_t pairs = frequencies_.size();
  for (size_t t = 0; t < pairs; ++t) {
    const double angle = static_cast<double>(position) * frequencies_[t];
    const double cosine = factor_ * std::cos(angle), sine = factor_ * std::sin(angle);
    float& a = x[interleaved_ ? 2 * t : t];
    float& b = x[interleaved_ ? 2 * t + 1 : t + pairs];
    const double old_a = static_cast<double>(a);
    const double old_b = static_cast<double>(b);
    a = static_cast<float>(old_a * cosine - old_b * sine);
    b = static_cast<float>(old_b * cosine + old_a * sine);
  }
}

}  // namespace heed::tools
