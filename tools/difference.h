// How far results are from those of another implementation.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

namespace heed::tools {

struct Difference {
  double absolute = 0;    // the largest
  double scale = 0;       // the largest magnitude of the reference
  size_t not_finite = 0;  // places where one side is NaN or infinite: nothing is compared there
  double relative() const {
    if (not_finite != 0) return std::numeric_limits<double>::infinity();
    return absolute == 0 ? 0 : absolute / scale;
  }
};

// Of equal lengths.
Difference compare(const std::vector<float>& got, const std::vector<float>& reference);

}  // namespace heed::tools
