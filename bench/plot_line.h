// Lines over one quantity that grows: threads, tokens.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/plot.h"
#include "bench/plot_scale.h"

namespace heed::bench {

struct Point {
  double x = 0, y = 0;
  std::string tooltip;
};

struct Series {
  std::string name;  // stands at its end
  size_t style = 0;
  std::vector<Point> points;  // by x; all positive
  bool limit = false;         // dashed, without marks: what the others are compared with
};

struct LinePlot {
  std::string title, description;
  std::string x_name, y_name;
  std::string (*y_text)(double) = nullptr;  // of a tick
  Scale::Kind y_kind = Scale::Kind::kLinear;
  std::vector<Series> series;
};

// The x axis is logarithmic and names the values that have points. Points that are not positive and
// finite are left out.
std::string line_plot(const LinePlot& plot);

}  // namespace heed::bench
