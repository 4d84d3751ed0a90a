// The two loops that say what a core can do at most: multiply-adds that stay in registers, and
// reads that do nothing else. Compiled once per instruction set; single-threaded.
#pragma once

#include <cstddef>

namespace heed::bench {

struct PeakKernels {
  const char* target = nullptr;

  // Runs about `flops` floating-point operations as independent chains acc = acc * values[0] +
  // values[1], which begin with values[2], values[3] ... and are enough to cover the latency of the
  // unit; returns how many operations it ran. `few` chains fit 16 vector registers, `many` need 32:
  // the better of the two is the peak.
  static constexpr size_t kValues = 2 + 20;
  double (*few_chains)(double flops, const float* values, float* sink) = nullptr;
  double (*many_chains)(double flops, const float* values, float* sink) = nullptr;

  // Reads data[0, streams * length) once, as vectors, in `streams` places at a time: they lie
  // `length` floats apart, each a stream for the prefetcher. `streams` is one of kStreams, `length`
  // a multiple of kLength.
  static constexpr size_t kStreams[] = {1, 2, 4, 8};
  static constexpr size_t kLine = 16, kLength = 16 * kLine;
  float (*read)(const float* data, size_t length, size_t streams) = nullptr;
};

// Those of an instruction set by its name ("AVX2"), else of the one the binary is built for.
PeakKernels peak_kernels(const char* target);

}  // namespace heed::bench
