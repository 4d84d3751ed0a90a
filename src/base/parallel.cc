#include "src/base/parallel.h"

#include <algorithm>
#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#endif

#include "src/base/float_environment.h"
#include "src/base/process_limits.h"

namespace heed::inline v1 {
namespace {

struct Job {
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};  // tasks of the workers that have returned
  size_t num_tasks;
  size_t workers;
  void (*task)(void*, size_t, size_t);
  void* arg;
};

void Work(void* arg, size_t worker) {
  const FloatEnvironment environment;
  Job& job = *static_cast<Job*>(arg);
  if (worker >= job.workers) return;  // there is no memory for it
  size_t done = 0;
  for (size_t i = job.next++; i < job.num_tasks; i = job.next++, ++done) {
    job.task(job.arg, i, worker);
  }
  job.done += done;
}

#ifdef _OPENMP

// The threads that OpenMP keeps for this thread: those of its last parallel region in heed that had
// several.
struct Team {
  size_t size = 1;
  bool lost = false;  // this process was forked since, which takes the calling thread alone along
};
thread_local Team team;

// GNU's OpenMP doesn't see a fork, and would wait for ever for threads that are not there. A
// handler, as asking for the process's id would cost a system call in every parallel region.
bool WatchForks() {
#if defined(__unix__) || defined(__APPLE__)
  enum : int { kUnknown, kWatched, kFailed };
  static std::atomic<int> watched{kUnknown};
  if (watched == kUnknown) {  // threads that meet here set two handlers, which do no more than one
    watched = pthread_atfork(nullptr, nullptr, [] { team.lost |= team.size > 1; }) == 0 ? kWatched
                                                                                        : kFailed;
  }
  return watched == kWatched;
#else
  return true;
#endif
}

// Up to `workers` threads: those that are there, and what the process may still have, since GNU's
// OpenMP ends the process when it can't have a thread.
size_t TeamFor(size_t workers) {
  // Within a region of the host's OpenMP gives one thread, unless told otherwise.
  if (omp_get_active_level() >= omp_get_max_active_levels()) return 1;
  if (team.lost || !WatchForks()) return 1;
  // A region within a region gets new threads each time, and a smaller one lets threads go.
  const size_t have = omp_get_level() == 0 ? team.size : 1;
  return workers <= have ? workers : have + ThreadsToBeHad(workers - have);
}

void RunOnTeam(size_t workers, Job* job) {
  const size_t threads = TeamFor(workers);
  if (threads <= 1) return Work(job, 0);
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    const auto worker = static_cast<size_t>(omp_get_thread_num());
    const auto size = static_cast<size_t>(omp_get_num_threads());
    if (worker == 0 && omp_get_level() == 1 && size > 1) team.size = size;
    Work(job, worker);
  }
}

#else

void RunOnTeam(size_t, Job* job) { Work(job, 0); }

#endif

}  // namespace

Status RunTasks(const Context::Impl& context, size_t num_tasks, size_t workers,
                void (*task)(void* arg, size_t index, size_t worker), void* arg) {
  if (context.measures) return Context::Impl::Measured();
  if (context.task_runner.run != nullptr) {
    return context.task_runner.run(context.task_runner.self, num_tasks, workers, task, arg);
  }
  Job job;
  job.num_tasks = num_tasks;
  job.workers = std::max<size_t>(workers, 1);
  job.task = task;
  job.arg = arg;
  if (workers <= 1 || num_tasks <= 1) {
    Work(&job, 0);
  } else if (context.threading == Threading::kParallelFor) {
    context.parallel_for.run(context.parallel_for.pool, workers, &Work, &job);
  } else {
    RunOnTeam(workers, &job);  // of one where there is no OpenMP: the context has one thread
  }
  if (job.done == num_tasks) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "parallel_for: returned with %zu of %zu tasks done, must call body for each "
                       "worker and wait for it",
                       job.done.load(), num_tasks);
}

size_t WorkersFor(const Context::Impl& context, size_t num_tasks, double flops) {
  const double worth = std::min(flops / context.flops_per_worker, 4096.0);
  return std::max<size_t>(1,
                          std::min({context.num_threads, num_tasks, static_cast<size_t>(worth)}));
}

}  // namespace heed::inline v1
