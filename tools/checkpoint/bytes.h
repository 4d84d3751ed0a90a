// What reading and writing binary files share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace heed::tools {

// The bits of a tensor whose elements have `bits` each. False when they are too many to count, and
// also where a size of 0 hides that: strides are products of sizes that leave it out.
inline bool count_bits(const std::vector<uint64_t>& shape, uint64_t bits, uint64_t* total) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  uint64_t others = bits;
  bool empty = false;
  for (const uint64_t size : shape) {
    empty = empty || size == 0;
    if (size > kMost / others) return false;
    others *= std::max<uint64_t>(size, 1);
  }
  *total = empty ? 0 : others;
  return true;
}

// Exchanges the byte order of every element.
inline void reverse_elements(unsigned char* data, uint64_t bytes, size_t element) {
  for (uint64_t i = 0; i < bytes; i += element) std::reverse(data + i, data + i + element);
}

}  // namespace heed::tools
