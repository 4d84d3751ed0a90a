// The host's floating-point settings: they change no bit, and are as before after a call.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
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
#include "tools/conformance/tensor.h"

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

// A function of heed, and where its result goes.
struct Operation {
  std::string name;
  std::function<bool(Context&)> call;
  std::vector<float>* out;
};

// One call of each function that computes, on numbers of which some are subnormal, or become so.
class Operations {
 public:
  Operations() {
    for (Tensor<float>* tensor : {&q_, &k_, &v_, &x_, &weight_}) tensor->FillNormal(random_);
    for (size_t i = 0; i < x_.size(); i += 3) x_[i] *= 1e-39f;
    for (size_t i = 0; i < v_.size(); i += 5) v_[i] *= 1e-40f;
    for (size_t i = 0; i < 40; ++i) positions_[i] = static_cast<int32_t>(i * 1000);
    Make();
  }
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  const std::vector<Operation>& all() const { return all_; }

 private:
  void Add(const char* name, size_t floats, std::function<bool(Context&, float* out)> call) {
    outputs_.push_back(std::make_unique<std::vector<float>>(floats));
    std::vector<float>* out = outputs_.back().get();
    all_.push_back({name, [out, call](Context& c) { return call(c, out->data()); }, out});
  }

  void Make() {
    Add("attention", 40 * 4 * 16 + 4 * 40, [this](Context& c, float* out) {
      AttentionOptions options;
      options.causal = true;
      options.lse = MutableTensorView(out + 40 * 4 * 16, {1, 4, 40});
      options.dropout.probability = 0.3f;
      return attention(q_.view(), k_.view(), v_.view(), MutableTensorView(out, {1, 40, 4, 16}),
                       options, c)
          .ok();
    });
    Add("attention of one query", 4 * 16 + 4 * kKeys, [this](Context& c, float* out) {
      AttentionOptions options;
      options.key_scores = MutableTensorView(out + 4 * 16, {1, 4, kKeys});
      return attention(q_.view().slice(1, 0, 1), k_.view(), v_.view(),
                       MutableTensorView(out, {1, 1, 4, 16}), options, c)
          .ok();
    });
    Add("attention_partial, merge_attention", 2 * 4 * 18 + 4 * 16, [this](Context& c, float* out) {
      AttentionState state;
      state.max = MutableTensorView(out, {2, 1, 4, 1});
      state.sum = MutableTensorView(out + 8, {2, 1, 4, 1});
      state.acc = MutableTensorView(out + 16, {2, 1, 1, 4, 16});
      const MutableTensorView merged(out + 2 * 4 * 18, {1, 1, 4, 16});
      return attention_partial(q_.view().slice(1, 0, 1), k_.view(), v_.view(), 0, kKeys, state, {},
                               c)
                 .ok() &&
             merge_attention(&state, 1, {}, merged, {}, c).ok();
    });
    Add("merge_attention of two", 40 * 4 * 16, [this](Context& c, float* out) {
      const TensorView a = q_.view(), b = q_.view(), lse = weight_.view();
      const size_t shape[] = {1, 4, 40};
      const TensorView sums(lse.data, DType::kF32, shape, 3);
      return merge_attention(a, sums, b, sums, MutableTensorView(out, {1, 40, 4, 16}), {}, c).ok();
    });
    Add("KvCache", 4 * 16, [this](Context& c, float* out) {
      KvCacheConfig config;
      config.num_kv_heads = 2;
      config.head_dim = config.v_head_dim = 16;
      config.capacity = kKeys;
      Result<KvCache> cache = KvCache::create(config);
      return cache.ok() && cache->append(k_.view(), v_.view()).ok() &&
             attention(q_.view().slice(1, 0, 1), *cache, MutableTensorView(out, {1, 1, 4, 16}), {},
                       c)
                 .ok();
    });
    Add("PagedKvCache", 4 * 16, [this](Context& c, float* out) {
      PagedKvCacheConfig config;
      config.num_kv_heads = 2;
      config.head_dim = config.v_head_dim = 16;
      config.block_size = 100;
      config.num_blocks = kKeys / config.block_size;
      Result<PagedKvCache> cache = PagedKvCache::create(config);
      if (!cache.ok()) return false;
      const Result<PagedSequence> sequence = cache->add();
      if (!sequence.ok() || !cache->append(*sequence, k_.view(), v_.view()).ok()) return false;
      const Result<PagedKv> view = cache->view(std::span(&*sequence, 1));
      return view.ok() && attention(q_.view().slice(1, 0, 1), *view,
                                    MutableTensorView(out, {1, 1, 4, 16}), {}, c)
                              .ok();
    });
    Add("softmax", 40 * 64, [this](Context& c, float* out) {
      SoftmaxOptions options;
      options.scale = 15.0f;
      return softmax(x_.view(), MutableTensorView(out, {40, 64}), options, c).ok();
    });
    Add("matmul", 40 * 64, [this](Context& c, float* out) {
      return matmul(x_.view(), weight_.view(), MutableTensorView(out, {40, 64}), {}, c).ok();
    });
    Add("matmul of one row", 64, [this](Context& c, float* out) {
      return matmul(x_.view().slice(0, 3, 4), weight_.view(), MutableTensorView(out, {1, 64}), {},
                    c)
          .ok();
    });
    Add("PackedMatrix", 40 * 64, [this](Context& c, float* out) {
      f16 halves[64 * 64] = {};
      const MutableTensorView narrow(halves, {64, 64});
      if (!convert(x_.view(), narrow.slice(0, 0, 40)).ok()) return false;
      for (size_t i = 40; i < 64; ++i) {
        if (!convert(weight_.view().slice(0, i, i + 1), narrow.slice(0, i, i + 1)).ok()) {
          return false;
        }
      }
      const Result<PackedMatrix> packed = PackedMatrix::pack(narrow);
      return packed.ok() &&
             matmul(x_.view(), *packed, MutableTensorView(out, {40, 64}), {}, c).ok();
    });
    Add("rope", 40 * 4 * 16, [this](Context& c, float* out) {
      return rope(q_.view(), TensorView(positions_, {40}), MutableTensorView(out, {1, 40, 4, 16}),
                  {}, c)
          .ok();
    });
    Add("alibi_slopes", 12,
        [](Context&, float* out) { return alibi_slopes(MutableTensorView(out, {12})).ok(); });
    Add("dropout_mask", 40 * 40, [](Context&, float* out) {
      return dropout_mask(0.3f, 7, MutableTensorView(out, {1, 1, 40, 40})).ok();
    });
    Add("MultiHeadAttention", 40 * 64, [this](Context& c, float* out) {
      MultiHeadAttentionConfig config;
      config.d_in = 64;
      config.num_heads = config.num_kv_heads = 4;
      config.head_dim = config.v_head_dim = 16;
      config.causal = true;
      config.rope = RopeOptions();
      MultiHeadAttentionWeights weights;
      weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = weight_.view();
      weights.q_norm = weights.k_norm = TensorView(static_cast<const float*>(x_.view().data), {16});
      const Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights);
      return layer.ok() && layer->forward(x_.view(), MutableTensorView(out, {40, 64}), {}, c).ok();
    });
    Add("a refused call", 1, [this](Context& c, float* out) {
      SoftmaxOptions options;
      options.scale = std::numeric_limits<float>::infinity();
      return !softmax(x_.view(), x_.mutable_view(), options, c).ok() &&
             !dropout_mask(2.0f, 1, MutableTensorView(out, {1, 1, 1, 1})).ok();
    });
  }

  static constexpr size_t kKeys = 1300;  // two segments
  Random random_{5};
  Tensor<float> q_{{1, 40, 4, 16}}, k_{{1, kKeys, 2, 16}}, v_{{1, kKeys, 2, 16}};
  Tensor<float> x_{{40, 64}}, weight_{{64, 64}};
  int32_t positions_[40] = {};
  std::vector<std::unique_ptr<std::vector<float>>> outputs_;
  std::vector<Operation> all_;
};

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
    context.impl()->flops_per_worker = 1;
    for (const Operation& operation : operations.all()) {
      const auto fault = [&](const std::string& what) {
        faults.push_back(way.name + ", " + setting.name + ", " + operation.name + ": " + what);
      };
      if (!operation.call(plain)) fault("refused");
      const std::vector<float> want = *operation.out;
      std::fill(operation.out->begin(), operation.out->end(), -1.0f);
      if (threads_born_before) operation.call(context);
      std::fill(operation.out->begin(), operation.out->end(), -1.0f);
      pool.setting = &setting;
      uint64_t before = 0, after = 0;
      {
        const Under under(setting);
        before = State();
        operation.call(context);
        after = State();
      }
      pool.setting = &kDefault;
      if (after != before) fault("settings or flags have changed");
      if (pool.changed.exchange(0) != 0) fault("settings or flags of a worker have changed");
      if (operation.name == "a refused call") continue;
      const std::string difference = Difference(*operation.out, want);
      if (!difference.empty()) fault(difference);
    }
  }).join();
  for (const std::string& fault : faults) CHECK(fault == "");
  CHECK(!operations.all().empty());
}

TEST_CASE("the host's floating-point settings change no bit, and are as before after a call") {
  if (Settings().empty()) {
    MESSAGE("skipped: this target has no settings");
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
