#include "src/base/cache_size.h"

#include <algorithm>

#ifdef __unix__
#include <unistd.h>
#endif

namespace heed::inline v1 {

size_t L2CacheBytes() {
  constexpr size_t kCommon = size_t{512} << 10;
#ifdef _SC_LEVEL2_CACHE_SIZE
  constexpr size_t kLargest = size_t{4} << 20;  // a larger one is shared by several cores
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return std::clamp(static_cast<size_t>(bytes), kCommon / 2, kLargest);
#endif
  return kCommon;
}

}  // namespace heed::inline v1
