#pragma once

#include <cstddef>
#include <utility>

#include "heed/region.hpp"
#include "src/base/arena.h"
#include "src/base/context.h"
#include "src/base/hidden.h"

namespace heed::inline v1 {

struct HEED_HIDDEN Region::Impl {
  explicit Impl(const Context::Impl& context) : settings(context, {}) {}

  Context::Impl settings;
  const void* plan = nullptr;
  Arena memory;  // in which it is
  Status (*run)(const void* plan, Arena memory, const Context::Impl& context) = nullptr;
};

Status CheckMaxWorkers(size_t max_workers);

// Plans for so many threads, on a context that may have others.
class PlannedWorkers {
 public:
  PlannedWorkers(Context::Impl* context, size_t count)
      : context_(context), before_(std::exchange(context->num_threads, count)) {}
  ~PlannedWorkers() { context_->num_threads = before_; }
  PlannedWorkers(const PlannedWorkers&) = delete;
  PlannedWorkers& operator=(const PlannedWorkers&) = delete;

 private:
  Context::Impl* context_;
  size_t before_;
};

}  // namespace heed::inline v1
