#include "bench/plot_scale.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace heed::bench {

Scale::Scale(Kind kind, double low, double high, double begin, double end)
    : kind_(kind), low_(low), high_(high), begin_(begin), end_(end) {
  if (kind_ != Kind::kLinear) {
    if (!(low_ > 0)) low_ = high_ > 0 ? high_ / 10 : 1;
    if (!(high_ > low_ * 1.001)) high_ = low_ * 2;
  } else if (!(high_ > low_)) {
    high_ = low_ + 1;
  }
}

double Scale::at(double value) const {
  const double inside = std::clamp(value, low_, high_);
  const double share = kind_ != Kind::kLinear ? std::log(inside / low_) / std::log(high_ / low_)
                                              : (inside - low_) / (high_ - low_);
  return begin_ + share * (end_ - begin_);
}

std::vector<double> Scale::ticks() const {
  switch (kind_) {
    case Kind::kLog:
      return log_ticks();
    case Kind::kLog2:
      return log2_ticks();
    default:
      return linear_ticks();
  }
}

std::vector<double> Scale::linear_ticks() const {
  const double rough = (high_ - low_) / 4;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (rough <= factor * power * 1.0001) step = factor * power;
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ * (1 + 1e-9); ++i) {
    ticks.push_back(i * step + 0.0);  // no negative zero
  }
  return ticks;
}

std::vector<double> Scale::log_ticks() const {
  const double decades = std::log10(high_ / low_);
  const double every = std::ceil(decades / 6);  // of the powers of ten
  const bool few = decades < 2.2;
  std::vector<double> ticks;
  for (double power = std::floor(std::log10(low_)); power <= std::log10(high_); ++power) {
    if (std::fmod(std::fabs(power), every) != 0) continue;
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, power);
      const bool inside = tick >= low_ * (1 - 1e-9) && tick <= high_ * (1 + 1e-9);
      if (inside && (factor == 1 || few)) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::vector<double> Scale::log2_ticks() const {
  const double every = std::max(1.0, std::ceil(std::log2(high_ / low_) / 6));
  std::vector<double> ticks;
  for (double i = std::ceil(std::log2(low_) / every); i * every <= std::log2(high_); ++i) {
    ticks.push_back(std::exp2(i * every));
  }
  return ticks;
}

std::string tick_text(double tick) {
  char text[32];
  std::snprintf(text, sizeof(text), std::fabs(tick) < 1e5 ? "%.6g" : "%.1e", tick);
  return text;
}

}  // namespace heed::bench
