#include "test/support/contexts.h"

#include <algorithm>

#include "src/base/context.h"
#include "test/support/mode.h"

namespace heed::test {
namespace {

// Runs the workers one after another, last first: no result may depend on their order.
void RunBackwards(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
                  void* arg) {
  static_cast<void>(pool);
  for (size_t worker = num_workers; worker-- > 0;) body(arg, worker);
}

// A context that spreads even small problems over all its threads.
std::unique_ptr<Context> MakeContext(const ContextOptions& options) {
  auto context = std::make_unique<Context>(options);
  Context::Impl::Of(*context)->flops_per_worker = 1;
  return context;
}

std::vector<Runner> MakeRunners() {
  std::vector<Runner> runners;
  std::vector<size_t> numbers_of_threads = {1, 2, 3, 7};
  if (Quick()) numbers_of_threads = {1, 3};
  for (const char* target : Targets()) {
    for (size_t threads : numbers_of_threads) {
      ContextOptions options;
      options.num_threads = threads;
      options.target = target;
      runners.push_back({std::string(target) + ", " + std::to_string(threads) + " threads",
                         family(target), threads == 1, false, MakeContext(options)});
    }
    ContextOptions options;
    options.num_threads = 4;
    options.target = target;
    options.parallel_for.run = RunBackwards;
    runners.push_back({std::string(target) + ", own pool, small cache", family(target), false, true,
                       MakeContext(options)});
    // So that matrices of tests are too large for it.
    Context::Impl::Of(*runners.back().context)->l2_bytes = 4096;
  }
  return runners;
}

}  // namespace

std::vector<const char*> Targets() {
  std::vector<const char*> names(supported_targets(nullptr, 0));
  names.resize(std::min(names.size(), supported_targets(names.data(), names.size())));
  return names;
}

std::vector<Family> Families() {
  std::vector<Family> families;
  for (const char* target : Targets()) {
    const Family f = family(target);
    if (std::find(families.begin(), families.end(), f) == families.end()) families.push_back(f);
  }
  return families;
}

std::vector<Runner>& Runners() {
  static std::vector<Runner> runners = MakeRunners();
  return runners;
}

}  // namespace heed::test
