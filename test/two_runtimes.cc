// A host with an OpenMP runtime of its own beside heed's: docs/threads.md. Built and run by
// script/test-threads. Prints the threads of the process, and fails where a bit differs.
#include <omp.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "heed/heed.hpp"

namespace {

constexpr size_t kRows = 96, kDepth = 300;

std::vector<float> product(heed::Context& context) {
  std::vector<float> a(kRows * kDepth), b(kDepth * kDepth), c(kRows * kDepth);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 37) - 18.5f;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 41) * 0.25f;
  const heed::Status status = heed::matmul(
      heed::TensorView(a.data(), {kRows, kDepth}), heed::TensorView(b.data(), {kDepth, kDepth}),
      heed::MutableTensorView(c.data(), {kRows, kDepth}), {}, context);
  if (!status.ok()) c.clear();
  return c;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !a.empty() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
  heed::Context alone({.threading = heed::Threading::kNone});
  heed::Context context({.num_threads = 2, .threading = heed::Threading::kOpenMP});
  const std::vector<float> want = product(alone);
  int right = 0, asked = 0;
  for (int turn = 0; turn < 20; ++turn) {
    // The host's threads and heed's in turn, then heed from within the host's.
    long sum = 0;
#pragma omp parallel for num_threads(2) reduction(+ : sum)
    for (int i = 0; i < 1000; ++i) sum += i;
    right += sum == 499500 && same_bits(product(context), want);
    ++asked;
    bool inside[2] = {};
#pragma omp parallel for num_threads(2)
    for (int i = 0; i < 2; ++i) {
      heed::Context own({.num_threads = 2, .threading = heed::Threading::kOpenMP});
      inside[i] = same_bits(product(own), want);
    }
    right += inside[0] && inside[1];
    ++asked;
  }
  size_t threads = 0;
  for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    ++threads;
  }
  std::printf("%d of %d right, %zu threads\n", right, asked, threads);
  return right == asked ? 0 : 1;
}
