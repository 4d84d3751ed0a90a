#include "bench/case.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <utility>

namespace heed::bench {
namespace {

bool failed = false;

// The problem in memory: Google Benchmark calls a benchmark several times, and large inputs are
// made once. One at a time, to bound memory.
struct Prepared {
  std::string name;
  Runs runs;
};

Runs& PreparedRuns(const Case& c, Status* status) {
  static Prepared prepared;
  if (prepared.name == c.name) return prepared.runs;
  prepared = {};
  Result<Runs> runs = c.prepare();
  if (!runs.ok()) {
    *status = runs.status();
    return prepared.runs;
  }
  prepared = {c.name, std::move(*runs)};
  return prepared.runs;
}

// Shares have the measured limits as their unit.
void SetCounters(const Case& c, const Limits& limits, benchmark::State& state) {
  const auto rate = [&](const char* name, double per_run) {
    if (per_run > 0) {
      state.counters[name] =
          benchmark::Counter(per_run, benchmark::Counter::kIsIterationInvariantRate);
    }
  };
  rate("GFLOP/s", c.work.flops / 1e9);
  rate("of_peak", c.work.flops / limits.flops);
  rate("GB/s", c.work.bytes / 1e9);
  rate("of_bandwidth", c.work.bytes / limits.bytes_read);
}

double SecondsOf(const Run& run, Status* status) {
  const auto begin = std::chrono::steady_clock::now();
  if (Status s = run(); !s.ok()) *status = s;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Best of several of each, taken in turn so that both meet the same disturbances.
Status CompareWithBaseline(const Case& c, const Run& run, benchmark::State& state) {
  Result<Run> baseline = c.prepare_baseline();
  if (!baseline.ok()) return baseline.status();
  constexpr int kRounds = 9;
  double best = std::numeric_limits<double>::infinity(), best_baseline = best;
  Status status;
  for (int i = 0; i < kRounds && status.ok(); ++i) {
    best_baseline = std::min(best_baseline, SecondsOf(*baseline, &status));
    best = std::min(best, SecondsOf(run, &status));
  }
  state.counters["vs_causal"] = best / c.work.flops / (best_baseline / c.baseline_flops);
  return status;
}

void Fail(benchmark::State& state, const char* message) {
  failed = true;
  state.SkipWithError(message);
}

void RunCase(const Case& c, const Limits& limits, benchmark::State& state) try {
  c.library->use_threads();
  Status status;
  Runs& runs = PreparedRuns(c, &status);
  if (!status.ok()) return Fail(state, status.message());
  size_t next = 0;
  for (auto _ : state) {
    status = runs[next]();
    if (!status.ok()) break;
    next = next + 1 < runs.size() ? next + 1 : 0;
  }
  if (!status.ok()) return Fail(state, status.message());
  SetCounters(c, limits, state);
  if (c.prepare_baseline == nullptr) return;
  status = CompareWithBaseline(c, runs.front(), state);
  if (!status.ok()) Fail(state, status.message());
} catch (const std::exception& error) {
  Fail(state, error.what());
}

}  // namespace

void register_case(const Machine& machine, Case c) {
  const std::string name = c.name;
  const auto body = [&machine, c = std::move(c)](benchmark::State& state) {
    RunCase(c, machine.limits_of(c.threads), state);
  };
  benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

bool any_case_failed() { return failed; }

size_t copies_beyond_cache(const Machine& machine, double bytes) {
  const double copies = static_cast<double>(machine.beyond_cache_bytes) / bytes;
  return std::max<size_t>(2, static_cast<size_t>(std::ceil(copies)));
}

Status check_against(const Run& reference, const Buffer& want, const Run& run, const Buffer& got) {
  if (Status s = reference(); !s.ok()) return s;
  if (Status s = run(); !s.ok()) return s;
  float largest = 0;
  for (const float w : want) largest = std::max(largest, std::abs(w));
  // Sums of a few thousand products in f32 differ by some 1e-6 of the largest; a wrong element by
  // about all of it.
  const float tolerance = 1e-4f * largest;
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= tolerance)) {  // NaN fails
      return Status::Error(StatusCode::kInvalidArgument,
                           "element %zu is %g but heed computes %g (tolerance %g)", i,
                           static_cast<double>(got[i]), static_cast<double>(want[i]),
                           static_cast<double>(tolerance));
    }
  }
  return Status();
}

Suite make_suite(const Settings& settings, const Machine& machine) {
  Suite suite{settings, machine, {}};
  for (const size_t threads : settings.threads) {
    suite.libraries.push_back(make_libraries(threads, settings.target_or_null()));
  }
  return suite;
}

void register_for_all(const Suite& suite, const std::string& name, Operation operation, Work work,
                      const Prepare& prepare) {
  for (size_t i = 0; i < suite.libraries.size(); ++i) {
    const size_t threads = suite.settings.threads[i];
    const auto reference = suite.libraries[i].front();
    for (const auto& library : suite.libraries[i]) {
      if (!library->has(operation)) continue;
      Case c;
      c.name = name + "/threads:" + std::to_string(threads) + "/" + library->name();
      c.threads = threads;
      c.work = work;
      c.library = library;
      c.prepare = [=] { return prepare(*library, *reference); };
      register_case(suite.machine, std::move(c));
    }
  }
}

}  // namespace heed::bench
