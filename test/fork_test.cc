// Children of a process whose OpenMP threads are alive, and threads that the system refuses.
#include <doctest/doctest.h>

#if (defined(__unix__) || defined(__APPLE__)) && !defined(__wasm__)

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <system_error>
#include <thread>
#include <vector>

#include "heed/context.hpp"
#include "heed/softmax.hpp"
#include "src/base/context.h"
#include "test/support/run_cases.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

enum Outcome : int { kSame = 10, kOther, kTooManyThreads, kCannot };

// The exit code of a child that runs `body`, or minus the signal that ended it: of the alarm, when
// it hangs.
int InChild(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

ContextOptions Threads(size_t n) {
  ContextOptions options;
  options.num_threads = n;
  return options;
}

class Problem {
 public:
  Problem() : x_(Normal({400, 64}, random_)), y_({400, 64}) {
    Context context(Threads(1));
    if (Run(context)) want_ = y_.Dense();
    y_.Reset();
  }

  bool Run(Context& context) {
    Context::Impl::Of(context)->flops_per_worker = 1;
    return softmax(x_.view(), y_.mutable_view(), {}, context).ok();
  }
  int SameBits(Context& context) {
    y_.Reset();
    if (!Run(context)) return kOther;
    const std::vector<float> got = y_.Dense();
    return got.size() == want_.size() &&
                   std::memcmp(got.data(), want_.data(), got.size() * sizeof(float)) == 0
               ? kSame
               : kOther;
  }

 private:
  Random random_{3};
  Tensor<float> x_, y_;
  std::vector<float> want_;
};

// On a thread without a past.
template <class F>
void OnNewThread(F f) {
  std::thread(f).join();
}

TEST_CASE("a child forked after a call computes the same bits, with the old Context or a new one") {
  int with_old = 0, with_new = 0, grandchild = 0;
  OnNewThread([&] {
    Problem problem;
    Context old(Threads(2));
    problem.Run(old);
    with_old = InChild([&] { return problem.SameBits(old); });
    with_new = InChild([&] {
      Context fresh(Threads(3));
      return problem.SameBits(fresh);
    });
    grandchild = InChild([&] {
      Context fresh(Threads(2));
      const int child = problem.SameBits(fresh);
      return child != kSame ? child : InChild([&] { return problem.SameBits(fresh); });
    });
    CHECK(problem.SameBits(old) == kSame);
  });
  CHECK(with_old == kSame);
  CHECK(with_new == kSame);
  CHECK(grandchild == kSame);
}

#if defined(_OPENMP) && defined(__linux__)

// Threads of this process; 0 where that is not known.
size_t NumThreads() {
  size_t count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/task", error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  return count;
}

// Emulators and ThreadSanitizer end a child that starts threads.
#if defined(HEED_TEST_CROSS) || defined(__SANITIZE_THREAD__)
constexpr bool kChildrenStartThreads = false;
#elif defined(__has_feature)
constexpr bool kChildrenStartThreads = !__has_feature(thread_sanitizer);
#else
constexpr bool kChildrenStartThreads = true;
#endif

TEST_CASE("a child forked before any call of its thread uses several") {
  if (!kChildrenStartThreads) {
    SkipCase("a child may not start threads here");
    return;
  }
  int threads = 0;
  OnNewThread([&] {
    Problem problem;
    threads = InChild([&] {
      Context context(Threads(2));
      const int bits = problem.SameBits(context);
      return bits == kSame ? static_cast<int>(NumThreads()) : bits;
    });
  });
  CHECK(threads == 2);
}

TEST_CASE("heed asks for no more threads than the user may have") {
  if (!kChildrenStartThreads) {
    SkipCase("a child may not start threads here");
    return;
  }
  for (const rlim_t limit : {rlim_t{1}, rlim_t{2}}) {
    int code = 0;
    OnNewThread([&] {
      Problem problem;
      code = InChild([&]() -> int {
        const rlimit both = {limit, limit};
        if (setrlimit(RLIMIT_NPROC, &both) != 0) return kCannot;
        if (getuid() == 0 && setuid(65534) != 0) return kCannot;  // root has no such limit
        Context context(Threads(4));
        const int bits = problem.SameBits(context);
        if (bits != kSame) return bits;
        if (NumThreads() > limit) return kTooManyThreads;
        try {  // does the limit bind at all?
          std::vector<std::thread> more;
          for (int i = 0; i < 4; ++i) more.emplace_back([] { sleep(60); });
        } catch (const std::system_error&) {
          _exit(kSame);
        }
        return kCannot;
      });
    });
    if (code == kCannot) {
      SkipCase("the limit on processes does not bind here");
      return;
    }
    CHECK(code == kSame);
  }
}
#endif

}  // namespace
}  // namespace heed::test

#endif
