// The bit contract in numbers: see heed/c/info.h, where these have the names HEED_NUMERICS_VERSION,
// HEED_SUM_CHUNK, and so on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/export.h"

namespace heed::inline v1 {

inline constexpr int32_t kNumericsVersion = 2;

HEED_API int32_t numerics_version();

inline constexpr size_t kSumChunk = 256;

inline constexpr size_t kKeyBlock = 128;

inline constexpr size_t kSegmentKeys = 1024;

inline constexpr size_t kSumLanes = 16;

// heed_compute.
enum class Compute : int32_t {
  kF32,
  kInt16,
};

}  // namespace heed::inline v1
