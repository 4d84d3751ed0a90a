// heed check: whether this machine computes the bits on record, and agrees with oneDNN.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tools/command.h"
#include "tools/conformance/corpus.h"
#include "tools/cpu_info.h"
#include "tools/onednn_check.h"
#include "tools/onednn_layer.h"

namespace heed::tools {
namespace {

struct CheckArguments {
  std::string target;  // empty: all
  bool flip_a_bit = false;
};

struct Tally {
  void count(bool good) { ++(good ? passed : failed); }

  size_t passed = 0, failed = 0;
};

void print_machine(const std::vector<std::string>& targets) {
  std::string names;
  for (const std::string& name : targets) names += (names.empty() ? "" : " ") + name;
  std::printf("heed     %s, numerics version %d\n", version(), static_cast<int>(kNumericsVersion));
  std::printf("CPU      %s\n", cpu_model().c_str());
  std::printf("targets  %s\n", names.c_str());
  std::printf("family   %s, of %s\n\n", name_of(family(targets.front().c_str())),
              targets.front().c_str());
}

void print_failure(const bits::GroupResult& result) {
  if (!result.status.ok()) {
    std::printf("    %s: refused: %s\n", result.name.c_str(), result.status.message());
  } else {
    std::printf("    %s: %016" PRIx64 ", on record is %016" PRIx64 "\n", result.name.c_str(),
                result.digest, result.recorded);
  }
}

// One line for a target, and one for each group that differs.
Status check_bits(const std::string& target, bool flip_a_bit, Tally* tally) {
  const auto start = std::chrono::steady_clock::now();
  const auto results = bits::ComputeCorpus(target.c_str(), flip_a_bit);
  if (!results.ok()) return results.status();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Tally here;
  for (const bits::GroupResult& result : *results) here.count(result.passed());
  std::printf("  %-14s %-13s %zu of %zu as recorded  %016" PRIx64 "  %.2f s\n", target.c_str(),
              name_of(family(target.c_str())), here.passed, results->size(),
              bits::DigestOf(*results), seconds.count());
  for (const bits::GroupResult& result : *results) {
    if (!result.passed()) print_failure(result);
  }
  std::fflush(stdout);
  tally->passed += here.passed;
  tally->failed += here.failed;
  return Status();
}

Status check_onednn(const std::string& target, Tally* tally) {
  if (!onednn_available()) {
    std::printf("\noneDNN: this heed was built without it, nothing to compare with\n");
    return Status();
  }
  std::printf("\noneDNN: largest difference on %s, as a share of the largest result\n",
              target.c_str());
  Context context({.target = target.c_str()});
  const Result<std::vector<CrossCheck>> checks = cross_check(context);
  if (!checks.ok()) return checks.status();
  for (const CrossCheck& check : *checks) {
    std::printf("  %-44s %.1e, bound %.0e: %s\n", check.problem.c_str(), check.relative,
                check.bound, check.passed() ? "passed" : "FAILED");
    tally->count(check.passed());
  }
  return Status();
}

int check(const CheckArguments& arguments) {
  const std::vector<std::string> targets =
      arguments.target.empty() ? bits::TargetNames() : std::vector{arguments.target};
  const Context context({.num_threads = 1, .target = targets.front().c_str()});
  if (!context.status().ok()) return refused(context.status());
  print_machine(targets);
  std::printf("bits: groups of fixed problems, compared with the digests on record\n");
  Tally tally;
  for (const std::string& target : targets) {
    if (const Status s = check_bits(target, arguments.flip_a_bit, &tally); !s.ok()) {
      return refused(s);
    }
  }
  if (const Status s = check_onednn(targets.front(), &tally); !s.ok()) return refused(s);
  std::printf("\n%zu passed, %zu failed\n", tally.passed, tally.failed);
  return tally.failed == 0 ? kDone : kCheckFailed;
}

}  // namespace

Action add_check(CLI::App* app) {
  CLI::App* command =
      app->add_subcommand("check", "whether this machine computes the bits on record");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_option("--target", arguments->target,
                      "one instruction set, as heed info names it [all of this CPU]");
  command->add_flag("--flip-a-bit", arguments->flip_a_bit,
                    "flip a bit of each group's results, to see the check fail");
  return [arguments] { return check(*arguments); };
}

}  // namespace heed::tools
