// Instruction sets by name.
#pragma once

#include <cstdint>

namespace heed::inline v1 {

int64_t SupportedTargets();              // bits of those compiled and supported, 0 never
int64_t LowestTarget(int64_t targets);   // the best of them: Highway numbers them so
int64_t BestTarget();                    // the one used by default
int64_t TargetByName(const char* name);  // 0: no such name, or not supported here
const char* TargetName(int64_t target);

}  // namespace heed::inline v1
