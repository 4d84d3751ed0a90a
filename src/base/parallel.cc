#include "src/base/parallel.h"

#include <algorithm>
#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "src/base/float_environment.h"

namespace heed {
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

}  // namespace

Status RunTasks(const Context::Impl& context, size_t num_tasks, size_t workers,
                void (*task)(void* arg, size_t index, size_t worker), void* arg) {
  if (context.task_runner.run != nullptr) {
    context.task_runner.run(context.task_runner.self, num_tasks, workers, task, arg);
    return Status();
  }
  Job job;
  job.num_tasks = num_tasks;
  job.workers = std::max<size_t>(workers, 1);
  job.task = task;
  job.arg = arg;
  if (workers <= 1 || num_tasks <= 1) {
    Work(&job, 0);
  } else if (context.parallel_for.run != nullptr) {
    context.parallel_for.run(context.parallel_for.pool, workers, &Work, &job);
  } else {
#ifdef _OPENMP
#pragma omp parallel num_threads(static_cast <int>(workers))
    Work(&job, static_cast<size_t>(omp_get_thread_num()));
#else
    Work(&job, 0);
#endif
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

}  // namespace heed
