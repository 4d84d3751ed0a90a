#include "src/base/context.h"

#include <new>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "src/base/targets.h"

namespace heed {
namespace {

constexpr size_t kMaxThreads = 4096;
constexpr size_t kAlignment = Arena::kAlignment;

size_t DefaultThreads(const ContextOptions& options) {
  if (options.num_threads != 0) return options.num_threads;
#ifdef _OPENMP
  if (options.parallel_for.run == nullptr) return static_cast<size_t>(omp_get_max_threads());
#endif
  return 1;
}

Status Initialize(const ContextOptions& options, Context::Impl* impl) {
  if (options.num_threads > kMaxThreads) {
    return Status::Error(StatusCode::kInvalidArgument, "num_threads: is %zu, must be at most %zu",
                         options.num_threads, kMaxThreads);
  }
  impl->num_threads = DefaultThreads(options);
  impl->parallel_for = options.parallel_for;
  impl->target = options.target == nullptr ? BestTarget() : TargetByName(options.target);
  if (impl->target == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "target: '%.40s' is not an instruction set of this build and CPU",
                         options.target);
  }
  impl->matmul = &GetMatmulKernels(impl->target);
  impl->softmax = &GetSoftmaxKernels(impl->target);
  impl->rope = &GetRopeKernels(impl->target);
  impl->norm = &GetNormKernels(impl->target);
  impl->attention = &GetAttentionKernels(impl->target);
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
  return Floats(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
}

float* Context::Impl::Reserve(Buffer buffer, size_t count) {
  const auto i = static_cast<size_t>(buffer);
  if (buffers[i] == nullptr || buffer_floats[i] < count) {
    buffers[i].reset();  // first, so that old and new are never held together
    buffers[i] = AllocateFloats(count);
    buffer_floats[i] = buffers[i] == nullptr ? 0 : count;
  }
  return buffers[i].get();
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

Status OutOfMemory(const char* what, size_t bytes) {
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
  if (impl_ == nullptr) return 0;
  size_t floats = 0;
  for (size_t i = 0; i < kNumBuffers; ++i) floats += impl_->buffer_floats[i];
  return impl_->workspace_bytes + impl_->plan_bytes + floats * sizeof(float);
}

}  // namespace heed
