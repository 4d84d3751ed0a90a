// The frequencies of RoPE, and how models stretch them to longer sequences.
#include <algorithm>
#include <cmath>

#include "src/base/check.h"
#include "src/base/math.h"
#include "src/layer/rope.h"

namespace heed::inline v1 {
namespace {

constexpr double kPi = 3.141592653589793;

Status BadScaling(const char* name, double value, const char* wanted) {
  return Status::Error(StatusCode::kInvalidArgument, "scaling.%s: is %g, must be %s", name, value,
                       wanted);
}

bool Finite(double value, double lowest) {
  return std::isfinite(value) && value >= lowest && value <= 1e30;
}

Status CheckLlama3(const RopeScaling& s) {
  if (!Finite(s.low_freq_factor, 1e-30)) {
    return BadScaling("low_freq_factor", s.low_freq_factor, "finite and > 0");
  }
  if (!Finite(s.high_freq_factor, 1e-30) || s.high_freq_factor <= s.low_freq_factor) {
    return BadScaling("high_freq_factor", s.high_freq_factor, "finite and > low_freq_factor");
  }
  return Status();
}

Status CheckYarn(const RopeScaling& s, double theta) {
  if (theta == 1.0) {
    return Status::Error(StatusCode::kInvalidArgument, "theta: is 1, must be > 1 for YaRN");
  }
  if (!Finite(s.beta_slow, 1e-30)) return BadScaling("beta_slow", s.beta_slow, "finite and > 0");
  if (!Finite(s.beta_fast, 1e-30) || s.beta_fast < s.beta_slow) {
    return BadScaling("beta_fast", s.beta_fast, "finite and at least beta_slow");
  }
  if (s.attention_factor && !Finite(*s.attention_factor, 1e-30)) {
    return BadScaling("attention_factor", *s.attention_factor, "finite and > 0");
  }
  if (!Finite(s.mscale, 0.0)) return BadScaling("mscale", s.mscale, "finite and at least 0");
  if (!Finite(s.mscale_all_dim, 0.0)) {
    return BadScaling("mscale_all_dim", s.mscale_all_dim, "finite and at least 0");
  }
  return Status();
}

double Llama3(const RopeScaling& s, double frequency) {
  const double turns =
      static_cast<double>(s.original_max_position_embeddings) * frequency / (2.0 * kPi);
  if (turns > s.high_freq_factor) return frequency;
  if (turns < s.low_freq_factor) return frequency / s.factor;
  const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - smooth) * (frequency / s.factor) + smooth * frequency;
}

// std::trunc, floor and ceil are in libm, and calls of it where a CPU may have no instruction.
double TowardsZero(double x) {
  return std::abs(x) < 0x1p53 ? static_cast<double>(static_cast<int64_t>(x)) : x;
}

// The transition between the pairs that YaRN keeps and those that it divides.
struct YarnRamp {
  double low, high;

  YarnRamp(const RopeScaling& s, double theta, size_t rope_dim) {
    const auto dim = static_cast<double>(rope_dim);
    // The pair that turns `turns` times over the original length.
    const auto pair = [&](double turns) {
      const double length = static_cast<double>(s.original_max_position_embeddings);
      return dim * Log(length / (turns * (2.0 * kPi))) / (2.0 * Log(theta));
    };
    low = pair(s.beta_fast);
    high = pair(s.beta_slow);
    low = std::max(low, 0.0);
    high = std::min(high, dim - 1.0);
    if (s.truncate) {
      low = TowardsZero(low);
      const double whole = TowardsZero(high);
      high = whole < high ? whole + 1.0 : whole;
    }
    if (low == high) high += 0.001;
  }

  double At(size_t t) const {
    return std::clamp((static_cast<double>(t) - low) / (high - low), 0.0, 1.0);
  }
};

double YarnAttentionFactor(const RopeScaling& s) {
  if (s.attention_factor) return *s.attention_factor;
  const double log = Log(s.factor);
  const auto m = [&](double scale) { return 0.1 * scale * log + 1.0; };
  return s.mscale != 0.0 && s.mscale_all_dim != 0.0 ? m(s.mscale) / m(s.mscale_all_dim) : m(1.0);
}

}  // namespace

Status CheckRopeScaling(const RopeOptions& options) {
  const RopeScaling& s = options.scaling;
  if (s.type == RopeScalingType::kNone) return Status();
  if (s.type < RopeScalingType::kNone || s.type > RopeScalingType::kYarn) {
    return Status::Error(StatusCode::kUnsupported, "scaling.type: %d does not exist",
                         static_cast<int>(s.type));
  }
  if (!Finite(s.factor, 1.0)) return BadScaling("factor", s.factor, "finite and at least 1");
  if (s.type == RopeScalingType::kLinear) return Status();
  if (s.original_max_position_embeddings == 0) {
    return BadScaling("original_max_position_embeddings", 0, "at least 1");
  }
  return s.type == RopeScalingType::kLlama3 ? CheckLlama3(s) : CheckYarn(s, options.theta);
}

double RopeFrequencies(const RopeOptions& options, size_t rope_dim, double* frequencies) {
  const RopeScaling& s = options.scaling;
  const size_t pairs = rope_dim / 2;
  for (size_t t = 0; t < pairs; ++t) {
    frequencies[t] =
        Pow(options.theta, -2.0 * static_cast<double>(t) / static_cast<double>(rope_dim));
  }
  if (s.type == RopeScalingType::kNone) return 1.0;
  if (s.type == RopeScalingType::kYarn) {
    const YarnRamp ramp(s, options.theta, rope_dim);
    for (size_t t = 0; t < pairs; ++t) {
      const double divided = ramp.At(t);
      frequencies[t] = frequencies[t] / s.factor * divided + frequencies[t] * (1.0 - divided);
    }
    return YarnAttentionFactor(s);
  }
  for (size_t t = 0; t < pairs; ++t) {
    frequencies[t] =
        s.type == RopeScalingType::kLinear ? frequencies[t] / s.factor : Llama3(s, frequencies[t]);
  }
  return 1.0;
}

}  // namespace heed::inline v1
