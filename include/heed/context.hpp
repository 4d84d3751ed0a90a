// Where heed runs: threads, the instruction set, and the workspace that calls reuse.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/export.h"
#include "heed/status.hpp"

namespace heed::inline v1 {

// A thread pool of the caller's own. `run` must call body(arg, worker) once for each worker in
// [0, num_workers), at the same time or one after another, and return when all have returned. Where
// it drops workers and work is left undone, the function of heed returns kInvalidArgument and its
// results hold anything.
struct ParallelFor {
  void (*run)(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
              void* arg) = nullptr;
  void* pool = nullptr;
};

struct ContextOptions {
  // Threads a call may use; 0: as many as OpenMP would (OMP_NUM_THREADS, else the CPUs that the
  // process's affinity leaves it), and no more than the CPU quota of its control group, rounded up.
  // Fewer are used when the work is small, or when the process may not have so many. A build
  // without OpenMP uses 1 thread, whatever is asked for, unless there is a parallel_for. Never
  // changes a result.
  size_t num_threads = 0;

  // When set, used instead of OpenMP; num_threads then says how many workers to ask for (0: 1).
  ParallelFor parallel_for = {};

  // Name of the instruction set, as supported_targets() spells it ("AVX2"); null: the best one.
  const char* target = nullptr;
};

// One call at a time may use a Context; make one per thread that calls heed. It starts no threads
// of its own: OpenMP's are used during calls, and the OpenMP settings of the calling thread are
// left as they were. The workspace grows to the largest problem seen and is then reused: a call of
// a size seen before allocates nothing. It, packed weights and caches lie in huge pages where they
// are 4 MiB or more and Linux gives them (madvise). (Before more of OpenMP's threads are asked for
// than the call before had, the limits below are read, for which the C library may allocate.)
//
// OpenMP starts no more threads than the limits on processes leave: the control group's, and, but
// for root, the user's (RLIMIT_NPROC). GNU's OpenMP ends the process when a thread can't be had,
// which can still happen where other limits bind (the kernel's threads-max and pid_max, address
// space for stacks; for root of a user namespace, the user's), or others take the last threads in
// between.
//
// After a fork, in a child of a thread that had used several of OpenMP's threads in heed, that
// thread computes alone: the others are not there. What OpenMP does in the host itself heed does
// not see.
//
// The host's floating-point settings (rounding, flushing of subnormals, traps; -ffast-math sets
// some) change no result: every function of heed computes with the defaults, and leaves settings
// and raised flags as it found them.
class HEED_API Context {
 public:
  explicit Context(const ContextOptions& options = {});
  ~Context();
  Context(Context&& other) noexcept;
  Context& operator=(Context&& other) noexcept;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Not ok when the options were refused (unknown target, more than 4096 threads); every call that
  // gets this Context then returns the same Status.
  const Status& status() const;

  size_t num_threads() const;
  const char* target() const;      // the instruction set in use
  size_t workspace_bytes() const;  // held now, all threads together

  struct Impl;

 private:
  Impl* impl_;
};

}  // namespace heed::inline v1
