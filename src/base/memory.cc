#include "src/base/memory.h"

#include <cstdint>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "src/kernels/layout.h"

namespace heed::inline v1 {
namespace {

constexpr size_t kAlignment = Arena::kAlignment;
static_assert(kAlignment == kMemoryAlignment);

// Where the system has huge pages for those who ask, large pieces of memory lie in them. The
// prefetcher stops where a page ends, so that memory is read faster by up to a tenth. Before pages
// are touched; without effect where there are none.
constexpr size_t kHugePage = size_t{2} << 20;
[[maybe_unused]] size_t AlignmentOf(size_t bytes) {
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

}  // namespace

void* Allocate(size_t bytes) {
  if (bytes > PTRDIFF_MAX - kAlignment) return nullptr;
  bytes = RoundUp(bytes == 0 ? 1 : bytes, kAlignment);
  void* memory = nullptr;
#ifdef _WIN32
  memory = _aligned_malloc(bytes, kAlignment);
#else
  // Unlike aligned_alloc, of any size.
  if (posix_memalign(&memory, AlignmentOf(bytes), bytes) != 0) return nullptr;
#endif
  AskForHugePages(memory, bytes);
  return memory;
}

void Free(void* memory) {
#ifdef _WIN32
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

Status CheckMemory(const Memory& memory, size_t bytes) {
  if (memory.data == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "memory: is null, must have %zu bytes",
                         bytes);
  }
  if (reinterpret_cast<uintptr_t>(memory.data) % kAlignment != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "memory: is %p, must be aligned to %zu bytes", memory.data, kAlignment);
  }
  if (memory.bytes >= bytes) return Status();
  return Status::Error(StatusCode::kOutOfMemory, "memory: has %zu bytes, needs %zu", memory.bytes,
                       bytes);
}

}  // namespace heed::inline v1
