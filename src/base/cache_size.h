// The size of this CPU's caches, for blocks that are to stay in them. No result depends on it.
#pragma once

#include <cstddef>

namespace heed::inline v1 {

// Bytes of a core's second-level cache; a common size where the system does not say.
size_t L2CacheBytes();

}  // namespace heed::inline v1
