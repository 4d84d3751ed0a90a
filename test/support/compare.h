// Comparing results, with a message that says where and what.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace heed::test {

inline bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// Empty when `got` is `want` bit for bit (a NaN equals any NaN), else how many elements differ and
// the first of them. For CHECK(Difference(got, want) == "").
inline std::string Difference(const std::vector<float>& got, const std::vector<float>& want) {
  char text[160];
  if (got.size() != want.size()) {
    std::snprintf(text, sizeof(text), "%zu elements instead of %zu", got.size(), want.size());
    return text;
  }
  if (got.empty() || std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0) {
    return "";
  }
  size_t count = 0, first = 0;
  for (size_t i = got.size(); i-- > 0;) {
    if (SameBits(got[i], want[i])) continue;
    first = i;
    ++count;
  }
  if (count == 0) return "";
  std::snprintf(text, sizeof(text),
                "%zu of %zu differ, first at %zu: %.9g (%a) instead of %.9g (%a)", count,
                got.size(), first, static_cast<double>(got[first]), static_cast<double>(got[first]),
                static_cast<double>(want[first]), static_cast<double>(want[first]));
  return text;
}

// The largest |got - want|; infinity when one is NaN or infinite and the other is not the same.
inline double WorstError(const std::vector<float>& got, const std::vector<double>& want) {
  double worst = got.size() == want.size() ? 0.0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double g = static_cast<double>(got[i]);
    if (g == want[i] || (std::isnan(g) && std::isnan(want[i]))) continue;
    const double error = std::fabs(g - want[i]);
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  return worst;
}

}  // namespace heed::test
