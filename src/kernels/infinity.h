// The score of a hidden key, and the maximum of no scores.
#pragma once

#include <limits>

namespace heed::inline v1 {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace heed::inline v1
