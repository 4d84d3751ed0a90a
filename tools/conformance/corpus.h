// The corpus: thousands of small problems over all that heed computes, in groups, and the digests
// that their results have on every processor. It needs heed and the C++ library alone: no files, no
// exceptions, no threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "heed/context.hpp"
#include "heed/info.hpp"
#include "heed/status.hpp"

namespace heed::bits {

struct GroupResult {
  bool passed() const { return status.ok() && digest == recorded; }

  std::string name;  // of the group, and how it was computed where that is special
  Status status;     // the first refusal, of a call that must succeed
  uint64_t digest = 0;
  uint64_t recorded = 0;  // for the family of the context's target
};

// Names of the instruction sets of this CPU, best first.
std::vector<std::string> TargetNames();

size_t NumGroups();
const char* GroupName(size_t group);

GroupResult ComputeGroup(size_t group, Context& context, bool flip_a_bit = false);

// Every group on one target, then those with work for several threads once more with three.
// Errors: an unknown target.
Result<std::vector<GroupResult>> ComputeCorpus(const char* target, bool flip_a_bit = false);

// One digest of the digests.
uint64_t DigestOf(std::span<const GroupResult> results);

// The record as record.h spells it, its digests computed anew for the families this CPU has.
// Errors: a problem was refused.
Result<std::string> RecordText();

}  // namespace heed::bits
