// What this build of heed is, and what it found on this machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/export.h"

namespace heed::inline v1 {

HEED_API const char* version();  // "0.1.0"

// Two families of instruction sets, each with one answer to every problem: with fused multiply-add
// (AVX2 and up, NEON, SVE, RVV, ...) and without (SSE2 to SSE4, baseline WASM, scalar), where a
// product is rounded before it is added.
enum class Family : int32_t { kFma, kMultiplyAdd };
HEED_API const char* name_of(Family family);  // "fma", "multiply-add"

// Instruction sets by name, best first: those in this binary, and of these the ones that this CPU has.
// Both return the number of names and write at most `max` of them.
HEED_API size_t compiled_targets(const char** names, size_t max);
HEED_API size_t supported_targets(const char** names, size_t max);

// The family of a target by name; null: of the one that is used by default. Unknown names:
// kMultiplyAdd.
HEED_API Family family(const char* target = nullptr);

}  // namespace heed::inline v1
