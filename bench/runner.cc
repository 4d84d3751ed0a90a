#include "bench/runner.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <utility>

namespace heed::bench {
namespace {

// How long a case is repeated. On a machine that is never quiet the best of many short
// repetitions is what repeats.
struct Effort {
  double repetition_seconds;  // short runs are put together to last so long
  double seconds;             // of each case, in all
  size_t min_repetitions;
};
constexpr Effort kFull{0.002, 0.15, 5}, kQuick{0.002, 0.06, 3};

struct Contestant {
  Case* c = nullptr;
  Entry entry;
  Runs runs = {};
  size_t next = 0, batch = 1;  // the run whose turn it is; runs in a repetition
  double spent = 0;

  bool going(const Effort& effort) const {
    return entry.error.empty() &&
           (entry.seconds.size() < effort.min_repetitions || spent < effort.seconds);
  }
};

double SecondsOf(const Run& run, Status* status) {
  const auto begin = std::chrono::steady_clock::now();
  if (Status s = run(); !s.ok()) *status = s;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Seconds of a run, `batch` of them timed together.
Result<double> Repeat(Contestant* contestant) {
  Status status;
  const Run batch = [&] {
    Status failure;
    for (size_t i = 0; i < contestant->batch; ++i) {
      if (Status s = contestant->runs[contestant->next](); !s.ok()) failure = s;
      contestant->next = (contestant->next + 1) % contestant->runs.size();
    }
    return failure;
  };
  const double seconds = SecondsOf(batch, &status);
  if (!status.ok()) return status;
  contestant->spent += seconds;
  return seconds / static_cast<double>(contestant->batch);
}

// What fails or throws is a result too.
template <class Work>
void Guarded(Contestant* contestant, const Work& work) try {
  contestant->c->library->use_threads();
  if (const Status status = work(); !status.ok()) contestant->entry.error = status.message();
} catch (const std::exception& error) {
  contestant->entry.error = error.what();
}

Status Prepare(const Effort& effort, Contestant* contestant) {
  Result<Runs> runs = contestant->c->prepare();  // which runs it once
  if (!runs.ok()) return runs.status();
  contestant->runs = std::move(*runs);
  double seconds = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 2; ++i) {
    const Result<double> once = Repeat(contestant);
    if (!once.ok()) return once.status();
    seconds = std::min(seconds, *once);
  }
  contestant->spent = 0;
  const double batch = std::ceil(effort.repetition_seconds / std::max(seconds, 1e-8));
  contestant->batch = std::max<size_t>(1, static_cast<size_t>(batch));
  return Status();
}

Status CompareWithBaseline(Contestant* contestant) {
  const Case& c = *contestant->c;
  if (c.prepare_baseline == nullptr) return Status();
  const Result<Run> baseline = c.prepare_baseline();
  if (!baseline.ok()) return baseline.status();
  constexpr int kRounds = 9;
  double best = std::numeric_limits<double>::infinity(), best_baseline = best;
  Status status;
  for (int i = 0; i < kRounds && status.ok(); ++i) {
    best_baseline = std::min(best_baseline, SecondsOf(*baseline, &status));
    best = std::min(best, SecondsOf(contestant->runs.front(), &status));
  }
  contestant->entry.vs_causal = best / c.work.flops / (best_baseline / c.baseline_flops);
  return status;
}

Entry EntryOf(const Case& c) {
  Entry entry;
  entry.operation = c.operation;
  entry.shape = c.shape;
  entry.threads = c.threads;
  entry.library = c.library->name();
  entry.flops = c.work.flops;
  entry.bytes = c.work.bytes;
  return entry;
}

void RunGroup(const Effort& effort, std::vector<Case>* group, Meter* meter,
              std::vector<Entry>* entries) {
  std::vector<Contestant> contestants;
  for (Case& c : *group) contestants.push_back({&c, EntryOf(c)});
  for (Contestant& one : contestants) Guarded(&one, [&] { return Prepare(effort, &one); });
  for (bool any = true; any;) {
    any = false;
    double limit = 0;  // of this round
    for (Contestant& one : contestants) {
      if (!one.going(effort)) continue;
      any = true;
      Guarded(&one, [&] {
        const Result<double> seconds = Repeat(&one);
        if (!seconds.ok()) return seconds.status();
        // After heed where it still goes, on its threads: those of other libraries spin for a while.
        if (limit == 0) limit = meter->measure(bound_of(one.entry), one.entry.threads);
        one.entry.seconds.push_back(*seconds);
        if (limit > 0) one.entry.limits.push_back(limit);
        return Status();
      });
    }
  }
  for (Contestant& one : contestants) {
    if (one.entry.error.empty()) Guarded(&one, [&] { return CompareWithBaseline(&one); });
    one.entry.workspace_bytes = static_cast<double>(one.c->library->workspace_bytes());
    if (!one.entry.error.empty()) {
      one.entry.seconds.clear();
      one.entry.limits.clear();
    }
    entries->push_back(std::move(one.entry));
  }
}

// One line that is rewritten where a person looks, else a line each.
void ShowProgress(size_t done, size_t all, const std::string& name) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  std::fprintf(stderr, terminal ? "\r\033[K[%zu/%zu] %.60s" : "[%zu/%zu] %s\n", done + 1, all,
               name.c_str());
  if (terminal && done + 1 == all) std::fprintf(stderr, "\r\033[K");
}

std::vector<std::vector<Case>> Groups(std::vector<Case> cases) {
  std::vector<std::vector<Case>> groups;
  for (Case& c : cases) {
    if (groups.empty() || groups.back().front().problem() != c.problem()) groups.emplace_back();
    groups.back().push_back(std::move(c));
  }
  return groups;
}

}  // namespace

std::vector<Entry> run_cases(const Settings& settings, std::vector<Case> cases, Meter* meter) {
  std::vector<Entry> entries;
  std::vector<std::vector<Case>> groups = Groups(std::move(cases));
  for (size_t i = 0; i < groups.size(); ++i) {
    ShowProgress(i, groups.size(), groups[i].front().problem());
    meter->measure(groups[i].front().threads);
    RunGroup(settings.quick ? kQuick : kFull, &groups[i], meter, &entries);
    groups[i].clear();  // and the problem's memory with it
  }
  return entries;
}

}  // namespace heed::bench
