// Which keys a query sees: every rule and mask of AttentionOptions is decided here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/attention_plan.h"

namespace heed {

struct KeyRange {
  size_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  KeyRange Within(size_t first, size_t last) const {
    const size_t from = std::clamp(begin, first, last);
    return {from, std::clamp(end, from, last)};
  }
  void Include(const KeyRange& other) {
    if (other.empty()) return;
    *this = empty() ? other : KeyRange{std::min(begin, other.begin), std::max(end, other.end)};
  }
};

// What the rules (causal, window, sink tokens, prefix, lengths) let one query see: kept keys at the
// start, and those near its own position. Masks may hide some of them.
struct VisibleKeys {
  KeyRange kept, near;
};
VisibleKeys RuleKeys(const AttentionPlan& plan, size_t b, const Sequence& sequence, size_t i);

// Whether rows may see keys on both sides of one that they do not see.
bool MayHaveHoles(const AttentionPlan& plan);

// Bit j of `bits` for key first + j of a block: cleared where a mask hides it from query i. Only
// bits that are set are looked at.
void ApplyMasks(const AttentionPlan& plan, size_t b, const Sequence& sequence, size_t head,
                size_t i, size_t first, uint64_t* bits);

}  // namespace heed
