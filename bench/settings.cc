#include "bench/settings.h"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "bench/simulate.h"
#include "heed/info.hpp"

namespace heed::bench {
namespace {

std::string check_target(const std::string& value) {
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

// 1, 2, 4 ... and all.
std::vector<size_t> default_threads(size_t num_cpus) {
  std::vector<size_t> threads;
  for (size_t n = 1; n < num_cpus; n *= 2) threads.push_back(n);
  threads.push_back(num_cpus);
  return threads;
}

void add_options(CLI::App* app, Settings* settings) {
  constexpr size_t kMaxThreads = 4096;  // as Context's
  app->set_version_flag("--version", std::string("heed-bench ") + version());
  app->add_option("--target", settings->target, "instruction set, as heed info names it [the best]")
      ->check(check_target);
  app->add_option("--threads", settings->threads,
                  "numbers of threads, as in 1,2,8 [1, 2, 4 .. all]")
      ->delimiter(',')
      ->check(CLI::Range(size_t{1}, kMaxThreads));
  app->add_flag("--quick", settings->quick,
                "fewer cases and repetitions: some 20 seconds; with a filter the quick cases that "
                "match, or all that match where none is quick");
  Output& output = settings->output;
  // Files are checked before minutes of measurements rather than after.
  app->add_option("--html", output.html, "write a report with pictures")->check(check_writable);
  app->add_option("--simulate-cores", settings->simulate_cores,
                  "instead: how evenly heed's tasks would load so many cores")
      ->check(CLI::Range(size_t{1}, kMaxSimulatedCores));
  // Google Benchmark would write a file for each problem: these three are read here.
  const CLI::IsMember formats({"console", "json", "csv"});
  app->add_option("--benchmark_format", output.format, "of standard output; console: our tables")
      ->envname("BENCHMARK_FORMAT")
      ->check(formats);
  app->add_option("--benchmark_out", output.file, "write all repetitions to this file")
      ->envname("BENCHMARK_OUT")
      ->check(check_writable);
  app->add_option("--benchmark_out_format", output.file_format, "of that file [json]")
      ->envname("BENCHMARK_OUT_FORMAT")
      ->check(formats);
}

constexpr const char* kRepetitions = "--benchmark_repetitions";

// Google Benchmark reads its flags, ours before and after the user's: the last one counts. False
// after a sentence about one that is nobody's.
bool pass_on(const char* program, const std::vector<std::string>& rest) {
  std::vector<std::string> flags = {program, "--benchmark_enable_random_interleaving=true",
                                    "--benchmark_min_time=0.002"};
  flags.insert(flags.end(), rest.begin(), rest.end());
  flags.insert(flags.end(), {"--benchmark_out=", "--benchmark_display_aggregates_only=false"});
  // For ever: Google Benchmark keeps a pointer to the program's name.
  static std::vector<std::string> kept;
  kept = std::move(flags);
  std::vector<char*> arguments;
  for (std::string& flag : kept) arguments.push_back(flag.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count == 1) return true;
  std::fprintf(stderr, "heed-bench: \"%s\" is no flag (heed-bench --help lists them)\n",
               arguments[1]);
  return false;
}

bool repetitions_given(const std::vector<std::string>& flags) {
  return std::getenv("BENCHMARK_REPETITIONS") != nullptr ||
         std::any_of(flags.begin(), flags.end(),
                     [](const std::string& flag) { return flag.rfind(kRepetitions, 0) == 0; });
}

}  // namespace

std::string check_writable(const std::string& path) {
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

std::optional<Settings> parse_settings(int argc, char** argv, size_t num_cpus, int* exit_code) {
  Settings settings;
  CLI::App app(
      "heed-bench: heed's operations as shares of this machine's peak and read bandwidth, beside "
      "other libraries.\n'heed-bench compare A.json B.json ...' puts results side by side.\n"
      "Cases that --benchmark_filter names are run even where they are not by default; "
      "--benchmark_filter=all runs every one. Without --benchmark_repetitions a case is repeated "
      "for a fixed time.",
      "heed-bench");
  app.allow_extras();
  add_options(&app, &settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    *exit_code = 0;
    if (error.get_exit_code() == 0) {
      app.exit(error);  // --help, --version
      const bool help = dynamic_cast<const CLI::CallForHelp*>(&error) != nullptr;
      if (help)
        std::fputs("\nGoogle Benchmark's own flags, where not said otherwise above:\n", stdout);
      std::fflush(stdout);
      if (help) benchmark::PrintDefaultHelp();
    } else {
      std::fprintf(stderr, "heed-bench: %s (heed-bench --help lists the flags)\n", error.what());
      *exit_code = 2;
    }
    return std::nullopt;
  }
  const std::vector<std::string> rest = app.remaining();
  settings.repetitions_given = repetitions_given(rest);
  if (!pass_on(argv[0], rest)) {
    *exit_code = 2;
    return std::nullopt;
  }
  settings.all_threads = !settings.threads.empty();
  if (settings.threads.empty()) settings.threads = default_threads(num_cpus);
  std::sort(settings.threads.begin(), settings.threads.end());
  settings.threads.erase(std::unique(settings.threads.begin(), settings.threads.end()),
                         settings.threads.end());
  return settings;
}

}  // namespace heed::bench
