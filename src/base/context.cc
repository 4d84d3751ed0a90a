#include "src/base/context.h"

#include <algorithm>
#include <new>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#include "src/base/check.h"
#include "src/base/process_limits.h"
#include "src/base/targets.h"

namespace heed::inline v1 {
namespace {

constexpr size_t kMaxThreads = 4096;
constexpr size_t kAlignment = Arena::kAlignment;
constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
#ifdef _OPENMP
constexpr bool kHasOpenMP = true;
#else
constexpr bool kHasOpenMP = false;
#endif

Status ChooseThreading(const ContextOptions& options, Threading* threading) {
  const bool pool = options.parallel_for.run != nullptr;
  *threading = options.threading;
  switch (options.threading) {
    case Threading::kDefault:
      *threading = pool         ? Threading::kParallelFor
                   : kHasOpenMP ? Threading::kOpenMP
                                : Threading::kNone;
      return Status();
    case Threading::kNone:
      return Status();
    case Threading::kOpenMP:
      if (kHasOpenMP) return Status();
      return Status::Error(StatusCode::kUnsupported,
                           "threading: is OpenMP, which this build does not have");
    case Threading::kParallelFor:
      if (pool) return Status();
      return Status::Error(kInvalid,
                           "parallel_for: is missing, must be given where threading names it");
  }
  return Status::Error(kInvalid, "threading: %d does not exist",
                       static_cast<int>(options.threading));
}

size_t NumThreads(const ContextOptions& options, Threading threading) {
  if (threading == Threading::kNone) return 1;
#ifdef _OPENMP
  if (options.num_threads == 0 && threading == Threading::kOpenMP) {
    return std::min(static_cast<size_t>(omp_get_max_threads()), CpuQuota());
  }
#endif
  return std::max<size_t>(options.num_threads, 1);
}

Status Initialize(const ContextOptions& options, Context::Impl* impl) {
  if (options.num_threads > kMaxThreads) {
    return Status::Error(kInvalid, "num_threads: is %zu, must be at most %zu", options.num_threads,
                         kMaxThreads);
  }
  HEED_RETURN_IF_ERROR(ChooseThreading(options, &impl->threading));
  impl->num_threads = NumThreads(options, impl->threading);
  impl->parallel_for = options.parallel_for;
  impl->measures = options.measure;
  const int64_t target = options.target == nullptr ? BestTarget() : TargetByName(options.target);
  if (target == 0) {
    return Status::Error(kInvalid,
                         "target: '%.40s' is not an instruction set of this build and CPU",
                         options.target);
  }
  static_cast<Kernels&>(*impl) = Kernels{target};
  return Status();
}

Status Grow(size_t bytes, HeapMemory* memory, size_t* held, Arena* arena) {
  if (*held < bytes) {
    *held = memory->Replace(bytes) == nullptr ? 0 : bytes;
    if (*held == 0) return OutOfMemory("workspace", bytes);
  }
  *arena = Arena(memory->get());
  return Status();
}

size_t SumOrTooMuch(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

Status TooFewBytes(size_t needed, size_t held) {
  return Status::Error(StatusCode::kOutOfMemory,
                       "workspace: needs at least %zu bytes, the context's memory has %zu for it; "
                       "one that measures tells how many it takes in all",
                       needed, held);
}

}  // namespace

Status Context::Impl::Reserve(size_t bytes, Arena* arena, size_t of_lists) {
  const size_t needed = SumOrTooMuch(bytes, of_lists);
  if (measures) {
    measured_bytes = std::max(measured_bytes, needed);
    return Measured();
  }
  if (fixed == nullptr) return Grow(bytes, &workspace, &workspace_bytes, arena);
  if (needed > fixed_bytes) return TooFewBytes(needed, fixed_bytes);
  *arena = Arena(fixed);
  return Status();
}

Status Context::Impl::ReserveLists(size_t bytes, Arena* arena) {
  if (fixed != nullptr) {  // at its end, away from the workspace
    if (bytes > fixed_bytes) return TooFewBytes(bytes, fixed_bytes);
    *arena = Arena(fixed + fixed_bytes - bytes);
    return Status();
  }
  // In pages, so that a block table that grows entry by entry seldom needs new memory.
  constexpr size_t kPage = 4096;
  const size_t pages = bytes < SIZE_MAX - kPage ? RoundUp(bytes, kPage) : bytes;
  return Grow(pages, &lists, &lists_bytes, arena);
}

Context::Impl::Impl(const Impl& from, const TaskRunner& runner)
    : Kernels(from),
      num_threads(from.num_threads),
      task_runner(runner),
      flops_per_worker(from.flops_per_worker),
      l2_bytes(from.l2_bytes) {}

Call::Call(const Context& context)
    : context_(context),
      data_was_optional_(SetDataIsOptional(Context::Impl::Of(context) != nullptr &&
                                           Context::Impl::Of(context)->measures)) {}

Call::~Call() { SetDataIsOptional(data_was_optional_); }

Status OutOfMemory(const char* what, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) {
    return Status::Error(StatusCode::kOutOfMemory, "%s: is too large for the address space", what);
  }
  return Status::Error(StatusCode::kOutOfMemory, "%s: could not allocate %zu bytes", what, bytes);
}

// Without a constructor that runs before main or at the first use: a library of C has none.
const Status& Context::Impl::Measured() {
  static constinit const Status status(StatusCode::kMeasured,
                                       "context: measures, so nothing was computed");
  return status;
}

const Status& Context::why_none() const {
  static constinit const Status moved(kInvalid, "context: was moved from, or had no memory");
  static constinit const Status unaligned(
      kInvalid, "memory: is null or not aligned, must be aligned to 64 bytes");
  static constinit const Status too_small(StatusCode::kOutOfMemory,
                                          "memory: has too few bytes for a context");
  return refused_ == Refused::kMemory     ? unaligned
         : refused_ == Refused::kTooSmall ? too_small
                                          : moved;
}

Context::Context(const ContextOptions& options) {
  const Memory& memory = options.memory;
  if (IsHeap(memory)) {
    impl_ = New<Impl>();
    if (impl_ != nullptr) impl_->on_heap = true;
  } else if (const Status status = CheckMemory(memory, memory_bytes(0)); !status.ok()) {
    refused_ = status.code() == kInvalid ? Refused::kMemory : Refused::kTooSmall;
  } else {
    constexpr size_t kOwn = RoundUp(sizeof(Impl), kAlignment);
    impl_ = new (memory.data) Impl;
    impl_->fixed = static_cast<char*>(memory.data) + kOwn;
    impl_->fixed_bytes = (memory.bytes - kOwn) / kAlignment * kAlignment;
  }
  if (impl_ != nullptr) impl_->status = Initialize(options, impl_);
}

Context::~Context() {
  if (impl_ != nullptr) Remove(impl_);
}

Context::Context(Context&& other) noexcept
    : impl_(std::exchange(other.impl_, nullptr)), refused_(other.refused_) {}

Context& Context::operator=(Context&& other) noexcept {
  std::swap(impl_, other.impl_);
  std::swap(refused_, other.refused_);
  return *this;
}

size_t Context::memory_bytes(size_t workspace_bytes) {
  constexpr size_t kOwn = RoundUp(sizeof(Impl), kAlignment);
  if (workspace_bytes > SIZE_MAX - kOwn - kAlignment) return SIZE_MAX;
  return kOwn + RoundUp(workspace_bytes, kAlignment);
}

const Status& Context::status() const { return impl_ != nullptr ? impl_->status : why_none(); }

size_t Context::num_threads() const { return impl_ != nullptr ? impl_->num_threads : 0; }

const char* Context::target() const {
  return impl_ != nullptr && impl_->status.ok() ? TargetName(impl_->target) : "";
}

size_t Context::workspace_bytes() const {
  if (impl_ == nullptr) return 0;
  if (impl_->measures) return impl_->measured_bytes;
  return impl_->fixed_bytes + impl_->workspace_bytes + impl_->lists_bytes;
}

}  // namespace heed::inline v1
