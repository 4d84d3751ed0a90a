#include "src/kernels/hadamard.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/hadamard.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

// Sums and differences of the two halves of a part, times `scale` in the last step, pair beside
// pair. So the pairs of the next step are halves again, no step exchanges elements within a vector,
// and after as many steps as 2 * half has factors of two each element is in its place.
template <bool kLast>
HWY_INLINE void Step(const float* HWY_RESTRICT from, size_t half, float scale,
                     float* HWY_RESTRICT to) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  if (half < lanes) {
    for (size_t i = 0; i < half; ++i) {
      const float sum = from[i] + from[half + i], difference = from[i] - from[half + i];
      to[2 * i] = kLast ? sum * scale : sum;
      to[2 * i + 1] = kLast ? difference * scale : difference;
    }
    return;
  }
  const VF by = hn::Set(d, scale);
  for (size_t i = 0; i < half; i += lanes) {
    const VF a = hn::LoadU(d, from + i), b = hn::LoadU(d, from + half + i);
    VF sum = hn::Add(a, b), difference = hn::Sub(a, b);
    if constexpr (kLast) {
      sum = hn::Mul(sum, by);
      difference = hn::Mul(difference, by);
    }
    hn::StoreInterleaved2(sum, difference, d, to + 2 * i);
  }
}

void Row(const float* x, size_t n, size_t part, float scale, float* scratch, float* y) {
  const size_t half = part / 2;
  for (size_t begin = 0; begin < n; begin += part) {
    const float* from = x + begin;
    float* to = scratch;
    for (size_t h = half; h > 0; h /= 2) {
      // The last step reads scratch; where it is the only one it may not write what it still reads.
      if (h == 1 && from != y + begin) {
        Step<true>(from, half, scale, y + begin);
      } else if (h == 1) {
        Step<true>(from, half, scale, to);
        for (size_t i = 0; i < part; ++i) y[begin + i] = to[i];
      } else {
        Step<false>(from, half, scale, to);
      }
      from = to;
      to = to == scratch ? scratch + part : scratch;
    }
  }
}

}  // namespace

constexpr HadamardKernels kKernels = {&Row};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(HadamardKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
