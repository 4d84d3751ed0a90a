#include "tools/conformance/command.h"

#include <cinttypes>
#include <cstdio>

#include "heed/numerics.hpp"
#include "tools/conformance/corpus.h"
#include "tools/conformance/instruction_set.h"

namespace heed::bits {
namespace {

constexpr char kUsage[] =
    "usage: heed-bits [OPTION]...\n"
    "Computes a fixed corpus of problems on each instruction set of this CPU and compares the "
    "bits\n"
    "with those on record for its family. A group on an instruction set counts as one.\n"
    "  --target NAME  on this instruction set alone\n"
    "  --list         the instruction sets of this CPU, best first, and nothing else\n"
    "  --record       record.h with the digests as they are now, and nothing else\n"
    "  --flip-a-bit   flips a bit of each group's results: all must fail\n";

struct Arguments {
  bool understood = true, help = false, list = false, record = false, flip_a_bit = false;
  std::string target;
};

Arguments Parse(const std::vector<std::string>& all) {
  Arguments parsed;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == "--help") {
      parsed.help = true;
    } else if (all[i] == "--list") {
      parsed.list = true;
    } else if (all[i] == "--record") {
      parsed.record = true;
    } else if (all[i] == "--flip-a-bit") {
      parsed.flip_a_bit = true;
    } else if (all[i] == "--target" && i + 1 < all.size()) {
      parsed.target = all[++i];
    } else {
      parsed.understood = false;
    }
  }
  return parsed;
}

int Refuse(const Status& status) {
  std::fprintf(stderr, "heed-bits: %s\n", status.message());
  return 2;
}

void Print(const GroupResult& result) {
  std::printf("  %-42s %016" PRIx64, result.name.c_str(), result.digest);
  if (!result.status.ok()) {
    std::printf("  FAILED: %s\n", result.status.message());
  } else if (!result.passed()) {
    std::printf("  FAILED: on record is %016" PRIx64 "\n", result.recorded);
  } else {
    std::printf("\n");
  }
}

int Compare(const std::vector<std::string>& targets, bool flip_a_bit) {
  size_t passed = 0, failed = 0;
  std::printf("heed %s, numerics version %d\n", version(), static_cast<int>(kNumericsVersion));
  for (const std::string& target : targets) {
    const auto results = ComputeCorpus(target.c_str(), flip_a_bit);
    if (!results.ok()) return Refuse(results.status());
    std::printf("%s, family %s, vectors of %zu bits\n", target.c_str(),
                name_of(family(target.c_str())), VectorBits(target));
    for (const GroupResult& result : *results) {
      Print(result);
      ++(result.passed() ? passed : failed);
    }
    std::printf("  %-42s %016" PRIx64 "\n", "all", DigestOf(*results));
    std::fflush(stdout);  // emulators are slow
  }
  std::printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

int PrintRecord() {
  const Result<std::string> text = RecordText();
  if (!text.ok()) return Refuse(text.status());
  std::printf("%s", text->c_str());
  return 0;
}

}  // namespace

int RunCommand(const std::vector<std::string>& arguments) {
  const Arguments parsed = Parse(arguments);
  if (!parsed.understood || parsed.help) {
    std::fprintf(parsed.help ? stdout : stderr, "%s", kUsage);
    return parsed.help ? 0 : 2;
  }
  if (parsed.record) return PrintRecord();
  if (parsed.list) {
    for (const std::string& target : TargetNames()) std::printf("%s\n", target.c_str());
    return 0;
  }
  return Compare(parsed.target.empty() ? TargetNames() : std::vector{parsed.target},
                 parsed.flip_a_bit);
}

}  // namespace heed::bits
