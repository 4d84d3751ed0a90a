// Bars in groups: a group per shape, a bar per library or file.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace heed::bench {

struct Bar {
  std::string name;
  size_t style = 0;
  double value = 0;  // 0: none, and `text` says why
  std::string text;  // stands at its end
  std::string tooltip;
};

struct BarGroup {
  std::string name;  // empty: no line for it
  std::vector<Bar> bars;
};

struct BarPlot {
  std::string title, description;
  std::string axis;  // what the length of a bar is
  std::string (*tick_text)(double) = nullptr;
  double full = 0;  // the axis reaches at least this; marked when it lies inside
  std::vector<BarGroup> groups;
};

std::string bar_plot(const BarPlot& plot);

}  // namespace heed::bench
