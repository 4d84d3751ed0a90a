#include "bench/peak.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cc"  // looked up from the source root
#include "hwy/foreach_target.h"             // must precede highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A step of each of four separate chains.
template <class V>
HWY_INLINE void step4(V& a, V& b, V& c, V& d, V x, V y) {
  a = hn::MulAdd(a, x, y);
  b = hn::MulAdd(b, x, y);
  c = hn::MulAdd(c, x, y);
  d = hn::MulAdd(d, x, y);
}

// Vectors of scalable targets cannot be array elements, hence the named accumulators. Each begins
// with a value of its own that is known at run time only: a compiler computes equal chains once.
HWY_MAYBE_UNUSED static double few_chains(double flops, const float* values, float* sink) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, values[0]);
  const auto y = hn::Set(d, values[1]);
  auto a0 = hn::Set(d, values[2]);
  auto a1 = hn::Set(d, values[3]);
  auto a2 = hn::Set(d, values[4]);
  auto a3 = hn::Set(d, values[5]);
  auto a4 = hn::Set(d, values[6]);
  auto a5 = hn::Set(d, values[7]);
  auto a6 = hn::Set(d, values[8]);
  auto a7 = hn::Set(d, values[9]);
  auto a8 = hn::Set(d, values[10]);
  auto a9 = hn::Set(d, values[11]);
  auto a10 = hn::Set(d, values[12]);
  auto a11 = hn::Set(d, values[13]);
  const double per_round = 2.0 * 12.0 * static_cast<double>(hn::Lanes(d));
  const auto rounds = static_cast<size_t>(flops / per_round) + 1;
  for (size_t i = 0; i < rounds; ++i) {
    step4(a0, a1, a2, a3, x, y);
    step4(a4, a5, a6, a7, x, y);
    step4(a8, a9, a10, a11, x, y);
  }
  const auto s0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto s1 = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  const auto s2 = hn::Add(hn::Add(a8, a9), hn::Add(a10, a11));
  *sink = hn::ReduceSum(d, hn::Add(hn::Add(s0, s1), s2));
  return static_cast<double>(rounds) * per_round;
}

HWY_MAYBE_UNUSED static double many_chains(double flops, const float* values, float* sink) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, values[0]);
  const auto y = hn::Set(d, values[1]);
  auto a0 = hn::Set(d, values[2]);
  auto a1 = hn::Set(d, values[3]);
  auto a2 = hn::Set(d, values[4]);
  auto a3 = hn::Set(d, values[5]);
  auto a4 = hn::Set(d, values[6]);
  auto a5 = hn::Set(d, values[7]);
  auto a6 = hn::Set(d, values[8]);
  auto a7 = hn::Set(d, values[9]);
  auto a8 = hn::Set(d, values[10]);
  auto a9 = hn::Set(d, values[11]);
  auto a10 = hn::Set(d, values[12]);
  auto a11 = hn::Set(d, values[13]);
  auto a12 = hn::Set(d, values[14]);
  auto a13 = hn::Set(d, values[15]);
  auto a14 = hn::Set(d, values[16]);
  auto a15 = hn::Set(d, values[17]);
  auto a16 = hn::Set(d, values[18]);
  auto a17 = hn::Set(d, values[19]);
  auto a18 = hn::Set(d, values[20]);
  auto a19 = hn::Set(d, values[21]);
  const double per_round = 2.0 * 20.0 * static_cast<double>(hn::Lanes(d));
  const auto rounds = static_cast<size_t>(flops / per_round) + 1;
  for (size_t i = 0; i < rounds; ++i) {
    step4(a0, a1, a2, a3, x, y);
    step4(a4, a5, a6, a7, x, y);
    step4(a8, a9, a10, a11, x, y);
    step4(a12, a13, a14, a15, x, y);
    step4(a16, a17, a18, a19, x, y);
  }
  const auto s0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto s1 = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  const auto s2 = hn::Add(hn::Add(a8, a9), hn::Add(a10, a11));
  const auto s3 = hn::Add(hn::Add(a12, a13), hn::Add(a14, a15));
  const auto s4 = hn::Add(hn::Add(a16, a17), hn::Add(a18, a19));
  *sink = hn::ReduceSum(d, hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), s4));
  return static_cast<double>(rounds) * per_round;
}

// Eight accumulators: additions take about four cycles, and two loads a cycle are to be answered.
HWY_MAYBE_UNUSED static float read_all(const float* data, size_t n, size_t step) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto a0 = hn::Zero(d), a1 = hn::Zero(d), a2 = hn::Zero(d), a3 = hn::Zero(d);
  auto a4 = hn::Zero(d), a5 = hn::Zero(d), a6 = hn::Zero(d), a7 = hn::Zero(d);
  const bool in_order = step == 0;
  if (in_order) step = lanes;
  for (size_t i = 0; i + 7 * step + lanes <= n; i += in_order ? 8 * lanes : lanes) {
    const float* at = data + i;
    a0 = hn::Add(a0, hn::LoadU(d, at));
    a1 = hn::Add(a1, hn::LoadU(d, at + step));
    a2 = hn::Add(a2, hn::LoadU(d, at + 2 * step));
    a3 = hn::Add(a3, hn::LoadU(d, at + 3 * step));
    a4 = hn::Add(a4, hn::LoadU(d, at + 4 * step));
    a5 = hn::Add(a5, hn::LoadU(d, at + 5 * step));
    a6 = hn::Add(a6, hn::LoadU(d, at + 6 * step));
    a7 = hn::Add(a7, hn::LoadU(d, at + 7 * step));
  }
  const auto low = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto high = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  return hn::ReduceSum(d, hn::Add(low, high));
}

HWY_MAYBE_UNUSED static PeakKernels kernels_of_target() {
  return {hwy::TargetName(HWY_TARGET), few_chains, many_chains, read_all};
}

}  // namespace heed::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::bench {

PeakKernels peak_kernels(const char* target) {
#define HEED_BENCH_IF_NAMED(bit, name) \
  if (std::strcmp(target, hwy::TargetName(bit)) == 0) return name::kernels_of_target();
  HWY_VISIT_TARGETS(HEED_BENCH_IF_NAMED)
#undef HEED_BENCH_IF_NAMED
  return HWY_STATIC_DISPATCH(kernels_of_target)();
}

}  // namespace heed::bench
#endif
