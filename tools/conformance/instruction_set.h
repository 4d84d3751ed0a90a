// What the public interface does not say of an instruction set.
#pragma once

#include <cstddef>
#include <string>

namespace heed::bits {

// The width of this CPU's vectors.
size_t VectorBits(const std::string& target);

// Makes heed take this CPU for one that reports `target` and no other: for those that have its
// instructions and don't report them, as AVX3_ZEN4 is reported by AMD's alone. False when it is not
// compiled in.
bool Force(const std::string& target);

}  // namespace heed::bits
