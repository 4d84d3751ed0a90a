// How many threads: the limits of the system.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "heed/context.hpp"
#include "src/base/process_limits.h"

namespace heed::test {
namespace {

#ifdef __linux__
// A directory that stands for the root of a system with these files.
class FakeRoot {
 public:
  explicit FakeRoot(const std::map<std::string, std::string>& files) {
    std::string name = (std::filesystem::temp_directory_path() / "heed-root-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) return;
    root_ = name;
    for (const auto& [path, text] : files) {
      const std::filesystem::path file = root_ + path;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << text;
    }
  }
  ~FakeRoot() {
    std::error_code ignored;
    if (!root_.empty()) std::filesystem::remove_all(root_, ignored);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  const char* path() const { return root_.c_str(); }

 private:
  std::string root_;
};

constexpr size_t kNone = SIZE_MAX;

TEST_CASE("the CPU quota is the least of the group's and those above it, rounded up") {
  const struct {
    std::map<std::string, std::string> files;
    size_t cpus;
  } cases[] = {
      {{}, kNone},
      {{{"/proc/self/cgroup", "0::/\n"}}, kNone},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"}}, kNone},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "100000 100000\n"}}, 1},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "100001 100000\n"}}, 2},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "150000 100000\n"}}, 2},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "1000 100000\n"}}, 1},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "250000 50000\n"}}, 5},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "1000 0\n"}}, kNone},
      {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "nonsense"}}, kNone},
      {{{"/proc/self/cgroup", "nonsense"}, {"/sys/fs/cgroup/cpu.max", "300000 100000\n"}}, 3},
      // The least of all levels.
      {{{"/proc/self/cgroup", "0::/a/b\n"},
        {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
        {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"}},
       3},
      {{{"/proc/self/cgroup", "0::/a/b\n"},
        {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
        {"/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n"}},
       2},
      // Not the group of another process.
      {{{"/proc/self/cgroup", "0::/a\n"}, {"/sys/fs/cgroup/b/cpu.max", "100000 100000\n"}}, kNone},
      // A group outside of the namespace.
      {{{"/proc/self/cgroup", "0::/../b\n"}, {"/sys/fs/cgroup/cpu.max", "200000 100000\n"}}, 2},
      // Version 1, alone and beside version 2.
      {{{"/proc/self/cgroup", "5:pids:/p\n4:cpu,cpuacct:/a\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}},
       3},
      {{{"/proc/self/cgroup", "4:cpuset:/s\n3:cpuacct,cpu:/a\n0::/b\n"},
        {"/sys/fs/cgroup/cpu/s/cpu.cfs_quota_us", "100000\n"},
        {"/sys/fs/cgroup/cpu/s/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/unified/b/cpu.max", "400000 100000\n"}},
       4},
      // In a container without a namespace of groups: the path is the host's, the mount the
      // group's.
      {{{"/proc/self/cgroup", "4:cpu,cpuacct:/docker/0123\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
       2},
  };
  for (const auto& c : cases) {
    const FakeRoot root(c.files);
    REQUIRE(*root.path() != '\0');
    std::string files;
    for (const auto& [path, text] : c.files) files += path + ": " + text;
    CAPTURE(files);
    CHECK(CpuQuota(root.path()) == c.cpus);
  }
  const FakeRoot long_path({{"/proc/self/cgroup", "0::/" + std::string(6000, 'a') + "\n"},
                            {"/sys/fs/cgroup/cpu.max", "200000 100000\n"}});
  CHECK(CpuQuota(long_path.path()) == 2);
}

TEST_CASE("threads to be had are what the groups of processes have left") {
  const auto group = [](const char* max, const char* current) {
    return std::map<std::string, std::string>{{"/proc/self/cgroup", "0::/a/b\n8:pids:/p\n"},
                                              {"/sys/fs/cgroup/a/pids.max", max},
                                              {"/sys/fs/cgroup/a/pids.current", current}};
  };
  CHECK(ThreadsToBeHad(5, FakeRoot({}).path()) == 5);
  CHECK(ThreadsToBeHad(5, FakeRoot(group("10\n", "7\n")).path()) == 3);
  CHECK(ThreadsToBeHad(2, FakeRoot(group("10\n", "7\n")).path()) == 2);
  CHECK(ThreadsToBeHad(5, FakeRoot(group("10\n", "12\n")).path()) == 0);
  CHECK(ThreadsToBeHad(5, FakeRoot(group("max\n", "12\n")).path()) == 5);
  auto nested = group("10\n", "7\n");
  nested["/sys/fs/cgroup/a/b/pids.max"] = "4\n";
  nested["/sys/fs/cgroup/a/b/pids.current"] = "3\n";
  CHECK(ThreadsToBeHad(5, FakeRoot(nested).path()) == 1);
  auto version1 = group("10\n", "7\n");
  version1["/sys/fs/cgroup/pids/p/pids.max"] = "9\n";
  version1["/sys/fs/cgroup/pids/p/pids.current"] = "7\n";
  CHECK(ThreadsToBeHad(5, FakeRoot(version1).path()) == 2);
}
#endif

TEST_CASE("a Context without a number takes OpenMP's, and no more than the quota") {
#ifdef _OPENMP
  CHECK(Context().num_threads() ==
        std::min(static_cast<size_t>(omp_get_max_threads()), CpuQuota()));
#else
  CHECK(Context().num_threads() == 1);
#endif
}

TEST_CASE("threading is chosen at run time, and what is not there is refused") {
  const Context pool({.threading = Threading::kParallelFor});
  CHECK(pool.status().code() == StatusCode::kInvalidArgument);
  CHECK(std::strstr(pool.status().message(), "parallel_for") != nullptr);
  const Context wrong({.threading = static_cast<Threading>(9)});
  CHECK(wrong.status().code() == StatusCode::kInvalidArgument);
  CHECK(std::strstr(wrong.status().message(), "threading") != nullptr);
  const Context openmp({.num_threads = 2, .threading = Threading::kOpenMP});
#ifdef _OPENMP
  CHECK(openmp.status().ok());
  CHECK(openmp.num_threads() == 2);
#else
  CHECK(openmp.status().code() == StatusCode::kUnsupported);
#endif
}

}  // namespace
}  // namespace heed::test
