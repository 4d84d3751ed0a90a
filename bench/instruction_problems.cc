// heed-instructions PROBLEM runs one fixed problem, for script/instructions to count the
// instructions of its second run (the first one allocates). heed-instructions --list and --versions
// say which problems there are and what compiled this. Exit code: 0, 1 when a run failed, 2 for a
// usage error.
#include <cstdio>
#include <cstring>

#include "bench/library.h"
#include "hwy/base.h"

// Counted from its entry to its return: callgrind finds it by this name.
extern "C" __attribute__((noinline)) int HeedCountedRun(const heed::bench::Run& run) {
  return run().ok() ? 0 : 1;
}

namespace heed::bench {
namespace {

// What valgrind can execute, and so not the best target of this machine.
constexpr const char* kTarget = "AVX2";

int run_twice(const Result<Run>& run) {
  if (!run.ok()) {
    std::fprintf(stderr, "heed-instructions: %s\n", run.status().message());
    return 1;
  }
  if (const Status first = (*run)(); !first.ok()) {
    std::fprintf(stderr, "heed-instructions: %s\n", first.message());
    return 1;
  }
  return HeedCountedRun(*run);
}

int count_attention(const AttentionShape& s, bool cache) {
  const size_t q_row = s.num_heads * s.head_dim, k_row = s.num_kv_heads * s.head_dim;
  const Buffer q = random_normal(s.q_len * q_row, 1), k = random_normal(s.kv_len * k_row, 2),
               v = random_normal(s.kv_len * k_row, 3);
  Buffer out(s.q_len * q_row);
  AttentionArgs args;
  args.shape = s;
  args.q = {q.data(), q_row, s.head_dim};
  args.k = {k.data(), k_row, s.head_dim};
  args.v = {v.data(), k_row, s.head_dim};
  args.out = out.data();
  args.cache = cache;
  return run_twice(make_heed(1, kTarget)->attention(args));
}

int count_matmul(const MatmulShape& s, bool pack) {
  const Buffer a = random_normal(s.m * s.k, 1), b = random_normal(s.k * s.n, 2);
  Buffer c(s.m * s.n);
  return run_twice(make_heed(1, kTarget)->matmul({s, a.data(), b.data(), c.data(), pack}));
}

int count_softmax() {
  constexpr size_t kRows = 64, kCols = 1000;
  const Buffer x = random_normal(kRows * kCols, 1);
  Buffer y(kRows * kCols);
  return run_twice(make_heed(1, kTarget)->softmax({kRows, kCols, x.data(), y.data()}));
}

// One token of a layer whose cache is filled.
int count_layer_step() {
  const LayerShape s = {.seq = 1, .past = 255, .num_heads = 4, .head_dim = 64};
  const size_t width = s.width();
  const Buffer x = random_normal(width, 1), w_qkv = random_normal(3 * width * width, 2),
               w_out = random_normal(width * width, 3), k = random_normal(s.past * width, 4),
               v = random_normal(s.past * width, 5);
  Buffer y(width);
  return run_twice(
      make_heed(1, kTarget)
          ->layer({s, x.data(), w_qkv.data(), w_out.data(), k.data(), v.data(), y.data()}));
}

struct Problem {
  const char* name;
  int (*count)();
};

constexpr Problem kProblems[] = {
    {"prefill-2x256x64",
     [] {
       return count_attention({256, 256, 2, 2, 64}, false);
     }},
    {"prefill-2x256x128",
     [] {
       return count_attention({256, 256, 2, 2, 128}, false);
     }},
    {"prefill-4on1x250x64",
     [] {
       return count_attention({250, 250, 4, 1, 64}, false);
     }},
    {"prefill-4x64x32",
     [] {
       return count_attention({64, 64, 4, 4, 32}, false);
     }},
    {"decode-8x2048x64",
     [] {
       return count_attention({1, 2048, 8, 8, 64}, true);
     }},
    {"decode-8on2x2048x128",
     [] {
       return count_attention({1, 2048, 8, 2, 128}, true);
     }},
    {"matmul-130x200x300",
     [] {
       return count_matmul({130, 200, 300}, false);
     }},
    {"matmul-130x200x300-packed",
     [] {
       return count_matmul({130, 200, 300}, true);
     }},
    {"matmul-1x768x512",
     [] {
       return count_matmul({1, 768, 512}, false);
     }},
    {"matmul-1x768x512-packed",
     [] {
       return count_matmul({1, 768, 512}, true);
     }},
    {"softmax-64x1000", count_softmax},
    {"layer-step-256x4x64", count_layer_step},
};

int run_main(int argc, char** argv) {
  const char* wanted = argc == 2 ? argv[1] : "";
  if (std::strcmp(wanted, "--versions") == 0) {
#ifdef __clang__
    const char* compiler = "clang";
#else
    const char* compiler = "gcc";
#endif
    std::printf("%s %s, Highway %d.%d.%d, %s\n", compiler, __VERSION__, HWY_MAJOR, HWY_MINOR,
                HWY_PATCH, HEED_BUILD_TYPE);
    return 0;
  }
  const bool list = std::strcmp(wanted, "--list") == 0;
  for (const Problem& problem : kProblems) {
    if (list) std::printf("%s\n", problem.name);
    if (std::strcmp(wanted, problem.name) == 0) return problem.count();
  }
  if (list) return 0;
  std::fprintf(stderr, "usage: heed-instructions PROBLEM | --list | --versions\n");
  return 2;
}

}  // namespace
}  // namespace heed::bench

int main(int argc, char** argv) { return heed::bench::run_main(argc, argv); }
