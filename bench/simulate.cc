#include "bench/simulate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "bench/library.h"
#include "src/base/context.h"

namespace heed::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

// A parallel loop of a call: its tasks, in the order threads take them.
struct Loop {
  size_t workers = 1;
  std::vector<double> seconds;
};

struct Call {
  std::vector<Loop> loops;
  double serial_seconds = 0;  // between the loops, by the calling thread alone
};

// Does the work of all workers on the calling thread, timing each task.
Status run_timed(void* self, size_t num_tasks, size_t workers, void (*task)(void*, size_t, size_t),
                 void* arg) {
  Loop loop;
  loop.workers = std::max<size_t>(1, std::min(workers, num_tasks));
  loop.seconds.resize(num_tasks);
  auto before = Clock::now();
  for (double& seconds : loop.seconds) {
    task(arg, static_cast<size_t>(&seconds - loop.seconds.data()), 0);
    const auto after = Clock::now();
    seconds = std::chrono::duration<double>(after - before).count();
    before = after;
  }
  static_cast<std::vector<Loop>*>(self)->push_back(std::move(loop));
  return Status();
}

double sum_of(const Loop& loop) {
  double sum = 0;
  for (const double s : loop.seconds) sum += s;
  return sum;
}

// The same task in each repetition, and what is between the loops: the best. On a machine that is
// never quiet a median still shows other programs as uneven tasks.
Call best_of(const std::vector<Call>& calls) {
  Call best = calls[0];
  for (const Call& call : calls) {
    best.serial_seconds = std::min(best.serial_seconds, call.serial_seconds);
    for (size_t l = 0; l < best.loops.size(); ++l) {
      std::vector<double>& seconds = best.loops[l].seconds;
      for (size_t i = 0; i < seconds.size(); ++i) {
        seconds[i] = std::min(seconds[i], call.loops[l].seconds[i]);
      }
    }
  }
  return best;
}

// When the last thread ends: each takes the next task of the list as soon as it is free, as
// RunTasks lets them.
double makespan_of(const Loop& loop) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (size_t w = 0; w < loop.workers; ++w) free_at.push(0.0);
  double last = 0;
  for (const double seconds : loop.seconds) {
    const double end = free_at.top() + seconds;
    free_at.pop();
    free_at.push(end);
    last = std::max(last, end);
  }
  return last;
}

void print_call(const char* name, size_t cores, const Call& call, double seconds_of_one) {
  double makespan = 0, even = 0, total = 0, longest = 0;
  size_t tasks = 0, workers = 1;
  for (const Loop& loop : call.loops) {
    tasks += loop.seconds.size();
    workers = std::max(workers, loop.workers);
    makespan += makespan_of(loop);
    even += sum_of(loop) / static_cast<double>(loop.workers);
    total += sum_of(loop);
    for (const double s : loop.seconds) longest = std::max(longest, s);
  }
  const double serial = call.serial_seconds;
  const double busy = (total + serial) / ((makespan + serial) * static_cast<double>(cores));

  std::printf("%-26s %6zu %7zu %10.1f %9.1f %9.3f %8.1f%% %7.1f%% %7.1f%% %8.1f\n", name, tasks,
              workers, total * 1e6, makespan * 1e6, longest * static_cast<double>(workers) / total,
              100.0 * (makespan / even - 1.0), 100.0 * serial / (makespan + serial), 100.0 * busy,
              seconds_of_one / (makespan + serial));
  std::fflush(stdout);
}

using MakeRun = std::function<Result<Run>(const Library&)>;

// What a call planned for so many threads does.
Result<Call> measure_call(size_t threads, const MakeRun& make_run) {
  constexpr size_t kRepetitions = 5;
  ContextOptions options;
  options.num_threads = threads;
  const auto context = std::make_shared<Context>(options);
  if (!context->status().ok()) return context->status();
  std::vector<Loop> loops;
  Context::Impl::Of(*context)->task_runner = {&run_timed, &loops};
  const Result<Run> run = make_run(*make_heed(context));
  if (!run.ok()) return run.status();
  std::vector<Call> calls;
  for (size_t i = 0; i <= kRepetitions; ++i) {  // the first one allocates
    loops.clear();
    const auto begin = Clock::now();
    if (const Status status = (*run)(); !status.ok()) return status;
    double serial = seconds_since(begin);
    for (const Loop& loop : loops) serial -= sum_of(loop);
    if (i > 0) calls.push_back({loops, std::max(serial, 0.0)});
  }
  return best_of(calls);
}

// False when the library refuses.
bool simulate(const char* name, size_t cores, const MakeRun& make_run) {
  const Result<Call> one = measure_call(1, make_run);
  const Result<Call> many = one.ok() ? measure_call(cores, make_run) : one;
  if (!many.ok()) {
    std::fprintf(stderr, "heed-bench: %s: %s\n", name, many.status().message());
    return false;
  }
  double seconds_of_one = one->serial_seconds;
  for (const Loop& loop : one->loops) seconds_of_one += sum_of(loop);
  print_call(name, cores, *many, seconds_of_one);
  return true;
}

bool simulate_attention(size_t cores, const AttentionShape& s) {
  const bool decode = s.q_len == 1;
  const size_t q_row = s.num_heads * s.head_dim, k_row = s.num_kv_heads * s.head_dim;
  const Buffer q = random_normal(s.q_len * q_row, 1), k = random_normal(s.kv_len * k_row, 2),
               v = random_normal(s.kv_len * k_row, 3);
  Buffer out(q.size());
  const AttentionArgs args = {s,
                              {q.data(), q_row, s.head_dim},
                              {k.data(), k_row, s.head_dim},
                              {v.data(), k_row, s.head_dim},
                              out.data(),
                              decode};
  const std::string heads = s.num_heads == s.num_kv_heads ? std::to_string(s.num_heads)
                                                          : std::to_string(s.num_heads) + "on" +
                                                                std::to_string(s.num_kv_heads);
  const std::string name = std::string(decode ? "decode " : "prefill ") + heads + "x" +
                           std::to_string(s.kv_len) + "x" + std::to_string(s.head_dim);
  return simulate(name.c_str(), cores,
                  [&](const Library& library) { return library.attention(args); });
}

bool simulate_matmul(size_t cores, const MatmulShape& s, bool pack) {
  const Buffer a = random_normal(s.m * s.k, 1), b = random_normal(s.k * s.n, 2);
  Buffer c(s.m * s.n);
  const std::string name = (pack ? "packed " : "matmul ") + name_of(s);
  return simulate(name.c_str(), cores, [&](const Library& library) {
    return library.matmul({s, a.data(), b.data(), c.data(), pack});
  });
}

}  // namespace

int simulate_cores(size_t cores) {
  constexpr AttentionShape kAttention[] = {{1024, 1024, 12, 12, 64}, {2048, 2048, 16, 16, 64},
                                           {2048, 2048, 8, 8, 128},  {1024, 1024, 32, 8, 128},
                                           {64, 64, 4, 4, 32},       {1, 4096, 12, 12, 64},
                                           {1, 32768, 12, 12, 64},   {1, 4096, 32, 8, 128},
                                           {1, 32768, 32, 8, 128},   {1, 32768, 8, 8, 128}};
  constexpr MatmulShape kMatmul[] = {
      {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}, {1024, 2304, 768}, {128, 768, 768}};
  std::printf(
      "heed's tasks, planned for %zu threads and timed one by one on one core, dealt to %zu\n"
      "cores as the scheduler deals them. Not in it: waking threads, and that cores share memory\n"
      "bandwidth and clock. imbalance: makespan over an even load of the threads used; longest:\n"
      "the longest task over that load; serial: share of the time outside of tasks; busy: share "
      "of\n"
      "all cores' time that is work; speed-up: over the same call planned for one thread.\n\n",
      cores, cores);
  std::printf("%-26s %6s %7s %10s %9s %9s %9s %8s %8s %8s\n", "", "tasks", "threads", "work us",
              "makespan", "longest", "imbalance", "serial", "busy", "speed-up");
  bool ok = true;
  for (const AttentionShape& shape : kAttention) ok = simulate_attention(cores, shape) && ok;
  for (const bool pack : {false, true}) {
    for (const MatmulShape& shape : kMatmul) ok = simulate_matmul(cores, shape, pack) && ok;
  }
  return ok ? 0 : 1;
}

}  // namespace heed::bench
