// q.k: scores of a group of rows against a block of keys.
#include <algorithm>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_QK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_QK_INL_H_
#undef HEED_ATTENTION_QK_INL_H_
#else
#define HEED_ATTENTION_QK_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct ScoreRows {
  float* scores;  // of the tile's first row and column
  bool first;     // the first kSumChunk channels: assigns

  HWY_INLINE void Load(DF, size_t, VF&, VF&) const {}
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    float* HWY_RESTRICT to = scores + r * kKeyBlock;
    const size_t lanes = hn::Lanes(d);
    if (HWY_UNLIKELY(!first)) {
      c0 = hn::Add(hn::LoadU(d, to), c0);
      c1 = hn::Add(hn::LoadU(d, to + lanes), c1);
    }
    hn::StoreU(c0, d, to);
    hn::StoreU(c1, d, to + lanes);
  }
};

// The second vector of a tile that needs the first alone is stored all the same, and hidden.
template <Columns kColumns>
struct ScoreTile {
  template <size_t R, class Prefetch = NoPrefetch>
  static HWY_INLINE void Run(const QueryRows& t, const float* q, const PanelPair& k, float* scores,
                             const Prefetch& prefetch = {}) {
    for (size_t c = 0; c < t.head_dim; c += kSumChunk) {
      const size_t depth = std::min(kSumChunk, t.head_dim - c);
      const ScoreRows rows{scores, c == 0};
      constexpr size_t kWidth = R < kTileRows ? R : kTileRows;
      const LeftRows rows_of_q = {q + c * kWidth, q + (t.head_dim + c) * kWidth, 1, kWidth};
      MultiplyTile<R, kColumns>(rows_of_q, k.b0 + c * kPanel, k.b1 + c * kPanel, Steps{0, depth},
                                rows, prefetch.From(c));
    }
  }
};

// Scores of the rows against every key that their tile sees. Keys outside, rows inside: a panel of
// keys stays in L1 for all rows.
HWY_NOINLINE HWY_MAYBE_UNUSED static void Scores(const QueryRows& t, const KeyBlock& block,
                                                 const TileRanges& ranges,
                                                 RowPrefetcher& prefetcher) {
  const size_t width = TileColumns();
  for (size_t c = ranges.begin / width * width; c < ranges.end; c += width) {
    const auto panels = [&](const Panels& of) HWY_ATTR {
      return PanelsAt(of, t.head_dim * kPanel, kKeyBlock / kPanel, c);
    };
    const PanelPair k = panels(block.k);
    const TileRange* tile = ranges.tiles;
    for (size_t r = 0, rows; r < t.rows; r += rows, ++tile) {
      rows = NextTileRows(t.rows - r);
      if (c >= tile->end || c + width <= tile->begin) continue;
      prefetcher.Next();
      const float* q = t.q + r * t.head_dim;
      float* scores = t.scores + r * kKeyBlock + c;
      // The right vector alone. What the tile leaves beside it belongs to the next columns.
      const bool right = c + width / 2 <= tile->begin && c + width < kKeyBlock;
      if (rows < kRegisterRows) {
        WithFewRows<ScoreTile<Columns::kBoth>>(rows, t, q, k, scores);
      } else if (!block.prefetch.k.absent() && r == 0) {
        ScoreTile<Columns::kBoth>::Run<kRegisterRows>(t, q, k, scores,
                                                      PrefetchPanels{panels(block.prefetch.k)});
      } else if (right || c + width / 2 >= tile->end) {
        const PanelPair one = right ? PanelPair{k.b1, k.b1} : k;
        ScoreTile<Columns::kFirst>::Run<kRegisterRows>(t, q, one, scores + (right ? width / 2 : 0));
      } else {
        ScoreTile<Columns::kBoth>::Run<kRegisterRows>(t, q, k, scores);
      }
    }
  }
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_QK_INL_H_
