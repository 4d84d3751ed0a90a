#include "heed/info.hpp"

#include "heed/numerics.hpp"
#include "heed/status.hpp"
#include "src/c/call.h"

using namespace heed;  // NOLINT: the functions below are C's

#define HEED_SAME(c, cpp) static_assert(static_cast<int64_t>(c) == static_cast<int64_t>(cpp))
HEED_SAME(HEED_NUMERICS_VERSION, kNumericsVersion);
HEED_SAME(HEED_SUM_CHUNK, kSumChunk);
HEED_SAME(HEED_KEY_BLOCK, kKeyBlock);
HEED_SAME(HEED_SEGMENT_KEYS, kSegmentKeys);
HEED_SAME(HEED_SUM_LANES, kSumLanes);
#undef HEED_SAME

const char* heed_status_name(heed_status status) {
  return name_of(static_cast<StatusCode>(status));
}

const char* heed_version() { return version(); }

int32_t heed_numerics_version() { return numerics_version(); }

const char* heed_family_name(heed_family family) { return name_of(static_cast<Family>(family)); }

size_t heed_compiled_targets(const char** names, size_t max) {
  return compiled_targets(names, names == nullptr ? 0 : max);
}

size_t heed_supported_targets(const char** names, size_t max) {
  return supported_targets(names, names == nullptr ? 0 : max);
}

heed_family heed_family_of(const char* target) { return static_cast<heed_family>(family(target)); }
