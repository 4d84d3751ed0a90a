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
  size_t num_tasks;
  void (*task)(void*, size_t, size_t);
  void* arg;
};

void Work(void* arg, size_t worker) {
  const FloatEnvironment environment;
  Job& job = *static_cast<Job*>(arg);
  for (size_t i = job.next++; i < job.num_tasks; i = job.next++) job.task(job.arg, i, worker);
}

}  // namespace

void RunTasks(const Context::Impl& context, size_t num_tasks, size_t workers,
              void (*task)(void* arg, size_t index, size_t worker), void* arg) {
  if (context.task_runner.run != nullptr) {
    context.task_runner.run(context.task_runner.self, num_tasks, workers, task, arg);
    return;
  }
  Job job;
  job.num_tasks = num_tasks;
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
}

size_t WorkersFor(const Context::Impl& context, size_t num_tasks, double flops) {
  const double worth = std::min(flops / context.flops_per_worker, 4096.0);
  return std::max<size_t>(1,
                          std::min({context.num_threads, num_tasks, static_cast<size_t>(worth)}));
}

}  // namespace heed
