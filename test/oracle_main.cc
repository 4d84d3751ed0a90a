// heed-oracle: runs golden attention cases and says how far heed's results are from float64.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "test/oracle.h"

namespace heed::oracle {
namespace {

namespace fs = std::filesystem;

constexpr int kBadInput = 2;

// The cases of a directory: its *.safetensors and what its cases.txt lists, so that a lost file is
// noticed.
std::set<fs::path> cases_in(const std::string& dir) {
  std::set<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (entry.path().extension() == ".safetensors") files.insert(entry.path());
  }
  std::ifstream list(fs::path(dir) / "cases.txt");
  for (std::string name; std::getline(list, name);) {
    if (!name.empty()) files.insert(fs::path(dir) / name);
  }
  return files;
}

struct Tally {
  size_t passed = 0;
  size_t failed = 0;
  bool unreadable = false;
};

void run_case(const fs::path& path, Context& context, Tally& tally) {
  const std::string name = path.stem().string();
  auto file = tools::Safetensors::load(path.string());
  if (!file.ok()) {
    std::fprintf(stderr, "heed-oracle: %s\n", file.status().message());
    tally.unreadable = true;
    ++tally.failed;
    return;
  }
  const Outcome outcome = judge(*file, context);
  const char* verdict = "";
  switch (outcome.verdict) {
    case Verdict::kPassed:
      verdict = "pass";
      ++tally.passed;
      break;
    case Verdict::kFailed:
      verdict = "FAIL";
      ++tally.failed;
      break;
  }
  std::printf("%s %s: %s\n", verdict, name.c_str(), outcome.text.c_str());
}

int run(const std::vector<std::string>& dirs, const ContextOptions& options) {
  Context context(options);
  if (!context.status().ok()) {
    std::fprintf(stderr, "heed-oracle: %s\n", context.status().message());
    return kBadInput;
  }
  std::vector<fs::path> files;
  for (const std::string& dir : dirs) {
    const std::set<fs::path> found = cases_in(dir);
    if (found.empty()) {
      std::fprintf(stderr, "heed-oracle: %s: no directory with *.safetensors cases\n", dir.c_str());
      return kBadInput;
    }
    files.insert(files.end(), found.begin(), found.end());
  }
  Tally tally;
  for (const fs::path& path : files) run_case(path, context, tally);
  std::printf("%zu passed, %zu failed, 0 skipped\n", tally.passed, tally.failed);
  if (tally.unreadable) return kBadInput;
  return tally.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace heed::oracle

int main(int argc, char** argv) {
  CLI::App app(
      "Runs golden attention cases (safetensors) and compares heed with their float64 results.\n"
      "Exit status: 0 all passed, 1 a case failed, 2 bad usage or an unreadable file.",
      "heed-oracle");
  std::vector<std::string> dirs;
  size_t threads = 0;
  std::string target;
  app.add_option("DIR", dirs, "directories of cases")->required();
  app.add_option("--threads", threads, "threads; 0: as many as OpenMP would use")
      ->check([](const std::string& text) {  // CLI11 alone takes -1 for a huge size_t
        return text.find_first_not_of("0123456789") == std::string::npos
                   ? std::string()
                   : "must be a whole number, 0 or more, not " + text;
      });
  app.add_option("--target", target, "instruction set, as `heed info` spells it");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : heed::oracle::kBadInput;
  }
  heed::ContextOptions options;
  options.num_threads = threads;
  if (!target.empty()) options.target = target.c_str();
  return heed::oracle::run(dirs, options);
}
