// A digest of results that is the same wherever the results are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed::bits {

// FNV-1a of 64 bits (Fowler, Noll and Vo) over integers as little-endian bytes, on any machine.
class Digest {
 public:
  void Add(uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) state_ = (state_ ^ (value >> 8 * i & 0xFF)) * 0x100000001B3u;
  }

  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325u;
};

}  // namespace heed::bits
