#include "bench/runner.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <sstream>
#include <utility>

namespace heed::bench {
namespace {

using Clock = std::chrono::steady_clock;

// How long a problem's cases are repeated, where the user does not say. On a machine that is never
// quiet the best of many short repetitions is what repeats; --benchmark_min_time is their length.
struct Effort {
  double seconds;  // of each case, in all
  double min_repetitions;
};
constexpr Effort kFull{0.15, 5}, kQuick{0.06, 3};
constexpr double kRepetitionSeconds = 0.002;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Keeps what it is told: a problem's cases are written together with all others.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    collected.insert(collected.end(), runs.begin(), runs.end());
  }
  BenchmarkRuns collected;
};

struct Contestant {
  Case c;
  Runs runs = {};
  size_t next = 0;  // the run whose turn it is
  double seconds = 0;
  std::string error = {};

  Status run_once() {
    const Run& run = runs[next];
    next = (next + 1) % runs.size();
    return run();
  }
};

// What fails or throws is a result too.
template <class Work>
void guarded(Contestant* one, const Work& work) try {
  one->c.library->use_threads();
  if (const Status status = work(); !status.ok()) one->error = status.message();
} catch (const std::exception& error) {
  one->error = error.what();
}

Status prepare(Contestant* one) {
  Result<Runs> runs = one->c.prepare();  // which runs it once
  if (!runs.ok()) return runs.status();
  one->runs = std::move(*runs);
  one->seconds = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 2; ++i) {
    const auto begin = Clock::now();
    if (const Status status = one->run_once(); !status.ok()) return status;
    one->seconds = std::min(one->seconds, seconds_since(begin));
  }
  return Status();
}

void time_case(Contestant* one, benchmark::State& state) {
  if (one->error.empty()) {
    guarded(one, [&] {
      for (auto _ : state) {
        const auto begin = Clock::now();
        const Status status = one->run_once();
        state.SetIterationTime(seconds_since(begin));
        if (!status.ok()) return status;
      }
      return Status();
    });
  }
  if (!one->error.empty()) state.SkipWithError(one->error.c_str());
}

struct Limit {
  Bound bound;
  double per_second;
};

// A problem's cases, and what the limits that may bind them were among them.
struct Group {
  std::vector<Contestant> contestants = {};
  std::vector<Limit> limits = {};

  const Case& problem() const { return contestants.front().c; }
  std::string limit_name() const { return problem().problem() + "/limit"; }
};

double seconds_at(const Limit& limit, const Work& work) {
  const double units = limit.bound == Bound::kFlops ? work.flops : work.bytes;
  return limit.per_second > 0 ? units / limit.per_second : 0;
}

// The one that takes longest.
const Limit& binding(const std::vector<Limit>& limits, const Work& work) {
  return *std::max_element(limits.begin(), limits.end(), [&](const Limit& a, const Limit& b) {
    return seconds_at(a, work) < seconds_at(b, work);
  });
}

// Multiply-adds beside reads of memory only where they are not far from binding one of the cases:
// to measure them in turn takes as long as a repetition.
std::vector<Limit> limits_that_may_bind(const Group& group, const std::vector<Limits>& machine) {
  constexpr double kFar = 0.5;
  const Case& problem = group.problem();
  std::vector<Limit> limits = {{problem.bound, 0}};
  if (problem.bound != Bound::kMemory) return limits;
  for (const Limits& of : machine) {
    if (of.threads != problem.threads) continue;
    const Limit reads{Bound::kMemory, limit_of(of, Bound::kMemory)}, adds{Bound::kFlops, of.flops};
    const bool near =
        std::any_of(group.contestants.begin(), group.contestants.end(), [&](const Contestant& one) {
          return seconds_at(adds, one.c.work) > kFar * seconds_at(reads, one.c.work);
        });
    if (near) limits.push_back({Bound::kFlops, 0});
  }
  return limits;
}

void measure_limits(Group* group, Meter* meter, benchmark::State& state) {
  for (auto _ : state) {
    const auto begin = Clock::now();
    for (Limit& limit : group->limits) {
      const double now = meter->measure(limit.bound, group->problem().threads);
      limit.per_second = std::max(limit.per_second, now);
    }
    state.SetIterationTime(seconds_since(begin));
  }
}

int repetitions_of(const Group& group, const Effort& effort) {
  double turn = 0, cases = 0;
  for (const Contestant& one : group.contestants) {
    if (!one.error.empty()) continue;
    turn += std::max(one.seconds, kRepetitionSeconds);
    cases += 1;
  }
  if (turn == 0) return 1;
  return static_cast<int>(std::max(effort.seconds * cases / turn, effort.min_repetitions));
}

double best_of(const std::vector<double>& seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}

void register_group(Group* group, const Settings& settings, Meter* meter) {
  benchmark::ClearRegisteredBenchmarks();
  const int repetitions = repetitions_of(*group, settings.quick ? kQuick : kFull);
  const auto add = [&](const std::string& name, auto function) {
    auto* added = benchmark::RegisterBenchmark(name.c_str(), function);
    added->UseManualTime()->ComputeStatistics("min", best_of);
    if (!settings.repetitions_given) added->Repetitions(repetitions);
    return added;
  };
  for (Contestant& one : group->contestants) {
    auto* added = add(one.c.name(), [&one](benchmark::State& state) { time_case(&one, state); });
    if (!one.error.empty()) added->Repetitions(1);
  }
  add(group->limit_name(),
      [group, meter](benchmark::State& state) { measure_limits(group, meter, state); });
}

// Of the repetitions of a case, in Google Benchmark's unit of time; 0 when there is none.
double best_time(const BenchmarkRuns& runs, const std::string& name) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& run : runs) {
    const bool is_time = run.aggregate_name.empty() || run.aggregate_name == "min";
    const double value = run.GetAdjustedRealTime();
    if (is_time && run.run_name.function_name == name && value > 0) best = std::min(best, value);
  }
  return std::isfinite(best) ? best : 0;
}

using Counters = std::vector<std::pair<std::string, double>>;

// What a flop of `c` costs beside one of the group's baseline, and what `c` reads beside f32's
// bytes.
void add_beside(const Group& group, const Case& c, const BenchmarkRuns& runs, Counters* counters) {
  if (is_baseline(c.library_name)) return;
  for (const Contestant& one : group.contestants) {
    const Case& other = one.c;
    const double best = best_time(runs, c.name()), plain = best_time(runs, other.name());
    if (!is_baseline(other.library_name) || plain == 0) continue;
    counters->emplace_back("vs_" + other.library_name,
                           best / c.work.flops / (plain / other.work.flops));
    if (other.library_name == kStoredF32) {
      counters->emplace_back("bytes_vs_f32", c.work.bytes / other.work.bytes);
    }
  }
}

// What was computed and what binds it go beside the times. The name is the case's alone, without
// what Google Benchmark appends of its settings, so that results of two runs find each other.
void describe(const Group& group, BenchmarkRuns* runs) {
  const auto describe_one = [&](const std::string& name, const Label& label, const auto& counters) {
    for (auto& run : *runs) {
      if (run.run_name.function_name != name) continue;
      run.report_label = label_to_json(label);
      for (const auto& [key, value] : counters) {
        if (value > 0) run.counters[key] = value;
      }
    }
  };
  for (const Contestant& one : group.contestants) {
    const Case& c = one.c;
    const Limit& limit = binding(group.limits, c.work);
    Counters counters = {
        {"num_threads", static_cast<double>(c.threads)},
        {"flops", c.work.flops},
        {"bytes", c.work.bytes},
        {"limit_per_second", limit.per_second},
        {"workspace_bytes", static_cast<double>(c.library->workspace_bytes())},
    };
    add_beside(group, c, *runs, &counters);
    for (const auto& [name, size] : c.shape.sizes) {
      counters.emplace_back(name, static_cast<double>(size));
    }
    describe_one(c.name(), {c.operation, c.shape.name, c.library_name, limit.bound}, counters);
  }
  const Case& c = group.problem();
  const Limit& limit = binding(group.limits, c.work);
  describe_one(group.limit_name(), {c.operation, c.shape.name, "limit", limit.bound},
               Counters{{"num_threads", static_cast<double>(c.threads)},
                        {"limit_per_second", limit.per_second}});
  // In the cases' order rather than the one in which they were done.
  const auto place = [&](const std::string& name) {
    size_t at = 0;
    while (at < group.contestants.size() && group.contestants[at].c.name() != name) ++at;
    return at;
  };
  std::stable_sort(runs->begin(), runs->end(), [&](const auto& a, const auto& b) {
    return place(a.run_name.function_name) < place(b.run_name.function_name);
  });
  for (auto& run : *runs) {
    benchmark::BenchmarkName name;
    name.function_name = run.run_name.function_name;
    run.run_name = name;
  }
}

BenchmarkRuns run_group(Group* group, const Settings& settings, Meter* meter) {
  for (Contestant& one : group->contestants) guarded(&one, [&] { return prepare(&one); });
  group->limits = limits_that_may_bind(*group, meter->limits());
  register_group(group, settings, meter);
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector, ".");
  benchmark::ClearRegisteredBenchmarks();
  describe(*group, &collector.collected);
  return std::move(collector.collected);
}

// One line that is rewritten where a person looks, else a line each.
void show_progress(size_t done, size_t all, const std::string& name) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  std::fprintf(stderr, terminal ? "\r\033[K[%zu/%zu] %.60s" : "[%zu/%zu] %s\n", done + 1, all,
               name.c_str());
  if (terminal && done + 1 == all) std::fprintf(stderr, "\r\033[K");
}

std::vector<Group> groups_of(std::vector<Case> cases) {
  std::vector<Group> groups;
  for (Case& c : cases) {
    if (groups.empty() || groups.back().problem().problem() != c.problem()) groups.emplace_back();
    groups.back().contestants.push_back({std::move(c)});
  }
  return groups;
}

// Of the cases up to a tier, those whose names the filter matches; they are taken from `cases`.
Result<std::vector<Case>> matching(std::vector<Case>* cases, Tier most, bool* listed) {
  // Google Benchmark says which it would run, by running what does nothing.
  std::vector<char> chosen(cases->size(), 0);
  benchmark::ClearRegisteredBenchmarks();
  for (size_t i = 0; i < cases->size(); ++i) {
    if ((*cases)[i].tier > most) continue;
    benchmark::RegisterBenchmark((*cases)[i].name().c_str(), [&, i](benchmark::State& state) {
      chosen[i] = 1;
      state.SkipWithError("only asked for its name");
    });
  }
  Collector collector;
  std::ostringstream complaint;
  collector.SetErrorStream(&complaint);
  const size_t matches =
      benchmark::RunSpecifiedBenchmarks(&collector, benchmark::GetBenchmarkFilter());
  benchmark::ClearRegisteredBenchmarks();
  if (matches == 0) {
    std::string why = complaint.str();
    while (!why.empty() && why.back() == '\n') why.pop_back();
    return Status::Error(StatusCode::kInvalidArgument, "%s", why.c_str());
  }
  std::vector<Case> taken;
  for (size_t i = 0; i < cases->size(); ++i) {
    if (chosen[i] != 0) taken.push_back(std::move((*cases)[i]));
  }
  *listed = taken.empty();
  return taken;
}

}  // namespace

Result<std::vector<Case>> chosen_cases(Suite suite, bool* listed) {
  const bool named = !benchmark::GetBenchmarkFilter().empty();
  if (suite.settings.quick) {
    Result<std::vector<Case>> quick = matching(&suite.cases, Tier::kQuick, listed);
    if (quick.ok() || !named) return quick;
  }
  return matching(&suite.cases, named ? Tier::kNamed : Tier::kDefault, listed);
}

Outcome run_cases(const Settings& settings, std::vector<Case> cases, Meter* meter) {
  Outcome outcome;
  std::vector<Group> groups = groups_of(std::move(cases));
  for (size_t i = 0; i < groups.size(); ++i) {
    Group& group = groups[i];
    show_progress(i, groups.size(), group.problem().problem());
    meter->measure(group.problem().threads);
    BenchmarkRuns runs = run_group(&group, settings, meter);
    std::move(runs.begin(), runs.end(), std::back_inserter(outcome.runs));
    for (const Contestant& one : group.contestants) {
      outcome.failed = outcome.failed || !one.error.empty();
    }
    group = Group();  // and the problem's memory with it
  }
  return outcome;
}

}  // namespace heed::bench
