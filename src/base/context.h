// The room that all others stand on: views and their checks (tensor, check), Status, exact math,
// half floats, memory (arena.h), threads (parallel.h) and the host's settings
// (float_environment.h).
//
// Here is what a Context holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/context.hpp"
#include "src/base/arena.h"
#include "src/base/cache_size.h"
#include "src/base/float_environment.h"
#include "src/base/hidden.h"
#include "src/base/memory.h"
#include "src/kernels/attention.h"
#include "src/kernels/few_rows.h"
#include "src/kernels/hadamard.h"
#include "src/kernels/matmul.h"
#include "src/kernels/matmul_int16.h"
#include "src/kernels/norm.h"
#include "src/kernels/pack.h"
#include "src/kernels/quantize.h"
#include "src/kernels/rope.h"
#include "src/kernels/softmax.h"
#include "src/kernels/widen.h"

namespace heed::inline v1 {

// Runs the tasks of a loop instead of threads: heed-bench measures them one by one, and a Region
// runs some. When it returns an error the call ends with that.
struct TaskRunner {
  Status (*run)(void* self, size_t num_tasks, size_t workers,
                void (*task)(void* arg, size_t index, size_t worker), void* arg) = nullptr;
  void* self = nullptr;
};

// A table of kernels, looked up where it is used: a program has those alone whose functions it
// calls.
template <class Table>
struct KernelTable {
  int64_t target;
  const Table& operator*() const { return KernelsOf<Table>(target); }
  const Table* operator->() const { return &KernelsOf<Table>(target); }
};

// The kernels of one instruction set. A new table of kernels is a line here.
struct Kernels {
  int64_t target = 0;
  KernelTable<FewRowsKernels> few_rows{target};
  KernelTable<HadamardKernels> hadamard{target};
  KernelTable<MatmulKernels> matmul{target};
  KernelTable<MatmulInt16Kernels> matmul_int16{target};
  KernelTable<PackKernels> pack{target};
  KernelTable<QuantizeKernels> quantize{target};
  KernelTable<WidenKernels> widen{target};
  KernelTable<SoftmaxKernels> softmax{target};
  KernelTable<RopeKernels> rope{target};
  KernelTable<NormKernels> norm{target};
  KernelTable<AttentionKernels> attention{target};
};

struct HEED_HIDDEN Context::Impl : Kernels, Placed {
  static Impl* Of(const Context& context) { return context.impl_; }

  Status status;
  size_t num_threads = 1;
  Threading threading = Threading::kNone;
  ParallelFor parallel_for;
  TaskRunner task_runner;
  // Waking a thread costs several microseconds: what one core computes meanwhile is not worth
  // sharing. Tests lower it to spread small problems too.
  double flops_per_worker = 1e6;
  size_t l2_bytes = L2CacheBytes();

  // What a call that measures ends with.
  static const Status& Measured();
  // Nothing runs: what calls would take is noted.
  bool measures = false;
  size_t measured_bytes = 0;

  // The caller's, behind this; null: workspace is taken from the heap.
  char* fixed = nullptr;
  size_t fixed_bytes = 0;
  HeapMemory workspace, lists;
  size_t workspace_bytes = 0, lists_bytes = 0;

  // An arena of at least `bytes`, the plan's, for the length of a call. The memory is grown when
  // needed (contents are lost) and kept for the next call. `of_lists`: what the plan has taken with
  // ReserveLists, a multiple of Arena::kAlignment. Before anything is written, for this is where a
  // call that measures ends.
  Status Reserve(size_t bytes, Arena* arena, size_t of_lists = 0);

  // The same for what a plan copies from the caller. It holds until the next plan.
  Status ReserveLists(size_t bytes, Arena* arena);

  Impl() = default;
  // What runs a plan of `from`'s, without memory.
  Impl(const Impl& from, const TaskRunner& runner);
};

// What every function that gets a context begins with.
class Call {
 public:
  explicit Call(const Context& context);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Ok, or why this context can't be used.
  const Status& status() const { return context_.status(); }

 private:
  const FloatEnvironment environment_;
  const Context& context_;
  const bool data_was_optional_;  // see DataIsOptional
};

// Of `count` elements of `size` bytes.
Status OutOfMemory(const char* what, size_t count, size_t size = 1);

}  // namespace heed::inline v1
