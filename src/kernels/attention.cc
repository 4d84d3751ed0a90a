#include "src/kernels/attention.h"

#include <algorithm>
#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/exp-inl.h"
#include "src/kernels/online_softmax-inl.h"
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
  TileRange tiles[kScoreRows / kTileRows];  // in the order of NextTileRows
  TileRange all;

  TileRanges(const KeyBlock& block, size_t rows) : all(RangeOf(block, 0, rows)) {
    size_t tile = 0;
    for (size_t r = 0, count; r < rows; r += count) {
      count = NextTileRows(rows - r);
      tiles[tile++] = RangeOf(block, r, count);
    }
  }
};

// Asks for the rows of block.ahead, a few lines with every tile: many at a time queue and hold up
// the multiplication.
class AskAhead {
 public:
  HWY_INLINE AskAhead(const KeyBlock& block, size_t tiles)
      : row_(block.ahead),
        end_(row_ + block.rows_ahead),
        per_tile_(CeilDiv(block.lines_ahead, tiles)) {}

  HWY_INLINE void OnTile() {
    for (size_t n = 0; n < per_tile_ && row_ != end_; ++n) {
      __builtin_prefetch(row_->data + line_ * kLineFloats, 0, 2);
      if (++line_ < row_->lines) continue;
      ++row_;
      line_ = 0;
    }
  }

 private:
  const RowAhead* row_;
  const RowAhead* end_;
  size_t per_tile_, line_ = 0;
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
  template <size_t R, class Ahead>
  static HWY_INLINE void Run(const QueryRows& t, const float* q, const PanelPair& k, float* scores,
                             const Ahead& ahead) {
    for (size_t c = 0; c < t.head_dim; c += kSumChunk) {
      const size_t depth = std::min(kSumChunk, t.head_dim - c);
      const ScoreRows rows{scores, t.scale, c == 0, c + depth == t.head_dim};
      constexpr size_t kWidth = R < kTileRows ? R : kTileRows;
      MultiplyTile<R, 1, kWidth>(q + c * kWidth, q + (t.head_dim + c) * kWidth, k.b0 + c * kPanel,
                                 k.b1 + c * kPanel, EveryStep{depth}, rows, ahead.From(c));
    }
  }
};

// Scores of the rows against every key that their tile sees. Keys outside, rows inside: a panel of
// keys stays in L1 for all rows.
void Scores(const QueryRows& t, const KeyBlock& block, const TileRanges& ranges, AskAhead& ask) {
  const size_t width = TileColumns();
  for (size_t c = ranges.all.min_begin / width * width; c < ranges.all.max_end; c += width) {
    const auto panels = [&](const float* of) HWY_ATTR {
      return PanelsAt(of, t.head_dim * kPanel, kKeyBlock / kPanel, c);
    };
    const PanelPair k = panels(block.k);
    const TileRange* tile = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++tile) {
      rows = NextTileRows(t.rows - r);
      if (c >= tile->max_end || c + width <= tile->min_begin) continue;
      ask.OnTile();
      const float* q = t.q + r * t.head_dim;
      float* scores = t.scores + r * kKeyBlock + c;
      if (block.next_k != nullptr && r == 0) {
        WithTileRows<ScoreTile>(rows, t, q, k, scores, PanelsAhead{panels(block.next_k)});
      } else {
        WithTileRows<ScoreTile>(rows, t, q, k, scores, NothingAhead());
      }
    }
  }
}

// ---- p.v

struct ValueRows {
  float* acc;  // of the tile's first row and column
  size_t stride;
  const float* factor;  // of the tile's rows

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const {
    const VF by = hn::Set(d, factor[r]);
    c0 = hn::Mul(hn::LoadU(d, acc + r * stride), by);
    c1 = hn::Mul(hn::LoadU(d, acc + r * stride + hn::Lanes(d)), by);
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    hn::StoreU(c0, d, acc + r * stride);
    hn::StoreU(c1, d, acc + r * stride + hn::Lanes(d));
  }
};

template <Columns kColumns>
struct ValueTile {
  template <size_t R, class Steps, class Ahead>
  static HWY_INLINE void Run(const float* p, const PanelPair& v, const Steps& steps,
                             const ValueRows& rows, const Ahead& ahead) {
    MultiplyTile<R, kKeyBlock, 1, kColumns>(p, p + kTileRows * kKeyBlock, v.b0, v.b1, steps, rows,
                                            ahead);
  }
};

// Calls visit(begin, end) for every run of keys that row r sees.
template <class Visit>
HWY_INLINE void ForEachRun(const KeyBlock& block, size_t r, const Visit& visit) {
  for (size_t begin = block.begin[r], end; begin < block.end[r]; begin = end) {
    end = begin + 1;
    if (!SeesKey(block, r, begin)) continue;
    while (end < block.end[r] && SeesKey(block, r, end)) ++end;
    visit(static_cast<uint8_t>(begin), static_cast<uint8_t>(end));
  }
}

// What p.v of a tile of rows needs beside its columns.
struct RowTile {
  const KeyBlock& block;
  const TileRange& range;
  size_t first, count;  // its rows
  const float* p;       // of the first row
  bool both;            // both vectors have columns, not the first alone
};

// Where rows have holes: row by row and run by run.
void ValuesWithHoles(const RowTile& tile, const PanelPair& v, const ValueRows& rows) {
  constexpr float kOne = 1.0f;
  for (size_t r = 0; r < tile.count; ++r) {
    ValueRows row{rows.acc + r * rows.stride, rows.stride, rows.factor + r};
    ForEachRun(tile.block, tile.first + r, [&](uint8_t begin, uint8_t end) HWY_ATTR {
      const RaggedSteps steps{begin, begin, end, end, &begin, &end};
      ValueTile<Columns::kBoth>::Run<1>(tile.p + r * kKeyBlock, v, steps, row, NothingAhead());
      row.factor = &kOne;
    });
  }
}

// acc = acc * factor + p v for one tile of rows and two vectors of columns. A key that a row does
// not see is not multiplied by 0 but left out, so that NaN and inf in it can't leak. A row that sees
// no key of the block has nothing to rescale: its maximum stays.
void ValuesOfTile(const RowTile& tile, const PanelPair& v, const ValueRows& rows,
                  const PanelPair* next) {
  const TileRange& range = tile.range;
  if (range.holes) return ValuesWithHoles(tile, v, rows);
  if (range.min_begin >= range.max_end) return;
  const RaggedSteps steps{range.min_begin,
                          range.max_begin,
                          range.min_end,
                          range.max_end,
                          tile.block.begin + tile.first,
                          tile.block.end + tile.first};
  if (next != nullptr) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows, PanelsAhead{*next});
  } else if (tile.both) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows, NothingAhead());
  } else {
    WithTileRows<ValueTile<Columns::kFirst>>(tile.count, tile.p, v, steps, rows, NothingAhead());
  }
}

void Values(const QueryRows& t, const KeyBlock& block, const TileRanges& ranges,
            const RowState& state, const float* factor, AskAhead& ask) {
  const size_t width = TileColumns();
  const size_t v_panels = CeilDiv(t.v_head_dim, kPanel);
  for (size_t c = 0; c < t.v_head_dim; c += width) {
    const auto panels = [&](const float* of)
                            HWY_ATTR { return PanelsAt(of, kKeyBlock * kPanel, v_panels, c); };
    const PanelPair v = panels(block.v);
    const PanelPair next = block.next_v == nullptr ? v : panels(block.next_v);
    const TileRange* range = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++range) {
      rows = NextTileRows(t.rows - r);
      ask.OnTile();
      ValuesOfTile({block, *range, r, rows, t.scores + r * kKeyBlock, c + width / 2 < t.v_head_dim},
                   v, {state.acc + r * state.acc_stride + c, state.acc_stride, factor + r},
                   block.next_v != nullptr && r == 0 ? &next : nullptr);
    }
  }
}

// ---- exported

void Attend(const QueryRows& t, const KeyBlock& block, const RowState& state) {
  const TileRanges ranges(block, t.rows);
  const size_t columns = ranges.all.max_end - ranges.all.min_begin + t.v_head_dim;
  AskAhead ask(block, CeilDiv(t.rows, kRegisterRows) * CeilDiv(columns, TileColumns()));
  Scores(t, block, ranges, ask);
  HWY_ALIGN float factor[kPaddedRows];
  SoftmaxStep(t, block, state, factor);
  Values(t, block, ranges, state, factor, ask);
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
    if (!SeesKey(block, r, j)) weights[j] = 0.0f;
  }
}

void Weights(const QueryRows& t, const KeyBlock& block, const RowTotal& total, float* weights) {
  AskAhead ask(block, 1);
  Scores(t, block, TileRanges(block, t.rows), ask);
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

extern const AttentionKernels kAttentionKernels;
const AttentionKernels kAttentionKernels = {&Attend, &Weights, &Merge,   &Scale,
                                            &Fold,   &Finish,  &ExpOfOne};

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
