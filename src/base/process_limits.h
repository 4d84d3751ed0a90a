// What the system lets this process have. Known on Linux alone; elsewhere there are no limits.
#pragma once

#include <cstddef>

namespace heed::inline v1 {

// `root` goes before every path that is read, so that tests can make up a system.

// The CPUs whose time the process may use in all: the least quota of its control group and those
// above it, at least 1, SIZE_MAX without one. A part of a CPU counts as one: a thread more waits at
// times, a thread less would leave the part unused.
size_t CpuQuota(const char* root = "");

// How many of `wanted` more threads the process may start: the least of what its control groups
// (pids.max) and its user (RLIMIT_NPROC, which does not bind root) have left.
size_t ThreadsToBeHad(size_t wanted, const char* root = "");

}  // namespace heed::inline v1
