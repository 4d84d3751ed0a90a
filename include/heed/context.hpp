// Where heed runs: threads, the instruction set, and the workspace that calls reuse. See
// heed/c/context.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/export.h"
#include "heed/status.hpp"

namespace heed::inline v1 {

// heed_parallel_for.
struct ParallelFor {
  void (*run)(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
              void* arg) = nullptr;
  void* pool = nullptr;
};

// heed_memory.
struct Memory {
  void* data = nullptr;
  size_t bytes = 0;
};
inline constexpr size_t kMemoryAlignment = 64;

// heed_threading.
enum class Threading : int32_t {
  kDefault,
  kNone,
  kOpenMP,
  kParallelFor,
};

// heed_context_options.
struct ContextOptions {
  size_t num_threads = 0;
  Threading threading = Threading::kDefault;
  ParallelFor parallel_for = {};

  const char* target = nullptr;

  Memory memory = {};

  bool measure = false;
};

// heed_context. A constructor always makes one: where heed_context_create() would fail, status()
// has its error, and every call that gets this Context returns it.
class HEED_API Context {
 public:
  explicit Context(const ContextOptions& options = {});
  ~Context();
  Context(Context&& other) noexcept;
  Context& operator=(Context&& other) noexcept;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Status& status() const;

  // heed_context_memory_bytes.
  static size_t memory_bytes(size_t workspace_bytes);

  size_t num_threads() const;
  const char* target() const;
  size_t workspace_bytes() const;

  struct Impl;

 private:
  enum class Refused : uint8_t { kMoved, kMemory, kTooSmall };
  const Status& why_none() const;
  Impl* impl_ = nullptr;
  Refused refused_ = Refused::kMoved;  // where there is no impl_
};

}  // namespace heed::inline v1
