// The roofline: what the peak and the bandwidth of each level allow at so many flops per byte, and
// what was reached.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/results.h"

namespace heed::bench {

struct RooflinePoint {
  double flops_per_byte = 0, flops_per_second = 0;
  size_t style = 0;
  std::string name;  // of what belongs together; points of style 0 near each other share a label
  std::string tooltip;
};

struct RooflinePlot {
  std::string title, description;
  Limits limits;
  std::vector<RooflinePoint> points;  // all positive
};

std::string roofline_plot(const RooflinePlot& plot);

}  // namespace heed::bench
