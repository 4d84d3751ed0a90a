// The colour scale of attention maps, for both kinds of picture.
#pragma once

#include <array>
#include <cstddef>

namespace heed::tools {

struct Colour {
  int red, green, blue;
};

// Where weights lie on the scale [0, 1] of the picture.
class MapScale {
 public:
  MapScale(const float* weights, size_t count);
  float max() const { return max_; }
  double place(float weight) const;  // square root of the share of the largest; NaN stays NaN

 private:
  float max_ = 0.0f;
};

Colour colour_at(double place);  // white to dark blue; NaN: magenta

inline constexpr std::array<double, 5> kLegendShares = {0.0, 0.05, 0.25, 0.5, 1.0};  // of the max

}  // namespace heed::tools
