// What this build of heed is, and what it found on this machine: see heed/c/info.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/export.h"
#include "heed/version.h"  // IWYU pragma: export

namespace heed::inline v1 {

HEED_API const char* version();

// heed_family, heed_family_name.
enum class Family : int32_t { kFma, kMultiplyAdd };
HEED_API const char* name_of(Family family);

// heed_compiled_targets, heed_supported_targets.
HEED_API size_t compiled_targets(const char** names, size_t max);
HEED_API size_t supported_targets(const char** names, size_t max);

// heed_family_of.
HEED_API Family family(const char* target = nullptr);

}  // namespace heed::inline v1
