#include "tools/difference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace heed::tools {

Difference compare(const std::vector<float>& got, const std::vector<float>& reference) {
  Difference worst;
  for (size_t i = 0; i < got.size(); ++i) {
    const double a = static_cast<double>(got[i]);
    const double b = static_cast<double>(reference[i]);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      ++worst.not_finite;
      continue;
    }
    worst.scale = std::max(worst.scale, std::abs(b));
    worst.absolute = std::max(worst.absolute, std::abs(a - b));
  }
  return worst;
}

}  // namespace heed::tools
