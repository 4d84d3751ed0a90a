#include "tools/conformance/corpus.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "heed/numerics.hpp"
#include "tools/conformance/digest.h"
#include "tools/conformance/groups.h"
#include "tools/conformance/record.h"

namespace heed::bits {
namespace {

static_assert(kRecordedVersion == kNumericsVersion,
              "a new numerics version has other bits: record them with heed-bits --record");

struct Group {
  const char* name;
  void (*compute)(Run& run);
  bool threads = false;  // large enough for more than one
};

constexpr Group kGroups[] = {
    {"matmul", Matmul},
    {"matmul, any strides", StridedMatmul},
    {"matmul, packed", PackedMatmul},
    {"matmul, packed f16 and bf16", Packed16BitMatmul},
    {"matmul, larger", LargerMatmul, true},
    {"matmul, 16-bit operands", Matmul16BitOperands},
    {"matmul, packed int8", PackedInt8Matmul},
    {"matmul, packed int4", PackedInt4Matmul},
    {"matmul, int16", Int16Matmul},
    {"matmul, saved", SavedMatmul},
    {"matmul, GGUF blocks", Gguf},
    {"convert", Convert},
    {"quantize, int8", QuantizeInt8},
    {"quantize, int4", QuantizeInt4},
    {"hadamard", Hadamard},
    {"softmax", Softmax},
    {"exp2", Exp2},
    {"tanh", Tanh},
    {"rope, half", RopeHalf},
    {"rope, interleaved", RopeInterleaved},
    {"rope, scaled", RopeScaled},
    {"attention, head_dim 1 to 256", HeadDims},
    {"attention, grouped heads", GroupedHeads},
    {"attention, any strides", AnyStrides},
    {"attention, causal", Causal},
    {"attention, window", Window},
    {"attention, prefix_lens", Prefix},
    {"attention, kv_lens", KvLens},
    {"attention, key_mask", KeyMask},
    {"attention, boolean mask", BooleanMask},
    {"attention, additive mask", AdditiveMask},
    {"attention, tree_mask", TreeMask},
    {"attention, scale and soft cap", ScaleAndSoftCap},
    {"attention, ALiBi", Alibi},
    {"attention, sinks", Sinks},
    {"attention, dropout", Dropout},
    {"attention, weights and key_scores", WeightsAndKeyScores},
    {"attention, log-sum-exp", LogSumExp},
    {"attention, rows that see nothing", UnseenRows},
    {"attention, identical keys", IdenticalKeys},
    {"attention, large logits", LargeLogits},
    {"attention, packed batch", PackedBatch},
    {"attention, paged", Paged},
    {"attention, cache in chunks", Cache},
    {"attention, ring cache", Ring},
    {"attention, long keys", LongKeys, true},
    {"attention, parts merged", Parts, true},
    {"attention, results merged", MergedResults},
    {"attention, options mixed", Mixtures},
    {"attention, 16-bit tensors", Tensors16Bit},
    {"attention, int8 and int4 tensors", TensorsQuantized},
    {"attention, cache of 16 bits", Cache16Bit},
    {"attention, cache of int8 and int4", CacheQuantized},
    {"attention, values in keys", ValuesInKeys},
    {"attention, pages of stored types", PagesStored},
    {"attention, int16, tensors", Int16Tensors},
    {"attention, int16, cache", Int16Cache, true},
    {"attention, int16, values in keys", Int16ValuesInKeys},
    {"attention, int16, pages", Int16Pages},
    {"layer", Layer},
    {"layer, norms", LayerNorms},
    {"layer, rope", LayerRope},
    {"layer, options mixed", LayerOptions},
    {"layer, options of a call", LayerCallOptions},
    {"layer, cache in chunks", LayerCache},
    {"layer, stored weights and cache", StoredLayer},
    {"layer, Hadamard turn", HadamardLayer},
    {"layer, in int16", Int16Layer},
    {"subnormals", Subnormals},
};

uint64_t RecordedDigest(const char* group, Family family) {
  for (const Recorded& recorded : kRecord) {
    if (std::strcmp(recorded.group, group) == 0) {
      return family == Family::kFma ? recorded.fma : recorded.multiply_add;
    }
  }
  return 0;
}

// A group's inputs follow from its name, so that a new group leaves the others alone.
uint64_t SeedOf(const char* group) {
  Digest digest;
  for (; *group != '\0'; ++group) digest.Add(static_cast<unsigned char>(*group), 1);
  return digest.value();
}

// The first target of a family, empty when this CPU has none.
std::string TargetOf(Family wanted) {
  for (const std::string& name : TargetNames()) {
    if (family(name.c_str()) == wanted) return name;
  }
  return "";
}

// The digests of all groups in one family; those on record where this CPU can't compute them.
Result<std::vector<uint64_t>> DigestsOf(Family family) {
  const std::string target = TargetOf(family);
  std::vector<uint64_t> digests;
  Context context({.num_threads = 1, .target = target.empty() ? nullptr : target.c_str()});
  for (size_t group = 0; group < NumGroups(); ++group) {
    if (target.empty()) {
      digests.push_back(RecordedDigest(GroupName(group), family));
      continue;
    }
    const GroupResult result = ComputeGroup(group, context);
    if (!result.status.ok()) return result.status;
    digests.push_back(result.digest);
  }
  return digests;
}

}  // namespace

std::vector<std::string> TargetNames() {
  const char* names[64];
  const size_t count = std::min(supported_targets(names, std::size(names)), std::size(names));
  return std::vector<std::string>(names, names + count);
}

size_t NumGroups() { return std::size(kGroups); }

const char* GroupName(size_t group) { return kGroups[group].name; }

GroupResult ComputeGroup(size_t group, Context& context, bool flip_a_bit) {
  Run run(context, SeedOf(kGroups[group].name), flip_a_bit);
  kGroups[group].compute(run);
  GroupResult result;
  result.name = kGroups[group].name;
  result.status = run.status();
  result.digest = run.digest();
  result.recorded = RecordedDigest(kGroups[group].name, family(context.target()));
  return result;
}

Result<std::vector<GroupResult>> ComputeCorpus(const char* target, bool flip_a_bit) {
  Context one({.num_threads = 1, .target = target});
  Context three({.num_threads = 3, .target = target});
  if (!one.status().ok()) return one.status();
  std::vector<GroupResult> results;
  for (size_t group = 0; group < NumGroups(); ++group) {
    results.push_back(ComputeGroup(group, one, flip_a_bit));
    if (!kGroups[group].threads) continue;
    results.push_back(ComputeGroup(group, three, flip_a_bit));
    results.back().name += ", 3 threads";
  }
  return results;
}

uint64_t DigestOf(std::span<const GroupResult> results) {
  Digest digest;
  for (const GroupResult& result : results) digest.Add(result.digest, sizeof(result.digest));
  return digest.value();
}

Result<std::string> RecordText() {
  const Result<std::vector<uint64_t>> fma = DigestsOf(Family::kFma);
  if (!fma.ok()) return fma.status();
  const Result<std::vector<uint64_t>> multiply_add = DigestsOf(Family::kMultiplyAdd);
  if (!multiply_add.ok()) return multiply_add.status();
  std::string text =
      "// The digests of the corpus, as heed-bits --record prints them.\n#pragma once\n\n"
      "#include <cstdint>\n\nnamespace heed::bits {\n\n";
  text += "inline constexpr int32_t kRecordedVersion = " + std::to_string(kNumericsVersion) + ";\n";
  text += "\nstruct Recorded {\n  const char* group;\n  uint64_t fma, multiply_add;\n};\n";
  text += "\ninline constexpr Recorded kRecord[] = {\n";
  for (size_t group = 0; group < NumGroups(); ++group) {
    char line[160];
    std::snprintf(line, sizeof(line), "    {\"%s\", 0x%016" PRIX64 ", 0x%016" PRIX64 "},\n",
                  GroupName(group), (*fma)[group], (*multiply_add)[group]);
    text += line;
  }
  return text + "};\n\n}  // namespace heed::bits\n";
}

}  // namespace heed::bits
