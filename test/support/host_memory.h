#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/context.hpp"

namespace heed::test {

// Aligned memory of exactly so many bytes, with a guard on either side.
class HostMemory {
 public:
  explicit HostMemory(size_t bytes) : bytes_(bytes), all_(bytes + 4 * kMemoryAlignment, kGuard) {
    const size_t at = reinterpret_cast<uintptr_t>(all_.data()) % kMemoryAlignment;
    begin_ = 2 * kMemoryAlignment - at;
  }

  Memory memory() { return {all_.data() + begin_, bytes_}; }
  bool GuardsIntact() const {
    const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
    const auto begin = all_.begin() + static_cast<ptrdiff_t>(begin_);
    return std::all_of(all_.begin(), begin, is_guard) &&
           std::all_of(begin + static_cast<ptrdiff_t>(bytes_), all_.end(), is_guard);
  }
  bool Untouched() const {
    return std::all_of(all_.begin(), all_.end(), [](uint8_t byte) { return byte == kGuard; });
  }

 private:
  static constexpr uint8_t kGuard = 0xA5;

  size_t bytes_, begin_;
  std::vector<uint8_t> all_;
};

}  // namespace heed::test
