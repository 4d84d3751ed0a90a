// The host's floating-point settings: they change no bit, and are as before after a call.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "heed/heed.hpp"
#include "src/base/context.h"
#include "test/support/compare.h"
#include "test/support/operations.h"
#include "test/support/run_cases.h"

namespace heed::test {
namespace {

struct Setting {
  std::string name;
  std::function<void()> set;
};

// Settings and raised flags of this thread, read without changing them.
#if defined(__SSE__)
uint64_t State() { return _mm_getcsr(); }

void Change(unsigned clear, unsigned set) { _mm_setcsr((_mm_getcsr() & ~clear) | set); }

std::vector<Setting> Settings() {
  constexpr unsigned kTraps = 0x1F80;
  return {{"flush to zero", [] { Change(0, 0x8000); }},
          {"subnormals are zero", [] { Change(0, 0x40); }},
          {"downwards", [] { Change(0x6000, 0x2000); }},
          {"upwards", [] { Change(0x6000, 0x4000); }},
          {"towards zero", [] { Change(0x6000, 0x6000); }},
          {"traps", [] { Change(kTraps, 0); }},
          {"all at once", [] { Change(kTraps, 0x8000 | 0x40 | 0x4000); }}};
}
#elif defined(__aarch64__)
uint64_t State() {
  uint64_t control, flags;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("mrs %0, fpsr" : "=r"(flags));
  return control << 32 | flags;
}

void Set(uint64_t control) { asm volatile("msr fpcr, %0" ::"r"(control)); }

std::vector<Setting> Settings() {
  return {{"flush to zero", [] { Set(uint64_t{1} << 24); }},
          {"upwards", [] { Set(uint64_t{1} << 22); }},
          {"downwards", [] { Set(uint64_t{2} << 22); }},
          {"towards zero", [] { Set(uint64_t{3} << 22); }},
          {"traps, where the processor has them", [] { Set(uint64_t{0x1F} << 8); }}};
}
#else
uint64_t State() {
  auto state = static_cast<uint64_t>(std::fegetround()) << 32;
#ifdef FE_ALL_EXCEPT
  state |= static_cast<uint64_t>(std::fetestexcept(FE_ALL_EXCEPT));
#endif
  return state;
}

std::vector<Setting> Settings() {
  std::vector<Setting> settings;
#ifdef FE_UPWARD
  settings.push_back({"upwards", [] { std::fesetround(FE_UPWARD); }});
#endif
#ifdef FE_DOWNWARD
  settings.push_back({"downwards", [] { std::fesetround(FE_DOWNWARD); }});
#endif
#ifdef FE_TOWARDZERO
  settings.push_back({"towards zero", [] { std::fesetround(FE_TOWARDZERO); }});
#endif
#if defined(__GLIBC__) && defined(FE_ALL_EXCEPT)
  settings.push_back({"traps", [] { feenableexcept(FE_ALL_EXCEPT); }});
#endif
  return settings;
}
#endif

// For its lifetime the thread has the setting, and no flag is raised.
class Under {
 public:
  explicit Under(const Setting& setting) {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
    setting.set();
  }
  ~Under() { std::fesetenv(&before_); }
  Under(const Under&) = delete;
  Under& operator=(const Under&) = delete;

 private:
  std::fenv_t before_;
};

const Setting kDefault = {"the default", [] {}};

// Runs every worker on a thread of its own, which has `setting`.
struct Pool {
  const Setting* setting = &kDefault;
  std::atomic<size_t> changed = 0;  // threads that had other settings or flags afterwards

  static void Run(void* pool, size_t num_workers, void (*body)(void* arg, size_t worker),
                  void* arg) {
    auto* self = static_cast<Pool*>(pool);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < num_workers; ++i) {
      threads.emplace_back([=] {
        const Under under(*self->setting);
        const uint64_t before = State();
        body(arg, i);
        if (State() != before) ++self->changed;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

struct Way {
  std::string name;
  size_t num_threads;
  bool own_pool;
};

// On a thread of its own, so that its OpenMP threads are born in here.
void CheckWay(const Way& way, const Setting& setting, bool threads_born_before) {
  Operations operations;
  std::vector<std::string> faults;
  std::thread([&] {
    Pool pool;
    ContextOptions options;
    options.num_threads = way.num_threads;
    if (way.own_pool) options.parallel_for = {&Pool::Run, &pool};
    Context plain, context(options);
    Context::Impl::Of(context)->flops_per_worker = 1;
    for (const Operation& operation : operations.all()) {
      const auto fault = [&](const std::string& what) {
        faults.push_back(way.name + ", " + setting.name + ", " + operation.name + ": " + what);
      };
      if (!operation.call(plain).ok()) fault("refused");
      const std::vector<float> want = *operation.out;
      std::fill(operation.out->begin(), operation.out->end(), -1.0f);
      if (threads_born_before && !operation.call(context).ok()) fault("refused");
      std::fill(operation.out->begin(), operation.out->end(), -1.0f);
      pool.setting = &setting;
      uint64_t before = 0, after = 0;
      bool ok = false;
      {
        const Under under(setting);
        before = State();
        ok = operation.call(context).ok();
        after = State();
      }
      if (!ok) fault("refused");
      pool.setting = &kDefault;
      if (after != before) fault("settings or flags have changed");
      if (pool.changed.exchange(0) != 0) fault("settings or flags of a worker have changed");
      const std::string difference = Difference(*operation.out, want);
      if (!difference.empty()) fault(difference);
    }
  }).join();
  for (const std::string& fault : faults) CHECK(fault == "");
  CHECK(!operations.all().empty());
}

TEST_CASE("the host's floating-point settings change no bit, and are as before after a call") {
  if (Settings().empty()) {
    SkipCase("this target has no settings");
    return;
  }
  for (const Way& way :
       {Way{"one thread", 1, false}, Way{"two threads", 2, false}, Way{"a pool of two", 2, true}}) {
    CheckWay(way, kDefault, false);  // flags alone
    for (const Setting& setting : Settings()) {
      for (bool threads_born_before : {false, true}) CheckWay(way, setting, threads_born_before);
    }
  }
}

}  // namespace
}  // namespace heed::test
