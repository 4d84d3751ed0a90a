// Random test data that is the same everywhere: plain integer and double arithmetic from a fixed
// seed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {  // SplitMix64
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  size_t Below(size_t n) { return static_cast<size_t>(Bits() % n); }
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }  // [0, 1)

  // Close to the standard normal: four uniform 16-bit pieces, of variance 1/12 each, centred and
  // scaled.
  float Normal() {
    const uint64_t bits = Bits();
    const uint64_t sum =
        (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48);
    const double centred = (static_cast<double>(sum) - 2 * 65535.0) / 65536.0;
    return static_cast<float>(centred * 1.7320508075688772);
  }

 private:
  uint64_t state_;
};

}  // namespace heed::test
