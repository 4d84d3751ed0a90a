// Prefetching: memory is asked for before it is needed. Every software prefetch of the library goes
// through this file, and kPrefetch turns all of them off; docs/performance.md says what they gain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/layout.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

inline constexpr bool kPrefetch = true;

// Always inlined: GCC 12 takes a function that only prefetches for one without effect, and drops
// calls of it.
#define HEED_PREFETCH_INLINE inline __attribute__((always_inline))

// The cache line of `at`, for reading. Into L2: lines that wait in L1 push out what is in use.
HEED_PREFETCH_INLINE void PrefetchToL2(const void* at) {
  if constexpr (kPrefetch) __builtin_prefetch(at, 0, 2);
}
HEED_PREFETCH_INLINE void PrefetchToL1(const void* at) {
  if constexpr (kPrefetch) __builtin_prefetch(at);
}
HEED_PREFETCH_INLINE void PrefetchForWriting(const void* at) {
  if constexpr (kPrefetch) __builtin_prefetch(at, 1);
}

// A row of a tensor, in cache lines from the one that holds its first element.
struct PrefetchRow {
  const char* data;
  size_t lines;
};

// Rows that lie far apart in memory, where the hardware does not look ahead.
struct PrefetchRows {
  PrefetchRow* rows = nullptr;  // [capacity]
  size_t capacity = 0, count = 0;
  size_t lines = 0;  // of all rows

  // Left out when there is no room.
  void Add(const char* row, size_t bytes) {
    if (count == capacity) return;
    const size_t before = reinterpret_cast<uintptr_t>(row) % kLineBytes;
    rows[count] = {row, CeilDiv(before + bytes, kLineBytes)};
    lines += rows[count++].lines;
  }
};

// What a kernel prefetches while it works on a block of keys.
struct BlockPrefetch {
  Panels k, v;  // of the block that comes next in a cache, or absent
  PrefetchRows rows;
};

}  // namespace heed::inline v1
