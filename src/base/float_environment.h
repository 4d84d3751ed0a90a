// The processor's floating-point settings, for the length of a call.
#pragma once

#include <cstdint>

namespace heed::inline v1 {

// Sets the calling thread's defaults, on which every bit of a result depends: rounding to nearest,
// subnormals kept, no traps. At the end it puts back what was there, the raised flags included, so
// that the host neither changes a result nor notices one. Every public function that computes
// begins with one, and so does every worker. Where a target has no such settings it does nothing.
class FloatEnvironment {
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  uint64_t control_;  // the register that holds settings, and on most targets flags
  uint64_t flags_;    // the register of flags, where that is another
};

}  // namespace heed::inline v1
