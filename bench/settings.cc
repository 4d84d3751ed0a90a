#include "bench/settings.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <regex>

#include "bench/simulate.h"
#include "heed/info.hpp"

namespace heed::bench {
namespace {

std::string CheckTarget(const std::string& value) {
  constexpr size_t kMaxTargets = 64;
  const char* names[kMaxTargets];
  const size_t count = std::min(supported_targets(names, kMaxTargets), kMaxTargets);
  std::string all;
  for (size_t i = 0; i < count; ++i) {
    if (value == names[i]) return "";
    all += all.empty() ? names[i] : std::string(", ") + names[i];
  }
  return "\"" + value + "\" is none of this CPU's and binary's targets: " + all;
}

std::string CheckFilter(const std::string& value) {
  try {
    const std::regex regex(value);
    return "";
  } catch (const std::regex_error&) {
    return "\"" + value + "\" is not a regular expression";
  }
}

// Before minutes of measurements rather than after; the file itself is not touched.
std::string CheckWritable(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_type kind = fs::status(path, error).type();
  fs::path folder = fs::path(path).parent_path();
  if (folder.empty()) folder = ".";
  if ((kind == fs::file_type::regular || kind == fs::file_type::not_found) &&
      fs::is_directory(folder, error) && ::access(folder.c_str(), W_OK) == 0 && !path.empty()) {
    return "";
  }
  return "\"" + path + "\" cannot be written";
}

// 1, 2, 4 ... and all.
std::vector<size_t> DefaultThreads(size_t num_cpus) {
  std::vector<size_t> threads;
  for (size_t n = 1; n < num_cpus; n *= 2) threads.push_back(n);
  threads.push_back(num_cpus);
  return threads;
}

void AddOptions(CLI::App* app, Settings* settings) {
  constexpr size_t kMaxThreads = 4096;  // as Context's
  app->set_version_flag("--version", std::string("heed-bench ") + version());
  app->add_option("--target", settings->target, "instruction set, as heed info names it [the best]")
      ->check(CheckTarget);
  app->add_option("--threads", settings->threads,
                  "numbers of threads, as in 1,2,8 [1, 2, 4 .. all]")
      ->delimiter(',')
      ->check(CLI::Range(size_t{1}, kMaxThreads));
  app->add_option("--filter", settings->filter,
                  "regular expression that a part of a case's name matches; also finds cases that "
                  "are not run by default")
      ->check(CheckFilter);
  app->add_flag("--quick", settings->quick, "fewer cases and repetitions: some 20 seconds");
  app->add_flag("--list", settings->list, "name the cases, run none ('--list --filter .': all)");
  app->add_option("--json", settings->json, "write every repetition, in Google Benchmark's format")
      ->check(CheckWritable);
  app->add_option("--html", settings->html, "write a report with pictures")->check(CheckWritable);
  app->add_option("--simulate-cores", settings->simulate_cores,
                  "instead: how evenly heed's tasks would load so many cores")
      ->check(CLI::Range(size_t{1}, kMaxSimulatedCores));
}

}  // namespace

std::optional<Settings> parse_settings(int argc, char** argv, size_t num_cpus, int* exit_code) {
  Settings settings;
  CLI::App app(
      "heed-bench: heed's operations as shares of this machine's peak and read bandwidth, beside "
      "other libraries.\n'heed-bench compare A.json B.json ...' puts results side by side.",
      "heed-bench");
  AddOptions(&app, &settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    *exit_code = 0;
    if (error.get_exit_code() == 0)
      app.exit(error);  // --help, --version
    else {
      std::fprintf(stderr, "heed-bench: %s (heed-bench --help lists the options)\n", error.what());
      *exit_code = 2;
    }
    return std::nullopt;
  }
  settings.all_threads = !settings.threads.empty();
  if (settings.threads.empty()) settings.threads = DefaultThreads(num_cpus);
  std::sort(settings.threads.begin(), settings.threads.end());
  settings.threads.erase(std::unique(settings.threads.begin(), settings.threads.end()),
                         settings.threads.end());
  return settings;
}

}  // namespace heed::bench
