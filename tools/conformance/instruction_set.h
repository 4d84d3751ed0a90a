// What the public interface does not say of an instruction set.
#pragma once

#include <cstddef>
#include <string>

namespace heed::bits {

// The width of this CPU's vectors.
size_t VectorBits(const std::string& target);

}  // namespace heed::bits
