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

// Two lines; vectors of at most a line, so that every target reads the same ones.
using Line = hn::CappedTag<float, PeakKernels::kLine>;
constexpr size_t kPair = 2 * PeakKernels::kLine;

HWY_INLINE void add_pair(hn::VFromD<Line>& sum, const float* at) {
  const Line d;
  for (size_t i = 0; i < kPair; i += hn::Lanes(d)) sum = hn::Add(sum, hn::LoadU(d, at + i));
}

// Sixteen lines a round, evenly over the streams. Eight accumulators: additions take about four
// cycles, and two loads a cycle are to be answered.
template <size_t kStreams>
HWY_INLINE float read_streams(const float* data, size_t length) {
  const Line d;
  constexpr size_t kPairs = 8, kEach = kPairs / kStreams;
  const auto at = [=](size_t pair, size_t i) {
    return data + pair / kEach * length + pair % kEach * kPair + i;
  };
  auto a0 = hn::Zero(d), a1 = hn::Zero(d), a2 = hn::Zero(d), a3 = hn::Zero(d);
  auto a4 = hn::Zero(d), a5 = hn::Zero(d), a6 = hn::Zero(d), a7 = hn::Zero(d);
  for (size_t i = 0; i + kEach * kPair <= length; i += kEach * kPair) {
    add_pair(a0, at(0, i));
    add_pair(a1, at(1, i));
    add_pair(a2, at(2, i));
    add_pair(a3, at(3, i));
    add_pair(a4, at(4, i));
    add_pair(a5, at(5, i));
    add_pair(a6, at(6, i));
    add_pair(a7, at(7, i));
  }
  const auto low = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto high = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  return hn::ReduceSum(d, hn::Add(low, high));
}

HWY_MAYBE_UNUSED static float read_all(const float* data, size_t length, size_t streams) {
  switch (streams) {
    case 1:
      return read_streams<1>(data, length);
    case 2:
      return read_streams<2>(data, length);
    case 4:
      return read_streams<4>(data, length);
    default:
      return read_streams<8>(data, length);
  }
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
