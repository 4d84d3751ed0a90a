#include "tools/conformance/instruction_set.h"

#include <cstdint>

#include "hwy/highway.h"
#include "hwy/per_target.h"
#include "src/base/targets.h"

namespace heed::bits {

size_t VectorBits(const std::string& target) {
  const int64_t reported = hwy::SupportedTargets();
  hwy::SetSupportedTargetsForTest(TargetByName(target.c_str()));
  const size_t bits = 8 * hwy::VectorBytes();
  hwy::SetSupportedTargetsForTest(reported);
  return bits;
}

bool Force(const std::string& target) {
  for (int64_t left = HWY_TARGETS; left != 0; left &= left - 1) {
    const int64_t lowest = left & -left;
    if (target == TargetName(lowest)) {
      hwy::SetSupportedTargetsForTest(lowest);
      return true;
    }
  }
  return false;
}

}  // namespace heed::bits
