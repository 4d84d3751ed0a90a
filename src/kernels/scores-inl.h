// What happens to the scores of one row between q.k and softmax: every score change of
// AttentionOptions, and the hiding of keys.
#include <limits>

#include "src/kernels/attention.h"
#include "src/kernels/infinity.h"

#if defined(HEED_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_SCORES_INL_H_
#undef HEED_SCORES_INL_H_
#else
#define HEED_SCORES_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/exp2-inl.h"
#include "src/kernels/tanh-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scores of models stay below half the cap, so that tanh seldom needs its exponential and division.
// So a row is looked over first, where its keys [begin, end) are: what lies beside them in their
// panels may not be set.
HWY_INLINE void CapScores(float* HWY_RESTRICT scores, size_t from, size_t to, size_t begin,
                          size_t end) {
  const DF d;
  VF most = hn::Zero(d);
  for (size_t j = begin / hn::Lanes(d) * hn::Lanes(d); j < end; j += hn::Lanes(d)) {
    most = hn::Max(most, hn::Abs(hn::LoadU(d, scores + j)));
  }
  if (hn::AllTrue(d, hn::Lt(most, hn::Set(d, kTanhSmall)))) {
    for (size_t j = from; j < to; j += hn::Lanes(d)) {
      hn::StoreU(TanhOfSmall(d, hn::LoadU(d, scores + j)), d, scores + j);
    }
  } else {
    for (size_t j = from; j < to; j += hn::Lanes(d)) {
      hn::StoreU(Tanh(d, hn::LoadU(d, scores + j)), d, scores + j);
    }
  }
}

// ALiBi: `distance` is that of the block's first key.
HWY_INLINE void SlopeScores(float* HWY_RESTRICT scores, size_t from, size_t to, float distance,
                            float slope) {
  const DF d;
  const VF minus_slope = hn::Set(d, -slope), first = hn::Set(d, distance);
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF away = hn::Abs(hn::Add(first, hn::Iota(d, static_cast<float>(j))));
    hn::StoreU(hn::MulAdd(minus_slope, away, hn::LoadU(d, scores + j)), d, scores + j);
  }
}

// The lowest float is a common way to hide a key as far as there are others: in units it may be
// -inf, and a row with no others would see none.
HWY_INLINE void BiasScores(float* HWY_RESTRICT scores, size_t from, size_t to,
                           const float* HWY_RESTRICT bias, float per_natural) {
  const DF d;
  const VF per = hn::Set(d, per_natural);
  const VF lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF s = hn::MulAdd(hn::LoadU(d, bias + j), per, hn::LoadU(d, scores + j));
    hn::StoreU(AtLeast(lowest, s), d, scores + j);
  }
}

// Hides the scores of the panel that begins at column `from` outside [begin, end). With masks,
// because a loop over them is mispredicted every time: how many there are differs from row to row.
HWY_INLINE void HideScores(float* HWY_RESTRICT scores, size_t from, size_t begin, size_t end) {
  const DF d;
  const VF first = hn::Set(d, static_cast<float>(begin)),
           last = hn::Set(d, static_cast<float>(end));
  for (size_t j = from; j < from + kPanel; j += hn::Lanes(d)) {
    const VF column = hn::Iota(d, static_cast<float>(j));
    const auto seen = hn::And(hn::Ge(column, first), hn::Lt(column, last));
    const VF hidden = hn::Set(d, kMinusInfinity);
    hn::StoreU(hn::IfThenElse(seen, hn::LoadU(d, scores + j), hidden), d, scores + j);
  }
}

// Puts `other` in the place of what row r does not see, in the whole panels [from, to).
HWY_INLINE void ReplaceHidden(const uint64_t* visible, size_t r, size_t from, size_t to,
                              float other, float* HWY_RESTRICT x) {
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  HWY_ALIGN static constexpr uint32_t kBits[kPanel] = {
      1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  for (size_t panel = from; panel < to; panel += kPanel) {
    const uint64_t word = visible[r * kVisibleWords + panel / 64];
    const auto bits = hn::Set(du, static_cast<uint32_t>(word >> panel % 64 & 0xFFFF));
    for (size_t j = 0; j < kPanel; j += hn::Lanes(d)) {
      const auto seen = hn::RebindMask(d, hn::TestBit(bits, hn::LoadU(du, kBits + j)));
      float* to_x = x + panel + j;
      hn::StoreU(hn::IfThenElse(seen, hn::LoadU(d, to_x), hn::Set(d, other)), d, to_x);
    }
  }
}

// The whole panels that hold the keys of row r: [FirstColumn, EndColumn), empty for a row that sees
// none.
HWY_INLINE size_t FirstColumn(const KeyBlock& block, size_t r) {
  return block.begin[r] / kPanel * kPanel;
}
HWY_INLINE size_t EndColumn(const KeyBlock& block, size_t r) {
  return block.begin[r] < block.end[r] ? RoundUp(block.end[r], kPanel) : FirstColumn(block, r);
}

// Every change of a score, in the order that AttentionOptions states, for the panels that hold the
// keys of row r; its hidden keys end as -inf.
HWY_INLINE void ChangeScores(const QueryRows& t, const KeyBlock& block, size_t r, float* scores) {
  const size_t begin = block.begin[r], end = block.end[r];
  const size_t from = FirstColumn(block, r), to = EndColumn(block, r);
  if (t.soft_cap) CapScores(scores, from, to, begin, end);
  if (t.slope != nullptr) SlopeScores(scores, from, to, block.distance[r], t.slope[r]);
  if (block.bias != nullptr) BiasScores(scores, from, to, block.bias[r], t.per_natural);
  if (from < begin) HideScores(scores, from, begin, end);
  if (end < to) HideScores(scores, to - kPanel, begin, end);
  if ((block.holes >> r & 1) != 0)
    ReplaceHidden(block.visible, r, from, to, kMinusInfinity, scores);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_SCORES_INL_H_
