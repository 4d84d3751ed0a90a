#include "tools/conformance/instruction_set.h"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/conformance/instruction_set.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/base/targets.h"
#include "src/kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace heed::bits::HWY_NAMESPACE {
namespace {

size_t VectorBytes() {
  return hwy::HWY_NAMESPACE::Lanes(hwy::HWY_NAMESPACE::ScalableTag<uint8_t>());
}

}  // namespace
}  // namespace heed::bits::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace heed::bits {

size_t VectorBits(const std::string& target) {
#define HEED_VECTOR_BITS(TARGET, NAMESPACE) \
  if (bit == TARGET) return 8 * NAMESPACE::VectorBytes();
  const int64_t bit = TargetByName(target.c_str());
  HWY_VISIT_TARGETS(HEED_VECTOR_BITS)
  return 0;
}

}  // namespace heed::bits

#endif  // HWY_ONCE
