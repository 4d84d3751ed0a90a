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

}  // namespace heed::bits
