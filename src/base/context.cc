#include "src/base/context.h"

#include <algorithm>
#include <new>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "src/base/process_limits.h"
#include "src/base/targets.h"

namespace heed::inline v1 {
namespace {

constexpr size_t kMaxThreads = 4096;
constexpr size_t kAlignment = Arena::kAlignment;

size_t NumThreads(const ContextOptions& options) {
#ifdef _OPENMP
  if (options.num_threads == 0 && options.parallel_for.run == nullptr) {
    return std::min(static_cast<size_t>(omp_get_max_threads()), CpuQuota());
  }
#else
  if (options.parallel_for.run == nullptr) return 1;
#endif
  return std::max<size_t>(options.num_threads, 1);
}

Status Initialize(const ContextOptions& options, Context::Impl* impl) {
  if (options.num_threads > kMaxThreads) {
    return Status::Error(StatusCode::kInvalidArgument, "num_threads: is %zu, must be at most %zu",
                         options.num_threads, kMaxThreads);
  }
  impl->num_threads = NumThreads(options);
  impl->parallel_for = options.parallel_for;
  const int64_t target = options.target == nullptr ? BestTarget() : TargetByName(options.target);
  if (target == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "target: '%.40s' is not an instruction set of this build and CPU",
                         options.target);
  }
  static_cast<Kernels&>(*impl) = Kernels{target};
  return Status();
}

Status Grow(size_t bytes, Floats* memory, size_t* held, Arena* arena) {
  if (*held < bytes) {
    memory->reset();  // first, so that old and new are never held together
    *memory = AllocateFloats(CeilDiv(bytes, sizeof(float)));
    *held = *memory == nullptr ? 0 : bytes;
    if (*memory == nullptr) return OutOfMemory("workspace", bytes);
  }
  *arena = Arena(memory->get());
  return Status();
}

// Where the system has huge pages for those who ask, large pieces of memory lie in them. The
// prefetcher stops where a page ends, so that memory is read faster by up to a tenth. Before pages
// are touched; without effect where there are none.
constexpr size_t kHugePage = size_t{2} << 20;
size_t AlignmentOf(size_t bytes) {
#ifdef __linux__
  constexpr bool kAsks = true;
#else
  constexpr bool kAsks = false;
#endif
  return kAsks && bytes >= 2 * kHugePage ? kHugePage : kAlignment;
}
void AskForHugePages([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const size_t whole = bytes / kHugePage * kHugePage;  // what lies behind is not the caller's
  if (memory != nullptr && AlignmentOf(bytes) == kHugePage) ::madvise(memory, whole, MADV_HUGEPAGE);
#endif
}

const Status& NoContext() {
  static const Status status =
      Status::Error(StatusCode::kInvalidArgument, "context: was moved from, or had no memory");
  return status;
}

}  // namespace

Floats AllocateFloats(size_t count) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, sizeof(float), &bytes) || bytes > PTRDIFF_MAX - kAlignment) {
    return nullptr;
  }
  bytes = RoundUp(bytes == 0 ? 1 : bytes, kAlignment);
  void* memory = nullptr;
  // Unlike aligned_alloc, of any size.
  if (posix_memalign(&memory, AlignmentOf(bytes), bytes) != 0) return nullptr;
  AskForHugePages(memory, bytes);
  return Floats(static_cast<float*>(memory));
}

Status Context::Impl::Reserve(size_t bytes, Arena* arena) {
  return Grow(bytes, &workspace, &workspace_bytes, arena);
}

Status Context::Impl::ReservePlan(size_t bytes, Arena* arena) {
  // In pages, so that a block table that grows entry by entry seldom needs new memory.
  constexpr size_t kPage = 4096;
  const size_t pages = bytes < SIZE_MAX - kPage ? RoundUp(bytes, kPage) : bytes;
  return Grow(pages, &plan_memory, &plan_bytes, arena);
}

const Status& CheckContext(const Context& context) { return context.status(); }

Status OutOfMemory(const char* what, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) {
    return Status::Error(StatusCode::kOutOfMemory, "%s: is too large for the address space", what);
  }
  return Status::Error(StatusCode::kOutOfMemory, "%s: could not allocate %zu bytes", what, bytes);
}

Context::Context(const ContextOptions& options) : impl_(new (std::nothrow) Impl) {
  if (impl_ != nullptr) impl_->status = Initialize(options, impl_);
}

Context::~Context() { delete impl_; }

Context::Context(Context&& other) noexcept : impl_(std::exchange(other.impl_, nullptr)) {}

Context& Context::operator=(Context&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

const Status& Context::status() const { return impl_ != nullptr ? impl_->status : NoContext(); }

size_t Context::num_threads() const { return impl_ != nullptr ? impl_->num_threads : 0; }

const char* Context::target() const {
  return impl_ != nullptr && impl_->status.ok() ? TargetName(impl_->target) : "";
}

size_t Context::workspace_bytes() const {
  return impl_ != nullptr ? impl_->workspace_bytes + impl_->plan_bytes : 0;
}

}  // namespace heed::inline v1
