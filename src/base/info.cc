#include "heed/info.hpp"

#include <cstring>

#include "hwy/highway.h"
#include "src/base/targets.h"

namespace heed {
namespace {

// Highway numbers targets of a platform from best to worst in ascending bits.
int64_t LowestBit(int64_t bits) { return bits & -bits; }

size_t ListNames(int64_t targets, const char** names, size_t max) {
  size_t count = 0;
  for (; targets != 0; targets &= targets - 1, ++count) {
    if (count < max) names[count] = hwy::TargetName(LowestBit(targets));
  }
  return count;
}

constexpr int64_t kWithoutFma =
    HWY_SSE2 | HWY_SSSE3 | HWY_SSE4 | HWY_WASM | HWY_WASM_EMU256 | HWY_SCALAR | HWY_EMU128;

}  // namespace

int64_t SupportedTargets() {
  const int64_t both = hwy::SupportedTargets() & HWY_TARGETS;
  return both != 0 ? both : HWY_STATIC_TARGET;
}

int64_t BestTarget() { return LowestBit(SupportedTargets()); }

int64_t TargetByName(const char* name) {
  for (int64_t targets = SupportedTargets(); targets != 0; targets &= targets - 1) {
    if (std::strcmp(hwy::TargetName(LowestBit(targets)), name) == 0) return LowestBit(targets);
  }
  return 0;
}

const char* TargetName(int64_t target) { return hwy::TargetName(target); }

const char* version() { return HEED_VERSION; }

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

}  // namespace heed
