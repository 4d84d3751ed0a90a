// p.v: values of a block of keys, weighted by the rows of a group.
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
namespace heed::HWY_NAMESPACE {
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
  template <size_t R, class Steps, class Prefetch>
  static HWY_INLINE void Run(const float* p, const PanelPair& v, const Steps& steps,
                             const ValueRows& rows, const Prefetch& prefetch) {
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
  bool both;            // both vectors have columns, not the first alone
};

// Row by row and run by run.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesApart(const RowTile& tile, const PanelPair& v,
                                                      const ValueRows& rows) {
  constexpr float kOne = 1.0f;
  for (size_t r = 0; r < tile.count; ++r) {
    ValueRows row{rows.acc + r * rows.stride, rows.stride, rows.factor + r};
    ForEachRun(tile.block, tile.first + r, [&](size_t begin, size_t end) HWY_ATTR {
      ValueTile<Columns::kBoth>::Run<1>(tile.p + r * kKeyBlock, v, EveryStep{begin, end}, row,
                                        NoPrefetch());
      row.factor = &kOne;
    });
  }
}

// acc = acc * factor + p v for one tile of rows and two vectors of columns. A key that a row does
// not see is not multiplied by 0 but left out, so that NaN and inf in it can't leak. A row that
// sees no key of the block has nothing to rescale: its maximum stays.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfTile(const RowTile& tile, const PanelPair& v,
                                                       const ValueRows& rows,
                                                       const PanelPair* next) {
  const TileRange& range = tile.range;
  if (range.min_begin >= range.max_end) return;
  if (range.apart) return ValuesApart(tile, v, rows);
  const RaggedSteps steps{range.max_begin, range.min_end, tile.block.begin + tile.first,
                          tile.block.end + tile.first};
  if (next != nullptr) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows,
                                            PrefetchPanels{*next});
  } else if (tile.both) {
    WithTileRows<ValueTile<Columns::kBoth>>(tile.count, tile.p, v, steps, rows, NoPrefetch());
  } else {
    WithTileRows<ValueTile<Columns::kFirst>>(tile.count, tile.p, v, steps, rows, NoPrefetch());
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED static void Values(const QueryRows& t, const KeyBlock& block,
                                                 const TileRanges& ranges, const RowState& state,
                                                 const float* factor, RowPrefetcher& prefetcher) {
  const size_t width = TileColumns();
  const size_t v_panels = CeilDiv(t.v_head_dim, kPanel);
  for (size_t c = 0; c < t.v_head_dim; c += width) {
    const auto panels = [&](const Panels& of)
                            HWY_ATTR { return PanelsAt(of, kKeyBlock * kPanel, v_panels, c); };
    const PanelPair v = panels(block.v);
    const PanelPair next = block.prefetch.v.absent() ? v : panels(block.prefetch.v);
    const TileRange* range = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++range) {
      rows = NextTileRows(t.rows - r);
      prefetcher.NextTile();
      ValuesOfTile({block, *range, r, rows, t.scores + r * kKeyBlock, c + width / 2 < t.v_head_dim},
                   v, {state.acc + r * state.acc_stride + c, state.acc_stride, factor + r},
                   !block.prefetch.v.absent() && r == 0 ? &next : nullptr);
    }
  }
}

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_PV_INL_H_
