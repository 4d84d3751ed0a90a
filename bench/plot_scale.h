// From values to places along an axis, and the values worth naming there.
#pragma once

#include <string>
#include <vector>

namespace heed::bench {

class Scale {
 public:
  enum class Kind { kLinear, kLog, kLog2 };  // the logarithmic ones differ in their ticks

  // Values [low, high] lie at [begin, end], which may run either way. A range that is empty or, for
  // logarithms, not positive is widened to one that is.
  Scale(Kind kind, double low, double high, double begin, double end);

  double at(double value) const;  // values outside lie at the ends
  double low() const { return low_; }
  double high() const { return high_; }

  std::vector<double> ticks() const;  // a few round ones

 private:
  std::vector<double> linear_ticks() const;
  std::vector<double> log_ticks() const;
  std::vector<double> log2_ticks() const;

  Kind kind_;
  double low_, high_, begin_, end_;
};

// Of a tick, which has few digits: "50", "0.2", "1e+06".
std::string tick_text(double tick);

}  // namespace heed::bench
