// Context, threads, workspace and what heed says about itself.
#include "heed/context.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "heed/heed.hpp"
#include "src/base/context.h"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/refusal.h"
#include "test/support/run_cases.h"

namespace heed::test {
namespace {

TEST_CASE("supported targets are compiled targets, best first, and the best is the default") {
  std::vector<const char*> compiled(compiled_targets(nullptr, 0));
  CHECK(compiled_targets(compiled.data(), compiled.size()) == compiled.size());
  REQUIRE(!Targets().empty());
  for (const char* target : Targets()) {
    bool found = false;
    for (const char* name : compiled) found |= std::strcmp(name, target) == 0;
    CHECK(found);
    ContextOptions options;
    options.target = target;
    const Context context(options);
    CHECK(context.status().ok());
    CHECK(std::string(context.target()) == target);
  }
  CHECK(std::string(Context().target()) == Targets()[0]);
  CHECK(family() == family(Targets()[0]));
  CHECK(family("no such target") == Family::kMultiplyAdd);
  const char* one = nullptr;
  CHECK(supported_targets(&one, 1) == Targets().size());
  CHECK(std::string(one) == Targets()[0]);
}

TEST_CASE("families and version have names") {
  CHECK(std::string(name_of(Family::kFma)) == "fma");
  CHECK(std::string(name_of(Family::kMultiplyAdd)) == "multiply-add");
  CHECK(std::string(version()).size() >= 5);
}

TEST_CASE("a Context refuses unknown targets and too many threads") {
  ContextOptions options;
  for (const char* name : {"", "avx2", "AVX2 ", "nonsense"}) {
    options.target = name;
    CHECK(WrongRefusal(Context(options).status(), StatusCode::kInvalidArgument, "target") == "");
  }
  options.target = nullptr;
  for (size_t threads : {size_t{4097}, SIZE_MAX}) {
    options.num_threads = threads;
    CHECK(WrongRefusal(Context(options).status(), StatusCode::kInvalidArgument, "num_threads") ==
          "");
  }
}

TEST_CASE("a Context takes the number of threads it is given") {
  ContextOptions options;
  options.num_threads = 3;
#ifdef _OPENMP
  CHECK(Context(options).num_threads() == 3);
#else
  CHECK(Context(options).num_threads() == 1);
#endif
  CHECK(Context().num_threads() >= 1);
}

AttentionProblem SomeProblem() {
  return AttentionProblem({1, 300, 300, 4, 2, 32, 32}, {.causal = true, .lse = true});
}

TEST_CASE("the workspace grows to the largest problem and is then reused") {
  Context context;
  CHECK(context.workspace_bytes() == 0);
  const AttentionProblem large = SomeProblem();
  const AttentionProblem small({1, 5, 9, 2, 2, 16, 16}, {});
  large.Run(context);
  const size_t held = context.workspace_bytes();
  CHECK(held > 0);
  small.Run(context);
  large.Run(context);
  CHECK(context.workspace_bytes() == held);
}

TEST_CASE("the workspace is bounded by tiles and not by the length of a prefill") {
  ContextOptions options;
  options.num_threads = 2;
  Context context(options);
  const auto bytes_after = [&](size_t len) {
    AttentionProblem({1, len, len, 1, 1, 16, 16}, {.causal = true}).Run(context);
    return context.workspace_bytes();
  };
  CHECK(bytes_after(600) <= 1000000);
  CHECK(bytes_after(3000) <= 1000000);  // the scores alone would be 36 MB
}

TEST_CASE("memory that can't be had is named with its size, or as too large to have one") {
  const auto message = [](size_t count, size_t size) {
    return std::string(OutOfMemory("cache", count, size).message());
  };
  CHECK(message(100, 4) == "cache: could not allocate 400 bytes");
  for (const size_t count : {SIZE_MAX / 4 + 1, SIZE_MAX, SIZE_MAX / 8 + 1, SIZE_MAX / 4 + 2}) {
    CHECK(message(count, 4) == "cache: is too large for the address space");
  }
}

TEST_CASE("a Context may be moved, and the last owner works") {
  const AttentionProblem p = SomeProblem();
  Context first;
  const AttentionAnswer want = p.Run(first);
  Context second = std::move(first);
  CHECK(Difference(p.Run(second), want) == "");
  Context third;
  third = std::move(second);
  CHECK(Difference(p.Run(third), want) == "");
}

// Runs every worker on a thread of its own, and counts.
struct ThreadPool {
  std::atomic<size_t> calls = 0;
  size_t most_workers = 0;

  static void Run(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
                  void* arg) {
    auto* self = static_cast<ThreadPool*>(pool);
    ++self->calls;
    if (num_workers > self->most_workers) self->most_workers = num_workers;
    std::vector<std::thread> threads;
    for (size_t i = 0; i < num_workers; ++i) threads.emplace_back(body, arg, i);
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_CASE("a pool of the caller's own is used instead of OpenMP, with the workers asked for") {
  const AttentionProblem p = SomeProblem();
  Context plain;
  ThreadPool pool;
  ContextOptions options;
  options.num_threads = 3;
  options.parallel_for = {&ThreadPool::Run, &pool};
  Context context(options);
  CHECK(Difference(p.Run(context), p.Run(plain)) == "");
  CHECK(pool.calls > 0);
  CHECK(pool.most_workers == 3);

  options.num_threads = 0;
  CHECK(Context(options).num_threads() == 1);
}

TEST_CASE("several threads may compute at the same time, each with a Context of its own") {
  const AttentionProblem p = SomeProblem();
  Context context;
  const AttentionAnswer want = p.Run(context);
  std::vector<AttentionAnswer> got(4);
  std::vector<std::thread> threads;
  for (AttentionAnswer& answer : got) {
    threads.emplace_back([&p, &answer] {
      ContextOptions options;
      options.num_threads = 2;
      Context own(options);
      Tensor<float> out({1, 300, 4, 32}), lse({1, 4, 300});
      AttentionOptions attention_options = p.Options();
      attention_options.lse = lse.mutable_view();
      if (attention(p.q.view(), p.k.view(), p.v.view(), out.mutable_view(), attention_options, own)
              .ok()) {
        answer = {out.Dense(), lse.Dense(), {}};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const AttentionAnswer& answer : got) CHECK(Difference(answer, want) == "");
}

TEST_CASE("calls leave the OpenMP settings of the calling thread as they were") {
#ifdef _OPENMP
  const int threads = omp_get_max_threads(), dynamic = omp_get_dynamic();
  const int levels = omp_get_max_active_levels();
  omp_sched_t kind, kind_after;
  int chunk = 0, chunk_after = 0;
  omp_set_num_threads(5);
  omp_set_dynamic(1);
  omp_get_schedule(&kind, &chunk);
  for (Runner& runner : Runners()) SomeProblem().Run(*runner.context);
  CHECK(omp_get_max_threads() == 5);
  CHECK(omp_get_dynamic() == 1);
  CHECK(omp_get_max_active_levels() == levels);
  omp_get_schedule(&kind_after, &chunk_after);
  CHECK(kind == kind_after);
  CHECK(chunk == chunk_after);
  omp_set_num_threads(threads);
  omp_set_dynamic(dynamic);
#else
  SkipCase("built without OpenMP");
#endif
}

TEST_CASE("calls from inside an OpenMP region give the same bits") {
#ifdef _OPENMP
  const AttentionProblem p = SomeProblem();
  Context context;
  const AttentionAnswer want = p.Run(context);
  std::vector<std::vector<float>> got(2);
#pragma omp parallel for num_threads(2)
  for (int i = 0; i < 2; ++i) {
    Context own;
    Tensor<float> out({1, 300, 4, 32});
    if (attention(p.q.view(), p.k.view(), p.v.view(), out.mutable_view(), p.Options(), own).ok()) {
      got[static_cast<size_t>(i)] = out.Dense();
    }
  }
  for (const std::vector<float>& out : got) CHECK(Difference(out, want.out) == "");
#else
  SkipCase("built without OpenMP");
#endif
}

}  // namespace
}  // namespace heed::test
