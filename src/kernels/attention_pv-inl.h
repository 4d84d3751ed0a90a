// p.v: values of a block of keys, weighted by the rows of a group.
#include <algorithm>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_PV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_PV_INL_H_
#undef HEED_ATTENTION_PV_INL_H_
#else
#define HEED_ATTENTION_PV_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct ValueRows {
  const float* acc;  // of the tile's first row and column
  size_t stride;
  const float* factor;  // of the tile's rows
  float* to;            // where sums go: acc, or aside
  size_t to_stride;

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const {
    const VF by = hn::Set(d, factor[r]);
    c0 = hn::Mul(hn::LoadU(d, acc + r * stride), by);
    c1 = hn::Mul(hn::LoadU(d, acc + r * stride + hn::Lanes(d)), by);
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    hn::StoreU(c0, d, to + r * to_stride);
    hn::StoreU(c1, d, to + r * to_stride + hn::Lanes(d));
  }
};

// p.v of a tile of rows and its columns.
struct RowTile {
  const KeyBlock& block;
  const TileRange& range;
  size_t first, count;  // its rows
  const float* p;       // of the first row
  float* acc;           // of the first row and column
  size_t stride;
  const float* factor;  // of the first row
  size_t columns;       // more than TileColumns() where others follow
  PanelPair v;
  const PanelPair* next;  // prefetched; or null
};

template <Columns kColumns>
struct ValueTile {
  template <size_t R, class Prefetch = NoPrefetch>
  static HWY_INLINE void Run(const PanelPair& v, const float* p, const Steps& steps,
                             const ValueRows& rows, const Prefetch& prefetch = {}) {
    MultiplyTile<R, kColumns>({p, p + kTileRows * kKeyBlock, kKeyBlock, 1}, v.b0, v.b1, steps, rows,
                              prefetch);
  }
};

HWY_NOINLINE HWY_MAYBE_UNUSED static void MultiplyValues(const RowTile& tile, size_t count,
                                                         const float* p, const Steps& steps,
                                                         const ValueRows& rows) {
  if (count == kRegisterRows) {
    constexpr size_t R = kRegisterRows;
    if (tile.next != nullptr) {
      return ValueTile<Columns::kBoth>::Run<R>(tile.v, p, steps, rows, PrefetchPanels{*tile.next});
    }
    if (tile.columns <= TileColumns() / 2) {
      return ValueTile<Columns::kFirst>::Run<R>(tile.v, p, steps, rows);
    }
  }
  WithTileRows<ValueTile<Columns::kBoth>>(count, tile.v, p, steps, rows);
}

// Calls visit(begin, end) for every run of keys that row r sees.
template <class Visit>
HWY_INLINE void ForEachRun(const KeyBlock& block, size_t r, const Visit& visit) {
  for (size_t begin = block.begin[r], end; begin < block.end[r]; begin = end) {
    end = begin + 1;
    if (!SeesKey(block.visible, r, begin)) continue;
    while (end < block.end[r] && SeesKey(block.visible, r, end)) ++end;
    visit(begin, end);
  }
}

// Row r of a tile, over the keys [begin, end). `started`: acc is rescaled already.
HWY_INLINE void ValuesOfRow(const RowTile& tile, size_t r, size_t begin, size_t end, bool started) {
  constexpr float kOne = 1.0f;
  float* acc = tile.acc + r * tile.stride;
  const float* factor = started ? &kOne : tile.factor + r;
  ValueTile<Columns::kBoth>::Run<1>(tile.v, tile.p + r * kKeyBlock, Steps{begin, end},
                                    {acc, 0, factor, acc, 0});
}

// The keys that all rows see together, and row by row what some see before them and after.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfDiagonal(const RowTile& tile) {
  HWY_ALIGN float factor[kMaxRegisterRows];
  const uint8_t* begin = tile.block.begin + tile.first;
  const uint8_t* end = tile.block.end + tile.first;
  const Steps all = {tile.range.all_begin, tile.range.all_end};
  std::copy_n(tile.factor, tile.count, factor);
  for (size_t r = 0; r < tile.count; ++r) {
    if (begin[r] >= all.begin) continue;
    ValuesOfRow(tile, r, begin[r], all.begin, false);
    factor[r] = 1.0f;
  }
  MultiplyValues(tile, tile.count, tile.p, all,
                 {tile.acc, tile.stride, factor, tile.acc, tile.stride});
  for (size_t r = 0; r < tile.count; ++r) {
    if (all.end < end[r]) ValuesOfRow(tile, r, all.end, end[r], true);
  }
}

// One row, run by run of the keys that it sees.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfRuns(const RowTile& tile, size_t r) {
  bool started = false;
  ForEachRun(tile.block, tile.first + r, [&](size_t begin, size_t end) HWY_ATTR {
    ValuesOfRow(tile, r, begin, end, started);
    started = true;
  });
}

// Rows together that do not see the same keys: a key that a row does not see is multiplied by its
// weight of +0. Where that gives a number other than zero, it is the sum without the key: 0 times
// NaN or inf would have left NaN, and 0 times a number changes no sum but one of zero, whose sign
// it may take. Rows with any other result are computed again, each by its own keys.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOverHidden(const RowTile& tile) {
  HWY_ALIGN float sums[kMaxRegisterRows][2 * kPanel];
  MultiplyValues(tile, tile.count, tile.p, Steps{tile.range.begin, tile.range.end},
                 {tile.acc, tile.stride, tile.factor, sums[0], 2 * kPanel});
  const DF d;
  const size_t lanes = hn::Lanes(d);
  // A row that sees no key of the block has nothing to rescale: its maximum stays.
  const auto sees = [&](size_t r) {
    return tile.block.begin[tile.first + r] < tile.block.end[tile.first + r];
  };
  // Columns past the tile's are others', and those that are not there are padding.
  const size_t in0 = std::min(tile.columns, lanes), in1 = std::min(tile.columns, 2 * lanes) - in0;
  const auto outside0 = hn::Not(hn::FirstN(d, in0)), outside1 = hn::Not(hn::FirstN(d, in1));
  const auto nonzero = [&](size_t r) HEED_INLINE_LAMBDA {
    const VF zero = hn::Zero(d);
    const auto kept0 = hn::Or(outside0, hn::Gt(hn::Abs(hn::Load(d, sums[r])), zero));
    const auto kept1 = hn::Or(outside1, hn::Gt(hn::Abs(hn::Load(d, sums[r] + lanes)), zero));
    return hn::And(kept0, kept1);
  };
  auto all = nonzero(0);
  for (size_t r = 1; r < tile.count; ++r) all = hn::And(all, nonzero(r));
  const bool plain = hn::AllTrue(d, all);
  for (size_t r = 0; r < tile.count; ++r) {
    if (!sees(r)) continue;
    if (HWY_UNLIKELY(!plain) && !hn::AllTrue(d, nonzero(r))) {
      ValuesOfRuns(tile, r);
      continue;
    }
    float* HWY_RESTRICT to = tile.acc + r * tile.stride;
    hn::StoreU(hn::Load(d, sums[r]), d, to);
    hn::StoreU(hn::Load(d, sums[r] + lanes), d, to + lanes);
  }
}

// Weights of the keys that some row of a tile sees and that lie in no panel of row r.
HWY_INLINE void ClearHiddenWeights(const KeyBlock& block, const TileRange& range, size_t r,
                                   float* p) {
  const DF d;
  const size_t from = FirstColumn(block, r), to = EndColumn(block, r), lanes = hn::Lanes(d);
  for (size_t j = range.begin / kPanel * kPanel; j < from; j += lanes) {
    hn::StoreU(hn::Zero(d), d, p + j);
  }
  for (size_t j = to; j < range.end; j += lanes) hn::StoreU(hn::Zero(d), d, p + j);
}

// acc = acc * factor + p v. A key that a row does not see is left out, so that NaN and inf in it
// can't leak.
HWY_NOINLINE HWY_MAYBE_UNUSED static void Values(const QueryRows& t, const KeyBlock& block,
                                                 const TileRanges& ranges, const RowState& state,
                                                 const float* factor, RowPrefetcher& prefetcher) {
  const size_t width = TileColumns();
  const size_t v_panels = CeilDiv(t.v_head_dim, kPanel);
  const TileRange* range = ranges.tiles;
  for (size_t first = 0, rows; first < t.rows; first += rows, ++range) {
    rows = NextTileRows(t.rows - first);
    for (size_t r = first; range->apart && r < first + rows; ++r) {
      ClearHiddenWeights(block, *range, r, t.scores + r * kKeyBlock);
    }
  }
  for (size_t c = 0; c < t.v_head_dim; c += width) {
    const auto panels = [&](const Panels& of)
                            HWY_ATTR { return PanelsAt(of, kKeyBlock * kPanel, v_panels, c); };
    const PanelPair v = panels(block.v);
    const bool prefetches = !block.prefetch.v.absent();
    const PanelPair next = prefetches ? panels(block.prefetch.v) : v;
    range = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++range) {
      rows = NextTileRows(t.rows - r);
      prefetcher.Next();
      if (range->begin >= range->end) continue;
      const RowTile tile = {block,
                            *range,
                            r,
                            rows,
                            t.scores + r * kKeyBlock,
                            state.acc + r * state.acc_stride + c,
                            state.acc_stride,
                            factor + r,
                            t.v_head_dim - c,
                            v,
                            prefetches && r == 0 ? &next : nullptr};
      if (range->apart) {
        ValuesOverHidden(tile);
      } else if (range->begin < range->all_begin || range->all_end < range->end) {
        ValuesOfDiagonal(tile);
      } else {
        MultiplyValues(tile, rows, tile.p, Steps{range->begin, range->end},
                       {tile.acc, tile.stride, tile.factor, tile.acc, tile.stride});
      }
    }
  }
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_PV_INL_H_
