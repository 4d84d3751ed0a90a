// The running softmax of a group of rows: what one block of keys does to their maxima and sums.
#include <algorithm>

#include "src/kernels/attention.h"
#include "src/kernels/infinity.h"

#if defined(HEED_ONLINE_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ONLINE_SOFTMAX_INL_H_
#undef HEED_ONLINE_SOFTMAX_INL_H_
#else
#define HEED_ONLINE_SOFTMAX_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/exp_sum-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A number for each row of a group, with room for whole vectors.
constexpr size_t kPaddedRows = RoundUp(kScoreRows, kPanel);

// The exponentials of so many rows prefetch as much as one register tile.
constexpr size_t kPrefetchSoftmaxRows = 4;

// Of whole panels, in two chains that hide each other's latency.
HWY_INLINE float MaxOf(const float* HWY_RESTRICT scores, size_t begin, size_t end) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  VF m0 = hn::LoadU(d, scores + begin), m1 = m0;
  size_t j = begin + lanes;
  for (; j + 2 * lanes <= end; j += 2 * lanes) {
    m0 = hn::Max(m0, hn::LoadU(d, scores + j));
    m1 = hn::Max(m1, hn::LoadU(d, scores + j + lanes));
  }
  if (j < end) m0 = hn::Max(m0, hn::LoadU(d, scores + j));
  return hn::ReduceMax(d, hn::Max(m0, m1));
}

// From a row's maximum before and that of a block: raised[r] = the maximum of both, shift[r] = what
// to subtract from scores, factor[r] = what the row's sums so far are multiplied by. For all rows
// at once, also for those whose maximum stays: a factor of 1 costs less than a branch. `exp2` is
// that of scores.
HWY_INLINE void RaiseMaxima(const Exp2<DF>& exp2, const float* HWY_RESTRICT before,
                            const float* HWY_RESTRICT of_block, size_t rows,
                            float* HWY_RESTRICT raised, float* HWY_RESTRICT shift,
                            float* HWY_RESTRICT factor) {
  const DF d;
  for (size_t r = 0; r < rows; r += hn::Lanes(d)) {
    const VF old = hn::LoadU(d, before + r), other = hn::LoadU(d, of_block + r);
    const VF max = hn::IfThenElse(hn::Lt(old, other), other, old);  // a NaN in `other` is left out
    const VF from = hn::IfThenZeroElse(hn::Eq(max, hn::Set(d, kMinusInfinity)), max);
    hn::StoreU(max, d, raised + r);
    hn::StoreU(from, d, shift + r);
    hn::StoreU(exp2(hn::Sub(old, from)), d, factor + r);
  }
}

HWY_INLINE void ScaleLanes(float* HWY_RESTRICT lanes, float factor) {
  const DF d;
  for (size_t lane = 0; lane < kSumLanes; lane += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, lanes + lane), hn::Set(d, factor)), d, lanes + lane);
  }
}

// Turns the rows' scores into 2^(score - maximum), times the multipliers of dropout, and brings
// maxima and sums up to date. factor[r] is what acc must be multiplied by.
HWY_INLINE void SoftmaxStep(const QueryRows& t, const KeyBlock& block, const RowState& state,
                            float* HWY_RESTRICT factor, RowPrefetcher& prefetcher) {
  HWY_ALIGN float before[kPaddedRows], of_block[kPaddedRows], raised[kPaddedRows];
  HWY_ALIGN float shift[kPaddedRows];
  std::fill_n(before, kPaddedRows, kMinusInfinity);
  std::fill_n(of_block, kPaddedRows, kMinusInfinity);
  std::copy_n(state.max, t.rows, before);
  for (size_t r = 0; r < t.rows; ++r) {
    if (block.begin[r] >= block.end[r]) continue;
    float* scores = t.scores + r * kKeyBlock;
    ChangeScores(t, block, r, scores);
    of_block[r] = MaxOf(scores, FirstColumn(block, r), EndColumn(block, r));
  }
  const Exp2<DF> exp2(t.to_base2);
  RaiseMaxima(exp2, before, of_block, t.rows, raised, shift, factor);
  std::copy_n(raised, t.rows, state.max);
  const DF d;
  for (size_t r = 0; r < t.rows; ++r) {
    float* scores = t.scores + r * kKeyBlock;
    float* lanes = state.lanes + r * kSumLanes;
    if (r % kPrefetchSoftmaxRows == 0) prefetcher.Next();
    ScaleLanes(lanes, factor[r]);
    const VF vshift = hn::Set(d, shift[r]);
    ExpAndSum(
        scores, scores, FirstColumn(block, r), EndColumn(block, r), exp2,
        [&](VF s) HEED_INLINE_LAMBDA { return hn::Sub(s, vshift); }, lanes);
    if (block.multiplier == nullptr) continue;
    const float* HWY_RESTRICT multiplier = block.multiplier + r * kKeyBlock;
    for (size_t j = block.begin[r]; j < block.end[r]; ++j) scores[j] *= multiplier[j];
  }
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ONLINE_SOFTMAX_INL_H_
