// What docs/threads.md says of heed's threads in a program, on Linux: each case is a statement
// there. Most need a process of their own, with an environment of its own: the program calls
// itself.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "heed/heed.hpp"
#include "test/support/run_cases.h"

namespace heed::test {
namespace {

size_t ThreadsOfProcess() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Large enough for several threads, some 0.2 ms.
class Product {
 public:
  bool Run(Context& context) {
    return matmul(TensorView(a_.data(), {64, 256}), TensorView(b_.data(), {256, 256}),
                  MutableTensorView(c_.data(), {64, 256}), {}, context)
        .ok();
  }

 private:
  std::vector<float> a_ = std::vector<float>(64 * 256, 1.0f);
  std::vector<float> b_ = std::vector<float>(256 * 256, 0.5f), c_ = std::vector<float>(64 * 256);
};

// Bodies of children: each prints a number.
double NumThreads() { return static_cast<double>(Context().num_threads()); }

double ThreadsAfter(const ContextOptions& options) {
  Product product;
  Context context(options), other(options);
  if (!product.Run(context) || !product.Run(other)) return -1;
  return static_cast<double>(ThreadsOfProcess());
}

double ThreadsOfTwoHostThreads() {
  std::mutex mutex;
  std::condition_variable changed;
  size_t computed = 0;
  bool counted = false;
  std::vector<std::thread> hosts;
  for (int i = 0; i < 2; ++i) {
    hosts.emplace_back([&] {
      Product product;
      Context context({.num_threads = 2});
      product.Run(context);
      std::unique_lock lock(mutex);
      ++computed;
      changed.notify_all();
      changed.wait(lock, [&] { return counted; });
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return computed == 2; });
  const size_t threads = ThreadsOfProcess();
  counted = true;
  lock.unlock();
  changed.notify_all();
  for (std::thread& host : hosts) host.join();
  return static_cast<double>(threads);
}

double ThreadsInRegion() {
  size_t threads = 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(2)
  {
    Product product;
    Context context({.num_threads = 2});
    product.Run(context);
#pragma omp barrier
#pragma omp master
    threads = ThreadsOfProcess();
  }
#endif
  return static_cast<double>(threads);
}

double CpuOfSomeCalls() {
  Product product;
  Context context({.num_threads = 2});
  const double before = CpuSeconds();
  for (int i = 0; i < 40; ++i) {
    product.Run(context);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return CpuSeconds() - before;
}

const std::map<std::string, std::function<double()>> kChildren = {
    {"num_threads", NumThreads},
    {"threads-none", [] { return ThreadsAfter({.threading = Threading::kNone}); }},
    {"threads-openmp", [] { return ThreadsAfter({.num_threads = 2}); }},
    {"threads-hosts", ThreadsOfTwoHostThreads},
    {"threads-region", ThreadsInRegion},
    {"cpu", CpuOfSomeCalls},
};

// What this program prints as that child, with these variables, on as many CPUs (0: all).
double InChild(const std::string& name, const std::map<std::string, std::string>& variables = {},
               int cpus = 0) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    for (const char* variable : {"OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"}) {
      unsetenv(variable);
    }
    for (const auto& [variable, value] : variables) setenv(variable.c_str(), value.c_str(), 1);
    if (cpus == 1) {
      cpu_set_t one, all;
      CPU_ZERO(&one);
      sched_getaffinity(0, sizeof(all), &all);
      int first = 0;
      while (!CPU_ISSET(first, &all)) ++first;
      CPU_SET(first, &one);
      sched_setaffinity(0, sizeof(one), &one);
    }
    dup2(ends[1], STDOUT_FILENO);
    alarm(60);
    execl("/proc/self/exe", "heed-embedding-test", "--child", name.c_str(),
          static_cast<char*>(nullptr));
    _exit(1);
  }
  close(ends[1]);
  char text[64] = {};
  size_t used = 0;
  for (ssize_t n; (n = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0;) {
    used += static_cast<size_t>(n);
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? std::atof(text) : -1;
}

TEST_CASE("with kNone a call computes on the calling thread alone") {
  CHECK(InChild("threads-none", {{"OMP_NUM_THREADS", "4"}}) == 1);
  Context context({.num_threads = 8, .threading = Threading::kNone});
  CHECK(context.num_threads() == 1);
}

TEST_CASE("kNone and kOpenMP pass over a pool that is given") {
  size_t calls = 0;
  ContextOptions options;
  options.num_threads = 2;
  options.parallel_for.pool = &calls;
  options.parallel_for.run = [](void* pool, size_t workers, void (*body)(void*, size_t),
                                void* arg) {
    ++*static_cast<size_t*>(pool);
    for (size_t worker = 0; worker < workers; ++worker) body(arg, worker);
  };
  Product product;
  options.threading = Threading::kNone;
  Context none(options);
  CHECK(product.Run(none));
  CHECK(calls == 0);
  options.threading = Threading::kParallelFor;
  Context pool(options);
  CHECK(product.Run(pool));
  CHECK(calls > 0);
}

#ifdef _OPENMP

TEST_CASE("contexts of one thread share the threads that OpenMP keeps for it") {
  CHECK(InChild("threads-openmp") == 2);
}

TEST_CASE("each thread of the host that calls heed gets OpenMP threads of its own") {
  CHECK(InChild("threads-hosts") == 1 + 2 * 2);
}

TEST_CASE("within an OpenMP region of the host heed starts no threads") {
  CHECK(InChild("threads-region") == 2);
}

TEST_CASE("OMP_NUM_THREADS and the affinity say how many threads there are by default") {
  CHECK(InChild("num_threads", {{"OMP_NUM_THREADS", "1"}}) == 1);
  CHECK(InChild("num_threads", {}, /*cpus=*/1) == 1);
}

TEST_CASE("threads that wait passively take far less of the CPUs between calls") {
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) < 2) {
    SkipCase("this process has one CPU, on which nothing spins");
    return;
  }
  const double active = InChild("cpu", {{"OMP_WAIT_POLICY", "active"}});
  const double passive = InChild("cpu", {{"OMP_WAIT_POLICY", "passive"}});
  CAPTURE(active);
  CAPTURE(passive);
  CHECK(passive > 0);
  CHECK(active > 2 * passive);
}

#endif

}  // namespace
}  // namespace heed::test

int main(int argc, char** argv) {
  using heed::test::kChildren;
  if (argc == 3 && std::strcmp(argv[1], "--child") == 0 && kChildren.contains(argv[2])) {
    std::printf("%g\n", kChildren.at(argv[2])());
    return 0;
  }
  return heed::test::RunCases(argc, argv);
}
