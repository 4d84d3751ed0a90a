// Instruction sets by name.
#pragma once

#include <cstdint>

namespace heed {

int64_t SupportedTargets();              // bits of those compiled and supported, 0 never
int64_t BestTarget();                    // the one used by default
int64_t TargetByName(const char* name);  // 0: no such name, or not supported here
const char* TargetName(int64_t target);

}  // namespace heed
