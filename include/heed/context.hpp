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

// Memory of the caller's, aligned to kMemoryAlignment, that lives as long as what is made in it.
struct Memory {
  void* data = nullptr;
  size_t bytes = 0;
};
inline constexpr size_t kMemoryAlignment = 64;

// Who runs the tasks of a call. Never changes a result.
enum class Threading : int32_t {
  kDefault,  // the parallel_for where one is given, else OpenMP where the build has it, else kNone
  kNone,     // the calling thread alone
  kOpenMP,   // kUnsupported where the build has none
  kParallelFor,  // the parallel_for, which must be given
};

struct ContextOptions {
  // Threads a call may use; 0: as many as OpenMP would (OMP_NUM_THREADS, else the CPUs that the
  // process's affinity leaves it), and no more than the CPU quota of its control group, rounded up.
  // Fewer are used when the work is small, or when the process may not have so many. With kNone 1,
  // whatever is asked for. Never changes a result.
  size_t num_threads = 0;

  Threading threading = Threading::kDefault;

  // num_threads then says how many workers to ask for (0: 1).
  ParallelFor parallel_for = {};

  // Name of the instruction set, as supported_targets() spells it ("AVX2"); null: the best one.
  const char* target = nullptr;

  // Given: the context lies in there with its workspace, and calls that get it take nothing from
  // the heap. memory_bytes() says how large it must be. A call that needs more is refused with
  // kOutOfMemory and both numbers. (The heap is still where OpenMP starts threads and where caches,
  // matrices and layers are made without a Memory; pack_gguf() unpacks there.)
  Memory memory = {};

  // A context that runs nothing: a call that gets it is checked and planned as ever, writes
  // nothing, and returns kMeasured (kOk where there is nothing to compute), or why it is refused.
  // workspace_bytes() is then what the largest call so far needs, exactly: a context with the same
  // options and that much workspace has enough, and with less has not.
  //
  // Data of views may be null here: shapes, strides and types count. Of lists only cu_seqlens_q,
  // cu_seqlens_k and seq_lens are read, since lengths decide; null seq_lens stand for sequences as
  // long as their rows of the block_table allow. KvCache::without_data() stands for a cache.
  bool measure = false;
};

// One call at a time may use a Context; make one per thread that calls heed. It starts no threads
// of its own: OpenMP's are used during calls, and the OpenMP settings of the calling thread are
// left as they were. The workspace grows to the largest problem seen and is then reused: a call of
// a size seen before allocates nothing. In the caller's memory it does not grow. On the heap it,
// packed weights and caches lie in huge pages where they are 4 MiB or more and Linux gives them
// (madvise). (Before more of OpenMP's threads are asked for than the call before had, the limits
// below are read, for which the C library may allocate.)
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

  // Not ok when the options were refused; every call that gets this Context then returns the same
  // Status. kInvalidArgument: unknown target, more than 4096 threads, kParallelFor without one,
  // memory that is null or not aligned. kUnsupported: kOpenMP in a build without. kOutOfMemory:
  // memory of fewer than memory_bytes(0) bytes.
  const Status& status() const;

  // What ContextOptions::memory must have for so much workspace. SIZE_MAX: no memory is so large.
  static size_t memory_bytes(size_t workspace_bytes);

  size_t num_threads() const;
  const char* target() const;  // the instruction set in use
  // Held now, all threads together. Of a context that measures: needed.
  size_t workspace_bytes() const;

  struct Impl;

 private:
  enum class Refused : uint8_t { kMoved, kMemory, kTooSmall };
  const Status& why_none() const;
  Impl* impl_ = nullptr;
  Refused refused_ = Refused::kMoved;  // where there is no impl_
};

}  // namespace heed::inline v1
