#include "bench/report.h"

#include <algorithm>
#include <cstdio>

#include "bench/library.h"

namespace heed::bench {
namespace {

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::string Duration(double seconds) {
  if (seconds >= 1) return Format("%.2f s ", seconds);
  if (seconds >= 1e-3) return Format("%.2f ms", seconds * 1e3);
  return Format("%.2f us", seconds * 1e6);
}

std::string BuildDescription() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("GCC ") + __VERSION__;
#else
  return "unknown compiler";
#endif
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Why a run has no result, or nullptr. Google Benchmark renamed this in 1.8.
template <class R>
const char* ErrorOf(const R& run) {
  if constexpr (requires { run.error_occurred; }) {
    return run.error_occurred ? run.error_message.c_str() : nullptr;
  } else {
    return run.skipped ? run.skip_message.c_str() : nullptr;
  }
}

using RunList = std::vector<const benchmark::BenchmarkReporter::Run*>;

std::vector<double> ValuesOf(const RunList& runs, const char* counter) {
  std::vector<double> values;
  for (const auto* run : runs) {
    const auto found = run->counters.find(counter);
    if (found != run->counters.end()) values.push_back(found->second.value);
  }
  return values;
}

// The largest value of a counter, or a dash.
std::string Best(const RunList& runs, const char* counter, const char* format) {
  const std::vector<double> values = ValuesOf(runs, counter);
  return values.empty() ? "-" : Format(format, *std::max_element(values.begin(), values.end()));
}

// The median of a counter, or a dash.
std::string Middle(const RunList& runs, const char* counter, const char* format) {
  const std::vector<double> values = ValuesOf(runs, counter);
  return values.empty() ? "-" : Format(format, Median(values));
}

}  // namespace

Facts describe_run(const Settings& settings, const Machine& machine) {
  const char* best[1] = {"?"};
  supported_targets(best, 1);
  const std::string target = settings.target.empty() ? best[0] : settings.target;
  Facts facts{{"heed", version()},
              {"compiler", BuildDescription()},
              {"cpu", machine.cpu + ", " + std::to_string(machine.num_cpus) + " in use"},
              {"target", target + " (" + name_of(family(target.c_str())) + " family)"}};
#if defined(HEED_BENCH_ONEDNN)
  facts.emplace_back("onednn", onednn_version());
#endif
#if defined(HEED_BENCH_OPENBLAS)
  facts.emplace_back("openblas", openblas_version());
#endif
  for (const Limits& limits : machine.limits) {
    facts.emplace_back("threads:" + std::to_string(limits.threads),
                       "peak " + Format("%.1f GFLOP/s", limits.flops / 1e9) + ", reads " +
                           Format("%.1f GB/s", limits.bytes_read / 1e9));
  }
  return facts;
}

bool TableReporter::ReportContext(const Context& context) {
  const std::string suffix = "/real_time";
  name_width_ = std::max(context.name_field_width, suffix.size() + 9) - suffix.size();
  for (const auto& [name, value] : facts_) std::printf("%-10s %s\n", name.c_str(), value.c_str());
  std::printf(
      "\nRates are those of the best repetition. Operands of prefill, softmax and small products "
      "stay in caches,\nso their share of the read bandwidth may pass 1. 'vs causal' is the cost "
      "of a visible key beside plain causal\nattention in turn with it.\n\n%-*s %11s %11s %8s %8s "
      "%8s %8s %9s\n",
      static_cast<int>(name_width_), "benchmark", "best", "median", "GFLOP/s", "of peak", "GB/s",
      "of reads", "vs causal");
  std::fflush(stdout);
  return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
  std::vector<const Run*> repetitions;
  std::vector<double> seconds;
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration) continue;
    if (const char* error = ErrorOf(run)) {
      std::printf("%-*s failed: %s\n", static_cast<int>(name_width_),
                  run.run_name.function_name.c_str(), error);
      std::fflush(stdout);
      return;
    }
    repetitions.push_back(&run);
    seconds.push_back(run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit));
  }
  if (repetitions.empty()) return;
  std::printf("%-*s %11s %11s %8s %8s %8s %8s %9s\n", static_cast<int>(name_width_),
              runs.front().run_name.function_name.c_str(),
              Duration(*std::min_element(seconds.begin(), seconds.end())).c_str(),
              Duration(Median(seconds)).c_str(), Best(repetitions, "GFLOP/s", "%.1f").c_str(),
              Best(repetitions, "of_peak", "%.2f").c_str(),
              Best(repetitions, "GB/s", "%.1f").c_str(),
              Best(repetitions, "of_bandwidth", "%.2f").c_str(),
              Middle(repetitions, "vs_causal", "%.2f").c_str());
  std::fflush(stdout);
}

}  // namespace heed::bench
