#include "heed/info.hpp"

#include "heed/numerics.hpp"
#include "hwy/highway.h"
#include "src/base/targets.h"

namespace heed::inline v1 {
namespace {

size_t ListNames(int64_t targets, const char** names, size_t max) {
  size_t count = 0;
  for (; targets != 0; targets &= targets - 1, ++count) {
    if (count < max) names[count] = TargetName(LowestTarget(targets));
  }
  return count;
}

constexpr int64_t kWithoutFma =
    HWY_SSE2 | HWY_SSSE3 | HWY_SSE4 | HWY_WASM | HWY_WASM_EMU256 | HWY_SCALAR | HWY_EMU128;

}  // namespace

#define HEED_TEXT_OF(number) #number
#define HEED_DOTTED(major, minor, patch) \
  HEED_TEXT_OF(major) "." HEED_TEXT_OF(minor) "." HEED_TEXT_OF(patch)
const char* version() {
  return HEED_DOTTED(HEED_VERSION_MAJOR, HEED_VERSION_MINOR, HEED_VERSION_PATCH);
}
#undef HEED_DOTTED
#undef HEED_TEXT_OF

int32_t numerics_version() { return kNumericsVersion; }

const char* name_of(Family family) { return family == Family::kFma ? "fma" : "multiply-add"; }

size_t compiled_targets(const char** names, size_t max) {
  return ListNames(HWY_TARGETS, names, max);
}

size_t supported_targets(const char** names, size_t max) {
  return ListNames(SupportedTargets(), names, max);
}

Family family(const char* target) {
  const int64_t bit = target == nullptr ? BestTarget() : TargetByName(target);
  return bit == 0 || (bit & kWithoutFma) != 0 ? Family::kMultiplyAdd : Family::kFma;
}

}  // namespace heed::inline v1
