// Work is cut into tasks, by the problem, the threads and the caches; no bit depends on the cut.
// Threads take them one by one.
#pragma once

#include <cstddef>
#include <type_traits>

#include "src/base/context.h"

namespace heed::inline v1 {

// Calls task(arg, index, worker) for every index in [0, num_tasks), on up to `workers` threads;
// worker is in [0, workers). Tasks begin in ascending order, so put the long ones first. Fails when
// the caller's ParallelFor left some undone.
Status RunTasks(const Context::Impl& context, size_t num_tasks, size_t workers,
                void (*task)(void* arg, size_t index, size_t worker), void* arg);

template <class F>
Status ForEachTask(const Context::Impl& context, size_t num_tasks, size_t workers, F&& f) {
  return RunTasks(
      context, num_tasks, workers,
      [](void* arg, size_t index, size_t worker) {
        (*static_cast<std::remove_reference_t<F>*>(arg))(index, worker);
      },
      const_cast<std::remove_const_t<std::remove_reference_t<F>>*>(&f));
}

// What a function does between loops. A Region runs a function once for each piece of a loop, so
// all that is written is written in loops, this as one of a single task.
template <class F>
Status Once(const Context::Impl& context, F&& f) {
  return ForEachTask(context, 1, 1, [&f](size_t, size_t) { f(); });
}

// How many threads to use for `num_tasks` tasks of `flops` operations in all.
size_t WorkersFor(const Context::Impl& context, size_t num_tasks, double flops);

}  // namespace heed::inline v1
