// Pools of the caller's own that leave out workers, and workers of unequal speed.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "heed/context.hpp"
#include "src/base/context.h"
#include "src/base/parallel.h"
#include "test/support/compare.h"
#include "test/support/operations.h"
#include "test/support/refusal.h"

namespace heed::test {
namespace {

// Calls the workers of its first `whole` loops, of the next those from `begin` to `end`, and then
// all again.
struct DroppingPool {
  size_t whole = SIZE_MAX, begin = 0, end = 0;
  size_t loops = 0;
  size_t shift = 0;  // of every worker's number in that loop

  static void Run(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
                  void* arg) {
    auto* self = static_cast<DroppingPool*>(pool);
    const bool drops = self->loops++ == self->whole;
    const size_t first = drops ? self->begin : 0, last = drops ? self->end : num_workers;
    for (size_t worker = first; worker < std::min(last, num_workers); ++worker) {
      body(arg, drops ? worker + self->shift : worker);
    }
  }
};

struct PoolFixture {
  PoolFixture() {
    ContextOptions options;
    options.num_threads = 3;
    options.parallel_for = {&DroppingPool::Run, &pool};
    context = Context(options);
    Context::Impl::Of(context)->flops_per_worker = 1;
  }
  DroppingPool pool;
  Context context;
  Operations operations;
};

TEST_CASE_FIXTURE(PoolFixture,
                  "a pool that calls no worker is refused in every loop of every function") {
  size_t dropped = 0;
  for (const size_t l2_bytes :
       {Context::Impl::Of(context)->l2_bytes, size_t{4096}}) {  // other ways of matmul
    Context::Impl::Of(context)->l2_bytes = l2_bytes;
    for (const Operation& operation : operations.all()) {
      CAPTURE(operation.name);
      for (pool.whole = 0;; ++pool.whole) {
        CAPTURE(pool.whole);
        pool.loops = 0;
        const Status status = operation.call(context);
        if (pool.loops <= pool.whole) {
          CHECK(status.ok());
          break;
        }
        ++dropped;
        CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, "parallel_for") == "");
      }
    }
  }
  CHECK(dropped >= 20);
}

TEST_CASE_FIXTURE(PoolFixture, "a pool that drops some workers does the work with the others") {
  Context plain;
  for (const Operation& operation : operations.all()) {
    CAPTURE(operation.name);
    CHECK(operation.call(plain).ok());
    const std::vector<float> want = *operation.out;
    std::fill(operation.out->begin(), operation.out->end(), -1.0f);
    pool.loops = pool.whole = 0;
    pool.begin = 1;
    pool.end = 2;
    CHECK(operation.call(context).ok());
    CHECK(Difference(*operation.out, want) == "");
  }
}

TEST_CASE_FIXTURE(PoolFixture, "a worker that was not asked for does nothing") {
  pool.end = 3;
  pool.shift = 3;
  for (const Operation& operation : operations.all()) {
    CAPTURE(operation.name);
    pool.loops = pool.whole = 0;
    const Status status = operation.call(context);
    if (pool.loops == 0) continue;
    CHECK(WrongRefusal(status, StatusCode::kInvalidArgument, "parallel_for") == "");
  }
}

// A thread for each worker.
void RunOnThreads(void*, size_t num_workers, void (*body)(void* arg, size_t worker), void* arg) {
  std::vector<std::thread> threads;
  for (size_t worker = 1; worker < num_workers; ++worker) threads.emplace_back(body, arg, worker);
  body(arg, 0);
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a thread that is slow leaves all tasks but its own to the others") {
  ContextOptions pooled;
  pooled.num_threads = 3;
  pooled.parallel_for.run = &RunOnThreads;
  for (const ContextOptions& options : {ContextOptions{.num_threads = 3}, pooled}) {
    const Context context(options);
    if (context.num_threads() == 1) continue;  // a build without OpenMP
    constexpr size_t kTasks = 300;
    for (const size_t slow : {size_t{0}, size_t{1}}) {
      INFO("worker " << slow << ", threading " << static_cast<int>(options.threading));
      std::atomic<size_t> done = 0, of_slow = 0;
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      const Status status =
          ForEachTask(*Context::Impl::Of(context), kTasks, 3, [&](size_t, size_t worker) {
            if (worker == slow) {  // until the others have done all the rest
              ++of_slow;
              while (done < kTasks - 1 && std::chrono::steady_clock::now() < deadline) {
                std::this_thread::yield();
              }
            }
            ++done;
          });
      CHECK(status.ok());
      CHECK(done == kTasks);
      CHECK(of_slow <= 1);  // none where it came when all was done
    }
  }
}

}  // namespace
}  // namespace heed::test
