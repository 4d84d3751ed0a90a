// Where heed runs: threads, the instruction set, and the workspace that calls reuse.
#pragma once

#include "heed/c/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// A thread pool of the caller's own. `run` must call body(arg, worker) once for each worker in
// [0, num_workers), at the same time or one after another, and return when all have returned. Where
// it drops workers and work is left undone, the function of heed returns HEED_INVALID_ARGUMENT and
// its results hold anything.
typedef struct heed_parallel_for {
  void (*run)(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker), void* arg);
  void* pool;
} heed_parallel_for;

// Memory of the caller's for what is made, aligned to HEED_MEMORY_ALIGNMENT, that lives as long as
// that. All zeros, the default in options, is the heap, and so is a null pointer to a heed_memory;
// null data with bytes is HEED_INVALID_ARGUMENT.
typedef struct heed_memory {
  void* data;
  size_t bytes;
} heed_memory;
enum { HEED_MEMORY_ALIGNMENT = 64 };

// Who runs the tasks of a call. Never changes a result.
typedef int32_t heed_threading;
enum {
  // The parallel_for where one is given, else OpenMP where the build has it, else none.
  HEED_THREADING_DEFAULT = 0,
  HEED_THREADING_NONE = 1,          // the calling thread alone
  HEED_THREADING_OPENMP = 2,        // HEED_UNSUPPORTED where the build has none
  HEED_THREADING_PARALLEL_FOR = 3,  // the parallel_for, which must be given
};

typedef struct heed_context_options {
  size_t struct_size;

  // Threads a call may use; 0: as many as OpenMP would (OMP_NUM_THREADS, else the CPUs that the
  // process's affinity leaves it), and no more than the CPU quota of its control group, rounded up.
  // Fewer are used when the work is small, or when the process may not have so many. With
  // HEED_THREADING_NONE 1, whatever is asked for. Never changes a result.
  size_t num_threads;

  heed_threading threading;

  // num_threads then says how many workers to ask for (0: 1).
  heed_parallel_for parallel_for;

  // Name of the instruction set, as heed_supported_targets() spells it ("AVX2"); null: the best
  // one.
  const char* target;

  // Given: the context lies in there with its workspace, and calls that get it take nothing from
  // the heap. heed_context_memory_bytes() says how large it must be. A call that needs more is
  // refused with HEED_OUT_OF_MEMORY; a context that measures says beforehand how much. (The heap is
  // still where OpenMP starts threads and where caches, matrices and layers are made without a
  // heed_memory.)
  heed_memory memory;

  // A context that runs nothing: a call that gets it is checked and planned as ever, writes
  // nothing, and returns HEED_MEASURED, or why it is refused; where nothing is to be computed it
  // may return HEED_OK. heed_context_workspace_bytes() is then what the largest call so far needs,
  // exactly: a context with the same options and that much workspace has enough, and with less has
  // not.
  //
  // Data of tensors and blocks of GGUF may be null here: shapes, strides and types count. Of lists
  // cu_seqlens_q, cu_seqlens_k and seq_lens alone are read, as lengths decide; null seq_lens stand
  // for sequences as long as their rows of the block_table allow. A cache's stand-in is made by
  // heed_kv_cache_create_without_data().
  bool measure;
} heed_context_options;

HEED_API void heed_context_options_init(heed_context_options* options, size_t struct_size);

// One call at a time may use a context; make one per thread that calls heed. It starts no threads
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
typedef struct heed_context heed_context;

// Errors: HEED_INVALID_ARGUMENT (unknown target, more than 4096 threads,
// HEED_THREADING_PARALLEL_FOR without one, memory that is not aligned), HEED_UNSUPPORTED
// (HEED_THREADING_OPENMP in a build without), HEED_OUT_OF_MEMORY (no memory, or a `memory` of
// fewer than heed_context_memory_bytes(0) bytes).
HEED_API heed_status heed_context_create(const heed_context_options* options,
                                         heed_context** context, heed_error* error);
HEED_API void heed_context_destroy(heed_context* context);

// What the `memory` of the options must have for so much workspace. SIZE_MAX: no memory is so
// large.
HEED_API size_t heed_context_memory_bytes(size_t workspace_bytes);

HEED_API size_t heed_context_num_threads(const heed_context* context);
// The instruction set in use; null for a null context.
HEED_API const char* heed_context_target(const heed_context* context);
// Held now, all threads together. Of a context that measures: needed.
HEED_API size_t heed_context_workspace_bytes(const heed_context* context);

#ifdef __cplusplus
}
#endif
