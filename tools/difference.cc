#include "tools/difference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace heed::tools {

Difference compare(const std::vector<float>& got, const std::vector<float>& reference) {
  Difference worst;
  for (size_t i = 0; i < got.size(); ++i) {
    const double a = static_cast<double>(got[i]);
    const double b = static_cast<double>(reference[i]);
    if (std::isfinite(b)) worst.scale = std::max(worst.scale, std::abs(b));
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double difference = std::abs(a - b);  // NaN when only one of them is
    worst.absolute = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                            : std::max(worst.absolute, difference);
  }
  return worst;
}

}  // namespace heed::tools
