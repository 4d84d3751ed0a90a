#include "src/kernels/attention.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/attention_decode-inl.h"
#include "src/kernels/attention_pv-inl.h"
#include "src/kernels/attention_qk-inl.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/exp-inl.h"
#include "src/kernels/online_softmax-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace {

void Attend(const QueryRows& t, const KeyBlock& block, const RowState& state) {
  if (t.rows <= kDecodeRows) {
    const CommonKeys keys(block, t.rows);
    if (keys.begin < keys.end) return AttendStreams(t, block, keys, state);
  }
  const TileRanges ranges(block, t.rows);
  const size_t columns = ranges.end - ranges.begin + t.v_head_dim;
  RowPrefetcher prefetcher(block.prefetch.rows,
                           CeilDiv(t.rows, kRegisterRows) * CeilDiv(columns, TileColumns()));
  Scores(t, block, ranges, prefetcher);
  HWY_ALIGN float factor[kPaddedRows];
  SoftmaxStep(t, block, state, factor);
  Values(t, block, ranges, state, factor, prefetcher);
}

// weights[j] of row r from its scores.
void WeightsOfRow(const QueryRows& t, const KeyBlock& block, const RowTotal& total, size_t r,
                  float* HWY_RESTRICT scores, float* HWY_RESTRICT weights) {
  const DF d;
  std::fill_n(weights, kKeyBlock, 0.0f);
  if (block.begin[r] >= block.end[r]) return;
  ChangeScores(t, block, r, scores);
  const VF shift = hn::Set(d, total.shift[r]), inverse = hn::Set(d, total.inverse[r]);
  const size_t from = FirstColumn(block, r), to = EndColumn(block, r);
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF e = Exp(d, hn::Sub(hn::LoadU(d, scores + j), shift));
    hn::StoreU(hn::Mul(e, inverse), d, weights + j);
  }
  // A row whose total is NaN leaves NaN for its hidden keys too.
  std::fill(weights + from, weights + block.begin[r], 0.0f);
  std::fill(weights + block.end[r], weights + to, 0.0f);
  for (size_t j = block.begin[r]; block.visible != nullptr && j < block.end[r]; ++j) {
    if (!SeesKey(block.visible, r, j)) weights[j] = 0.0f;
  }
}

void Weights(const QueryRows& t, const KeyBlock& block, const RowTotal& total, float* weights) {
  RowPrefetcher prefetcher({}, 1);
  Scores(t, block, TileRanges(block, t.rows), prefetcher);
  for (size_t r = 0; r < t.rows; ++r) {
    WeightsOfRow(t, block, total, r, t.scores + r * kKeyBlock, weights + r * kKeyBlock);
  }
}

void Merge(float* HWY_RESTRICT total, float f, const float* HWY_RESTRICT part, float g, size_t n) {
  const auto merge = [&](auto d, size_t i) HWY_ATTR {
    const auto scaled = hn::Mul(hn::LoadU(d, total + i), hn::Set(d, f));
    hn::StoreU(hn::MulAdd(hn::LoadU(d, part + i), hn::Set(d, g), scaled), d, total + i);
  };
  const DF d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) merge(d, i);
  for (; i < n; ++i) merge(hn::CappedTag<float, 1>(), i);
}

void Finish(const float* HWY_RESTRICT acc, float inverse, float* HWY_RESTRICT out, size_t n) {
  const DF d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, acc + i), hn::Set(d, inverse)), d, out + i);
  }
  for (; i < n; ++i) out[i] = acc[i] * inverse;
}

void Scale(float* HWY_RESTRICT row, float factor, size_t n) {
  for (size_t i = 0; i < n; ++i) row[i] *= factor;
}

void Fold(float* lanes, size_t rows) {
  for (size_t r = 0; r < rows; ++r) FoldLanes(lanes + r * kSumLanes);
}

float ExpOfOne(float x) { return ExpOne(x); }

}  // namespace

constexpr AttentionKernels kKernels = {&Attend, &Weights, &Merge,   &Scale,
                                       &Fold,   &Finish,  &ExpOfOne};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

HEED_DISPATCH(AttentionKernels)

}  // namespace heed
#endif  // HWY_ONCE
