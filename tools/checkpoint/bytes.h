// What reading and writing binary files share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace heed::tools {

// *product *= factor; false when that overflows.
inline bool multiply(uint64_t factor, uint64_t* product) {
  if (factor != 0 && *product > std::numeric_limits<uint64_t>::max() / factor) return false;
  *product *= factor;
  return true;
}

// Exchanges the byte order of every element.
inline void reverse_elements(unsigned char* data, uint64_t bytes, size_t element) {
  for (uint64_t i = 0; i < bytes; i += element) std::reverse(data + i, data + i + element);
}

}  // namespace heed::tools
