#include "bench/settings.h"

#include <benchmark/benchmark.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "heed/info.hpp"

namespace heed::bench {
namespace {

void PrintHelp() {
  std::printf(
      "heed-bench: heed's operations as shares of this machine's peak and read bandwidth,\n"
      "beside other libraries\n"
      "usage: heed-bench [--threads N] [--target NAME] [flags of Google Benchmark]\n"
      "       heed-bench --simulate-cores N\n"
      "  --threads N    run with N threads only (default: with 1, then with all CPUs)\n"
      "  --target NAME  instruction set, as `heed info` names it (default: the best one)\n"
      "  --simulate-cores N  how evenly heed's tasks would load N cores, alone on the line\n"
      "  --benchmark_filter=REGEX        for example 'prefill.*threads:1/'\n"
      "  --benchmark_out=FILE            every repetition, as JSON\n\n");
  benchmark::PrintDefaultHelp();
}

// The value of `flag` at argv[*i], given as --flag=value or as the next argument; nullptr: another
// flag.
const char* ValueOf(std::string_view flag, int argc, char** argv, int* i) {
  const std::string_view arg = argv[*i];
  if (arg.substr(0, flag.size()) != flag) return nullptr;
  if (arg.size() > flag.size() && arg[flag.size()] == '=') return argv[*i] + flag.size() + 1;
  if (arg.size() == flag.size()) return *i + 1 < argc ? argv[++*i] : "";
  return nullptr;
}

Status ReadThreads(const char* value, std::vector<size_t>* threads) {
  constexpr size_t kMaxThreads = 4096;  // as Context's
  const std::string_view text = value;
  size_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 1 || n > kMaxThreads) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--threads is \"%s\" but must be a number from 1 to %zu", value,
                         kMaxThreads);
  }
  *threads = {n};
  return Status();
}

Status ReadTarget(const char* value, std::string* target) {
  constexpr size_t kMaxTargets = 64;
  const char* names[kMaxTargets];
  const size_t count = supported_targets(names, kMaxTargets);
  std::string all;
  for (size_t i = 0; i < count && i < kMaxTargets; ++i) {
    if (std::string_view(names[i]) == value) {
      *target = value;
      return Status();
    }
    all += all.empty() ? names[i] : std::string(", ") + names[i];
  }
  return Status::Error(StatusCode::kInvalidArgument,
                       "--target is \"%s\" but this CPU and binary have %s", value, all.c_str());
}

// Google Benchmark answers a wrong format with its help and success; here it is an error.
Status ReadFormat(const char* flag, std::string_view value) {
  if (value == "console" || value == "json" || value == "csv") return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "%s is \"%.*s\" but must be console, json or csv", flag,
                       static_cast<int>(value.size()), value.data());
}

// Google Benchmark notices only after the measurements.
Status CheckWritable(const char* path) {
  std::FILE* file = std::fopen(path, "a");
  if (file == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--benchmark_out is \"%s\" but cannot be written", path);
  }
  std::fclose(file);
  return Status();
}

Status ReadGoogleFlags(int argc, char** argv, Settings* settings) {
  constexpr std::string_view kOut = "--benchmark_out=";
  for (int i = 1; i < argc; ++i) {
    for (const char* flag : {"--benchmark_format", "--benchmark_out_format"}) {
      const std::string prefix = std::string(flag) + "=";
      const std::string_view arg = argv[i];
      if (arg.substr(0, prefix.size()) != prefix) continue;
      const std::string_view value = arg.substr(prefix.size());
      if (Status s = ReadFormat(flag, value); !s.ok()) return s;
      if (prefix == "--benchmark_format=") settings->own_report = value == "console";
    }
    const std::string_view arg = argv[i];
    if (arg.substr(0, kOut.size()) == kOut) {
      if (Status s = CheckWritable(argv[i] + kOut.size()); !s.ok()) return s;
    }
    if (arg == "--benchmark_list_tests" || arg == "--benchmark_list_tests=true") {
      settings->list_only = true;
    }
  }
  return Status();
}

}  // namespace

Result<Settings> parse_settings(int argc, char** argv, size_t num_cpus) {
  Settings settings;
  settings.threads = {1};
  if (num_cpus > 1) settings.threads.push_back(num_cpus);
  if (Status s = ReadGoogleFlags(argc, argv, &settings); !s.ok()) return s;

  // Defaults that flags of the user, which come later, overrule: many short repetitions, because on
  // a machine that is never quiet the best of many is what repeats.
  std::string repetitions = "--benchmark_repetitions=10", min_time = "--benchmark_min_time=0.03";
  std::vector<char*> args{argv[0], repetitions.data(), min_time.data()};
  args.insert(args.end(), argv + 1, argv + argc);
  int count = static_cast<int>(args.size());
  args.push_back(nullptr);
  benchmark::Initialize(&count, args.data(), PrintHelp);

  for (int i = 1; i < count; ++i) {
    Status status;
    if (const char* threads = ValueOf("--threads", count, args.data(), &i)) {
      status = ReadThreads(threads, &settings.threads);
    } else if (const char* target = ValueOf("--target", count, args.data(), &i)) {
      status = ReadTarget(target, &settings.target);
    } else {
      status = Status::Error(StatusCode::kInvalidArgument,
                             "\"%s\" is not a flag of heed-bench (see --help)",
                             args[static_cast<size_t>(i)]);
    }
    if (!status.ok()) return status;
  }
  return settings;
}

}  // namespace heed::bench
