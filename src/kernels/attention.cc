#include "src/kernels/attention.h"

#include <algorithm>
#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/exp-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {

// What the rows [first, first + count) of a tile see of a block.
struct TileRange {
  size_t min_begin, max_begin, min_end, max_end;
  bool holes;  // some row does not see all between its begin and end
};

HWY_INLINE size_t CountVisible(const KeyBlock& block, size_t r) {
  size_t count = 0;
  for (size_t i = 0; i < kVisibleWords; ++i) {
    count += static_cast<size_t>(std::popcount(block.visible[r * kVisibleWords + i]));
  }
  return count;
}

HWY_INLINE TileRange RangeOf(const KeyBlock& block, size_t first, size_t count) {
  if (block.whole) return {0, 0, kKeyBlock, kKeyBlock, false};
  TileRange range = {kKeyBlock, 0, kKeyBlock, 0, false};
  for (size_t r = first; r < first + count; ++r) {
    range.min_begin = std::min<size_t>(range.min_begin, block.begin[r]);
    range.max_begin = std::max<size_t>(range.max_begin, block.begin[r]);
    range.min_end = std::min<size_t>(range.min_end, block.end[r]);
    range.max_end = std::max<size_t>(range.max_end, block.end[r]);
    if (block.visible != nullptr) {
      range.holes |= CountVisible(block, r) != size_t{block.end[r]} - block.begin[r];
    }
  }
  return range;
}

// The ranges of all tiles of the rows, and of the rows together.
struct TileRanges {
  TileRange tiles[kScoreRows / kTileRows];
  TileRange all;

  TileRanges(const KeyBlock& block, size_t rows) : all(RangeOf(block, 0, rows)) {
    for (size_t r = 0; r < rows; r += kTileRows) {
      tiles[r / kTileRows] = RangeOf(block, r, std::min(kTileRows, rows - r));
    }
  }
};

// ---- q.k

struct ScoreRows {
  float* scores;  // of the tile's first row and column
  float scale;
  bool first;  // the first kSumChunk channels: assigns
  bool last;   // the last: scales

  HWY_INLINE void Load(DF, size_t, VF&, VF&) const {}
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    float* HWY_RESTRICT to = scores + r * kKeyBlock;
    const size_t lanes = hn::Lanes(d);
    if (HWY_UNLIKELY(!first)) {
      c0 = hn::Add(hn::LoadU(d, to), c0);
      c1 = hn::Add(hn::LoadU(d, to + lanes), c1);
    }
    if (HWY_LIKELY(last)) {
      c0 = hn::Mul(c0, hn::Set(d, scale));
      c1 = hn::Mul(c1, hn::Set(d, scale));
    }
    hn::StoreU(c0, d, to);
    hn::StoreU(c1, d, to + lanes);
  }
};

struct ScoreTile {
  template <size_t R>
  static HWY_INLINE void Run(const QueryRows& t, const float* q, const PanelPair& k,
                             float* scores) {
    for (size_t c = 0; c < t.head_dim; c += kSumChunk) {
      const size_t depth = std::min(kSumChunk, t.head_dim - c);
      const ScoreRows rows{scores, t.scale, c == 0, c + depth == t.head_dim};
      MultiplyTile<R, 1, R>(q + c * R, k.b0 + c * kPanel, k.b1 + c * kPanel, depth, rows);
    }
  }
};

// Asks for floats that are needed a block later. Spread over the work, so that they do not queue.
HWY_INLINE void PrefetchFloats(const float* data, size_t n) {
  constexpr size_t kLineFloats = 16;
  for (size_t i = 0; i < n; i += kLineFloats) __builtin_prefetch(data + i, 0, 2);
}

// Scores of the rows against every key that their tile sees. Keys outside, rows inside: a panel of
// keys stays in L1 for all rows.
void Scores(const QueryRows& t, const KeyBlock& block, const TileRanges& ranges) {
  const size_t width = TileColumns();
  for (size_t c = ranges.all.min_begin / width * width; c < ranges.all.max_end; c += width) {
    const PanelPair k = PanelsAt(block.k, t.head_dim * kPanel, kKeyBlock / kPanel, c);
    if (block.next_k != nullptr) PrefetchFloats(block.next_k + c * t.head_dim, width * t.head_dim);
    for (size_t r = 0; r < t.rows; r += kTileRows) {
      const size_t rows = std::min(kTileRows, t.rows - r);
      const TileRange& tile = ranges.tiles[r / kTileRows];
      if (c >= tile.max_end || c + width <= tile.min_begin) continue;
      WithTileRows<ScoreTile>(rows, t, t.q + r * t.head_dim, k, t.scores + r * kKeyBlock + c);
    }
  }
}

// ---- softmax of one row of scores

HWY_INLINE float MaxOf(const float* HWY_RESTRICT scores, size_t begin, size_t end) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  VF max = hn::LoadU(d, scores + begin);
  for (size_t j = begin + lanes; j < end; j += lanes) {
    max = hn::Max(max, hn::LoadU(d, scores + j));
  }
  return hn::ReduceMax(d, max);
}

// scores[j] = exp(scores[j] - shift), added to lane j % 16; begin and end are multiples of 16.
HWY_INLINE void ExpAndSum(float* HWY_RESTRICT scores, size_t begin, size_t end, float shift,
                          float* HWY_RESTRICT sums) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const VF vshift = hn::Set(d, shift);
  for (size_t lane = 0; lane < kSumLanes; lane += lanes) {
    VF sum = hn::LoadU(d, sums + lane);
    for (size_t j = begin + lane; j < end; j += kSumLanes) {
      const VF p = Exp(d, hn::Sub(hn::LoadU(d, scores + j), vshift));
      hn::StoreU(p, d, scores + j);
      sum = hn::Add(sum, p);
    }
    hn::StoreU(sum, d, sums + lane);
  }
}

HWY_INLINE void ScaleRow(float* HWY_RESTRICT row, float factor, size_t n) {
  const DF d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), hn::Set(d, factor)), d, row + i);
  }
}

// Turns row r's scores into exp(score - maximum) and brings its state up to date.
void SoftmaxStep(const QueryRows& t, const KeyBlock& block, const RowState& state, size_t r,
                 float* scores) {
  const size_t begin = block.begin[r], end = block.end[r];
  if (begin >= end) return;
  const size_t from = begin / kPanel * kPanel, to = RoundUp(end, kPanel);
  ChangeScores(t, block, r, scores);
  const float old = state.max[r];
  const float max = std::max(old, MaxOf(scores, from, to));
  float* sums = state.lanes + r * kSumLanes;
  if (max > old && old != kMinusInfinity) {  // from -inf there is nothing to rescale yet
    const float factor = ExpOne(old - max);
    ScaleRow(sums, factor, kSumLanes);
    ScaleRow(state.acc + r * state.acc_stride, factor, state.acc_stride);
  }
  state.max[r] = max;
  ExpAndSum(scores, from, to, max == kMinusInfinity ? 0.0f : max, sums);
  if (block.multiplier != nullptr) {
    const float* HWY_RESTRICT multiplier = block.multiplier + r * kKeyBlock;
    for (size_t j = begin; j < end; ++j) scores[j] *= multiplier[j];
  }
}

// ---- p.v

struct ValueRows {
  float* acc;  // of the tile's first row and column
  size_t stride;

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const {
    c0 = hn::LoadU(d, acc + r * stride);
    c1 = hn::LoadU(d, acc + r * stride + hn::Lanes(d));
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    hn::StoreU(c0, d, acc + r * stride);
    hn::StoreU(c1, d, acc + r * stride + hn::Lanes(d));
  }
};

struct ValueTile {
  template <size_t R>
  static HWY_INLINE void Run(const float* p, const PanelPair& v, size_t begin, size_t end,
                             const ValueRows& rows) {
    MultiplyTile<R, kKeyBlock, 1>(p + begin, v.b0 + begin * kPanel, v.b1 + begin * kPanel,
                                  end - begin, rows);
  }
};

// Calls visit(begin, end) for every run of keys in [from, to) that row r sees.
template <class Visit>
HWY_INLINE void ForEachRun(const KeyBlock& block, size_t r, size_t from, size_t to,
                           const Visit& visit) {
  size_t begin = std::max<size_t>(block.begin[r], from);
  to = std::min<size_t>(block.end[r], to);
  if (block.visible == nullptr) {
    if (begin < to) visit(begin, to);
    return;
  }
  while (begin < to) {
    if (!SeesKey(block, r, begin)) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < to && SeesKey(block, r, end)) ++end;
    visit(begin, end);
    begin = end;
  }
}

// acc += p v for one tile of rows: keys that all rows see together, what single rows see before and
// after row by row, and so all of it where rows have holes. A key that a row does not see is not
// multiplied by 0 but left out, so that NaN and inf in it can't leak.
void ValuesOfTile(const KeyBlock& block, const TileRange& tile, const RowState& state, size_t first,
                  size_t count, const float* p, const PanelPair& v, size_t c) {
  float* acc = state.acc + first * state.acc_stride + c;
  const auto row_by_row = [&](size_t from, size_t to) HWY_ATTR {
    for (size_t r = 0; r < count; ++r) {
      ForEachRun(block, first + r, from, to, [&](size_t begin, size_t end) HWY_ATTR {
        ValueTile::Run<1>(p + r * kKeyBlock, v, begin, end,
                          {acc + r * state.acc_stride, state.acc_stride});
      });
    }
  };
  if (tile.holes || tile.max_begin >= tile.min_end) return row_by_row(0, kKeyBlock);
  if (tile.min_begin < tile.max_begin) row_by_row(0, tile.max_begin);
  WithTileRows<ValueTile>(count, p, v, tile.max_begin, tile.min_end,
                          ValueRows{acc, state.acc_stride});
  if (tile.min_end < tile.max_end) row_by_row(tile.min_end, kKeyBlock);
}

void Values(const QueryRows& t, const KeyBlock& block, const TileRanges& ranges,
            const RowState& state) {
  const size_t width = TileColumns();
  for (size_t c = 0; c < t.v_panels * kPanel; c += width) {
    const PanelPair v = PanelsAt(block.v, kKeyBlock * kPanel, t.v_panels, c);
    if (block.next_v != nullptr) PrefetchFloats(block.next_v + c * kKeyBlock, width * kKeyBlock);
    for (size_t r = 0; r < t.rows; r += kTileRows) {
      ValuesOfTile(block, ranges.tiles[r / kTileRows], state, r, std::min(kTileRows, t.rows - r),
                   t.scores + r * kKeyBlock, v, c);
    }
  }
}

// ---- exported

void Attend(const QueryRows& t, const KeyBlock& block, const RowState& state) {
  const TileRanges ranges(block, t.rows);
  Scores(t, block, ranges);
  for (size_t r = 0; r < t.rows; ++r) SoftmaxStep(t, block, state, r, t.scores + r * kKeyBlock);
  Values(t, block, ranges, state);
}

// weights[j] of row r from its scores.
void WeightsOfRow(const QueryRows& t, const KeyBlock& block, const RowTotal& total, size_t r,
                  float* HWY_RESTRICT scores, float* HWY_RESTRICT weights) {
  const DF d;
  std::fill_n(weights, kKeyBlock, 0.0f);
  if (block.begin[r] >= block.end[r]) return;
  ChangeScores(t, block, r, scores);
  const VF shift = hn::Set(d, total.shift[r]), inverse = hn::Set(d, total.inverse[r]);
  const size_t from = block.begin[r] / kPanel * kPanel, to = RoundUp(block.end[r], kPanel);
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF e = Exp(d, hn::Sub(hn::LoadU(d, scores + j), shift));
    hn::StoreU(hn::Mul(e, inverse), d, weights + j);
  }
  // A row whose total is NaN leaves NaN for its hidden keys too.
  std::fill(weights + from, weights + block.begin[r], 0.0f);
  std::fill(weights + block.end[r], weights + to, 0.0f);
  for (size_t j = block.begin[r]; block.visible != nullptr && j < block.end[r]; ++j) {
    if (!SeesKey(block, r, j)) weights[j] = 0.0f;
  }
}

void Weights(const QueryRows& t, const KeyBlock& block, const RowTotal& total, float* weights) {
  Scores(t, block, TileRanges(block, t.rows));
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

float ExpOfOne(float x) { return ExpOne(x); }

extern const AttentionKernels kAttentionKernels;
const AttentionKernels kAttentionKernels = {&Attend, &Weights, &Merge, &Scale, &Finish, &ExpOfOne};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

const AttentionKernels& GetAttentionKernels(int64_t target) {
#define HEED_VISIT(TARGET, NAMESPACE) \
  if (target == TARGET) return NAMESPACE::kAttentionKernels;
  HWY_VISIT_TARGETS(HEED_VISIT)
#undef HEED_VISIT
  return HWY_STATIC_NAMESPACE::kAttentionKernels;
}

}  // namespace heed
#endif  // HWY_ONCE
