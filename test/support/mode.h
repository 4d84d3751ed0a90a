// How much to test.
#pragma once

#include <cstdlib>

#include "tools/conformance/sanitized.h"

namespace heed::test {

// A native, optimized build without sanitizers, which has the time for everything.
#if defined(__OPTIMIZE__) && !defined(HEED_TEST_CROSS)
inline constexpr bool kFastBuild = !HEED_TEST_SANITIZED;
#else
inline constexpr bool kFastBuild = false;
#endif

inline bool Setting(const char* name, bool otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || value[0] == '\0' ? otherwise : value[0] != '0';
}

// Fewer and smaller shapes, for emulators and sanitizers.
inline bool Quick() {
  static const bool quick = Setting("HEED_TEST_QUICK", !kFastBuild);
  return quick;
}

// Every float of a domain instead of every 1009th.
inline bool Exhaustive() {
  static const bool exhaustive = Setting("HEED_TEST_EXHAUSTIVE", kFastBuild && !Quick());
  return exhaustive;
}

}  // namespace heed::test
