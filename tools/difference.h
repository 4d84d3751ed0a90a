// How far results are from those of another implementation.
#pragma once

#include <vector>

namespace heed::tools {

struct Difference {
  double absolute = 0;  // the largest
  double scale = 0;     // the largest magnitude of the reference
  double relative() const { return absolute == 0 ? 0 : absolute / scale; }
};

// Of equal lengths. NaN and infinities must be in the same places: else the difference is infinite.
Difference compare(const std::vector<float>& got, const std::vector<float>& reference);

}  // namespace heed::tools
