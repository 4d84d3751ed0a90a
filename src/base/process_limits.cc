#include "src/base/process_limits.h"

#include <algorithm>
#include <cstdint>

#ifdef __linux__
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#endif

namespace heed::inline v1 {

#ifdef __linux__
namespace {

constexpr size_t kMaxPath = 4096;

// A small file, whole; longer ones are cut.
class Text {
 public:
  // False when it can't be read.
  bool Read(const char* root, const char* directory, const char* name) {
    char path[kMaxPath];
    const int length = std::snprintf(path, sizeof(path), "%s%s/%s", root, directory, name);
    if (length < 0 || static_cast<size_t>(length) >= sizeof(path)) return false;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    size_t used = 0;
    ssize_t n = 0;
    while (used < sizeof(text_) - 1 &&
           (n = read(file, text_ + used, sizeof(text_) - 1 - used)) > 0) {
      used += static_cast<size_t>(n);
    }
    close(file);
    text_[used] = '\0';
    return n >= 0 && used > 0;
  }

  const char* text() const { return text_; }

  // The number that follows `label`, the first in the text; false: there is none.
  bool Number(const char* label, uint64_t* value) const {
    const char* at = std::strstr(text_, label);
    return at != nullptr && ParseNumber(at + std::strlen(label), value);
  }

  // "max" and "-1" are no numbers: they stand for no limit.
  static bool ParseNumber(const char* text, uint64_t* value) {
    while (*text == ' ' || *text == '\t') ++text;
    if (*text < '0' || *text > '9') return false;
    *value = std::strtoull(text, nullptr, 10);
    return true;
  }

 private:
  char text_[8192];
};

// The first `c` before `end`, else `end`.
const char* Find(const char* text, const char* end, char c) {
  while (text < end && *text != c) ++text;
  return text;
}

// Whether `name` is in the list "cpu,cpuacct" that ends before `end`.
bool IsListed(const char* name, const char* list, const char* end) {
  const size_t length = std::strlen(name);
  while (list <= end) {
    const char* comma = Find(list, end, ',');
    if (static_cast<size_t>(comma - list) == length && std::memcmp(list, name, length) == 0) {
      return true;
    }
    list = comma + 1;
  }
  return false;
}

// The group of `controller` from lines "2:cpu,cpuacct:/path", version 2's from "0::/path", which
// has no list. Empty: the root, or unknown.
void FindGroup(const char* lines, const char* controller, char (&group)[kMaxPath]) {
  group[0] = '\0';
  for (const char* line = lines; *line != '\0';) {
    const char* end = std::strchr(line, '\n');
    if (end == nullptr) end = line + std::strlen(line);
    const char* list = Find(line, end, ':');
    const char* path = list == end ? end : Find(list + 1, end, ':');
    if (path != end && IsListed(controller, list + 1, path)) {
      const auto length = static_cast<size_t>(end - path - 1);
      if (length >= kMaxPath) return;
      std::memcpy(group, path + 1, length);
      group[length] = '\0';
      // A group outside of what is mounted here.
      if (std::strstr(group, "/..") != nullptr) group[0] = '\0';
      return;
    }
    line = *end == '\0' ? end : end + 1;
  }
}

// Calls visit(directory) for the group of a controller and all above it. Where a container shows
// the group's path outside, only the root of the mount is there, which is its own.
template <class Visit>
void ForEachGroup(const Text& groups, const char* controller, const char* mount,
                  const Visit& visit) {
  char group[kMaxPath], directory[2 * kMaxPath];
  FindGroup(groups.text(), controller, group);
  while (true) {
    std::snprintf(directory, sizeof(directory), "%s%s", mount, group);
    visit(directory);
    char* slash = std::strrchr(group, '/');
    if (slash == nullptr) return;
    *slash = '\0';
  }
}

size_t WholeCpus(uint64_t quota, uint64_t period) {
  if (period == 0) return SIZE_MAX;
  return static_cast<size_t>(std::max<uint64_t>(1, quota / period + (quota % period != 0)));
}

// All threads of processes of a user.
uint64_t ThreadsOfUser(const char* root, uid_t user) {
  char path[kMaxPath];
  std::snprintf(path, sizeof(path), "%s/proc", root);
  DIR* processes = opendir(path);
  if (processes == nullptr) return 0;
  uint64_t count = 0;
  Text status;
  while (const dirent* process = readdir(processes)) {
    if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
    char directory[sizeof("/proc/") + sizeof(process->d_name)];
    std::snprintf(directory, sizeof(directory), "/proc/%s", process->d_name);
    uint64_t owner = 0, threads = 0;
    if (status.Read(root, directory, "status") && status.Number("\nUid:", &owner) &&
        owner == user && status.Number("\nThreads:", &threads)) {
      count += threads;
    }
  }
  closedir(processes);
  return count;
}

size_t Left(uint64_t limit, uint64_t used) {
  return static_cast<size_t>(limit - std::min(limit, used));
}

// Of RLIMIT_NPROC, which counts a user's threads.
size_t LeftOfUser(size_t wanted, const char* root) {
  rlimit limit = {};
  const uid_t user = getuid();
  if (user == 0 || getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return wanted;
  }
  // All threads of the system are quickly known; where they leave enough, the user's do.
  Text load;
  uint64_t all = 0;
  if (load.Read(root, "/proc", "loadavg") && load.Number("/", &all) && all != 0 &&
      Left(limit.rlim_cur, all) >= wanted) {
    return wanted;
  }
  return Left(limit.rlim_cur, ThreadsOfUser(root, user));
}

}  // namespace

size_t CpuQuota(const char* root) {
  size_t cpus = SIZE_MAX;
  Text groups, text;
  if (!groups.Read(root, "/proc/self", "cgroup")) return cpus;
  for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    ForEachGroup(groups, "", mount, [&](const char* directory) {  // "200000 100000"
      uint64_t quota = 0, period = 0;
      if (text.Read(root, directory, "cpu.max") && text.Number("", &quota) &&
          text.Number(" ", &period)) {
        cpus = std::min(cpus, WholeCpus(quota, period));
      }
    });
  }
  ForEachGroup(groups, "cpu", "/sys/fs/cgroup/cpu", [&](const char* directory) {
    uint64_t quota = 0, period = 0;
    if (text.Read(root, directory, "cpu.cfs_quota_us") && text.Number("", &quota) &&
        text.Read(root, directory, "cpu.cfs_period_us") && text.Number("", &period)) {
      cpus = std::min(cpus, WholeCpus(quota, period));
    }
  });
  return cpus;
}

size_t ThreadsToBeHad(size_t wanted, const char* root) {
  size_t left = std::min(wanted, LeftOfUser(wanted, root));
  Text groups, text;
  if (!groups.Read(root, "/proc/self", "cgroup")) return left;
  const auto take = [&](const char* directory) {
    uint64_t limit = 0, used = 0;
    if (text.Read(root, directory, "pids.max") && text.Number("", &limit) &&
        text.Read(root, directory, "pids.current") && text.Number("", &used)) {
      left = std::min(left, Left(limit, used));
    }
  };
  ForEachGroup(groups, "", "/sys/fs/cgroup", take);
  ForEachGroup(groups, "", "/sys/fs/cgroup/unified", take);
  ForEachGroup(groups, "pids", "/sys/fs/cgroup/pids", take);
  return left;
}

#else

size_t CpuQuota(const char*) { return SIZE_MAX; }

size_t ThreadsToBeHad(size_t wanted, const char*) { return wanted; }

#endif

}  // namespace heed::inline v1
