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
  template <size_t R, class Steps, class Rows, class Prefetch>
  static HWY_INLINE void Run(const float* p, const PanelPair& v, const Steps& steps,
                             const Rows& rows, const Prefetch& prefetch) {
    MultiplyTile<R, kKeyBlock, 1, kColumns>(p, p + kTileRows * kKeyBlock, v.b0, v.b1, steps, rows,
                                            prefetch);
  }
};

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

// What p.v of a tile of rows needs beside its columns.
struct RowTile {
  const KeyBlock& block;
  const TileRange& range;
  size_t first, count;  // its rows
  const float* p;       // of the first row
  size_t columns;       // of them, more than TileColumns() where others follow

  bool both() const { return columns > TileColumns() / 2; }  // not the first vector's alone
};

// Row by row, of those in the bits `rows_of`, and run by run.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesApart(const RowTile& tile, const PanelPair& v,
                                                      const ValueRows& rows, uint32_t rows_of) {
  constexpr float kOne = 1.0f;
  for (size_t r = 0; r < tile.count; ++r) {
    if ((rows_of >> r & 1) == 0) continue;
    ValueRows row{rows.acc + r * rows.stride, rows.stride, rows.factor + r};
    ForEachRun(tile.block, tile.first + r, [&](size_t begin, size_t end) HWY_ATTR {
      ValueTile<Columns::kBoth>::Run<1>(tile.p + r * kKeyBlock, v, EveryStep{begin, end}, row,
                                        NoPrefetch());
      row.factor = &kOne;
    });
  }
}

// Rows with holes together: a key that a row does not see is multiplied by its weight of +0. Where
// that gives a number other than zero, it is the sum without the key: 0 times NaN or inf would have
// left NaN, and 0 times a number changes no sum but one of zero, whose sign it may take. A row with
// any other result is not stored but noted.
struct TrialRows {
  const ValueRows& rows;
  size_t columns;   // more than the tile's where others follow; past them there is padding, all 0
  uint32_t see;     // a bit for each row that sees a key
  uint32_t* again;  // a bit for each that is not stored

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const { rows.Load(d, r, c0, c1); }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    if ((see >> r & 1) == 0) return;
    const VF zero = hn::Zero(d);
    const size_t in0 = std::min(columns, hn::Lanes(d)),
                 in1 = std::min(columns, TileColumns()) - in0;
    const auto kept0 = hn::Or(hn::Not(hn::FirstN(d, in0)), hn::Gt(hn::Abs(c0), zero));
    const auto kept1 = hn::Or(hn::Not(hn::FirstN(d, in1)), hn::Gt(hn::Abs(c1), zero));
    if (HWY_LIKELY(hn::AllTrue(d, hn::And(kept0, kept1)))) return rows.Store(d, r, c0, c1);
    *again |= uint32_t{1} << r;
  }
};

HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOverHoles(const RowTile& tile, const PanelPair& v,
                                                          const ValueRows& rows) {
  uint32_t see = 0, again = 0;
  for (size_t r = 0; r < tile.count; ++r) {
    const bool sees = tile.block.begin[tile.first + r] < tile.block.end[tile.first + r];
    see |= uint32_t{sees} << r;
  }
  WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v,
                                          EveryStep{tile.range.min_begin, tile.range.max_end},
                                          TrialRows{rows, tile.columns, see, &again}, NoPrefetch());
  if (HWY_UNLIKELY(again != 0)) ValuesApart(tile, v, rows, again);
}

// acc = acc * factor + p v for one tile of rows and two vectors of columns. A key that a row does
// not see is left out, so that NaN and inf in it can't leak. A row that sees no key of the block
// has nothing to rescale: its maximum stays.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfTile(const RowTile& tile, const PanelPair& v,
                                                       const ValueRows& rows,
                                                       const PanelPair* next) {
  const TileRange& range = tile.range;
  if (range.min_begin >= range.max_end) return;
  if (range.apart) return ValuesOverHoles(tile, v, rows);
  const RaggedSteps steps{range.max_begin, range.min_end, tile.block.begin + tile.first,
                          tile.block.end + tile.first};
  if (next != nullptr) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows,
                                            PrefetchPanels{*next});
  } else if (tile.both()) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows, NoPrefetch());
  } else {
    WithTileRows<ValueTile<Columns::kFirst>>(tile.count, tile.p, v, steps, rows, NoPrefetch());
  }
}

// Weights of the keys that some row of a tile sees and that lie in no panel of row r.
HWY_INLINE void ClearHiddenWeights(const KeyBlock& block, const TileRange& range, size_t r,
                                   float* p) {
  const DF d;
  const size_t from = FirstColumn(block, r), to = EndColumn(block, r), lanes = hn::Lanes(d);
  for (size_t j = range.min_begin / kPanel * kPanel; j < from; j += lanes) {
    hn::StoreU(hn::Zero(d), d, p + j);
  }
  for (size_t j = to; j < range.max_end; j += lanes) hn::StoreU(hn::Zero(d), d, p + j);
}

HWY_NOINLINE HWY_MAYBE_UNUSED static void Values(const QueryRows& t, const KeyBlock& block,
                                                 const TileRanges& ranges, const RowState& state,
                                                 const float* factor, RowPrefetcher& prefetcher) {
  const size_t width = TileColumns();
  const size_t v_panels = CeilDiv(t.v_head_dim, kPanel);
  const TileRange* of_tile = ranges.tiles;
  for (size_t first = 0, rows; first < t.rows; first += rows, ++of_tile) {
    rows = NextTileRows(t.rows - first);
    for (size_t r = first; of_tile->apart && r < first + rows; ++r) {
      ClearHiddenWeights(block, *of_tile, r, t.scores + r * kKeyBlock);
    }
  }
  for (size_t c = 0; c < t.v_head_dim; c += width) {
    const auto panels = [&](const Panels& of)
                            HWY_ATTR { return PanelsAt(of, kKeyBlock * kPanel, v_panels, c); };
    const PanelPair v = panels(block.v);
    const PanelPair next = block.prefetch.v.absent() ? v : panels(block.prefetch.v);
    const TileRange* range = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++range) {
      rows = NextTileRows(t.rows - r);
      prefetcher.Next();
      ValuesOfTile({block, *range, r, rows, t.scores + r * kKeyBlock, t.v_head_dim - c}, v,
                   {state.acc + r * state.acc_stride + c, state.acc_stride, factor + r},
                   !block.prefetch.v.absent() && r == 0 ? &next : nullptr);
    }
  }
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_PV_INL_H_
