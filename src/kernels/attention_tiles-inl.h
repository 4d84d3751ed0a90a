// What the tiles of a group of rows see of a block of keys.
#include <algorithm>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_TILES_INL_H_
#undef HEED_ATTENTION_TILES_INL_H_
#else
#define HEED_ATTENTION_TILES_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {

// What the rows [first, first + count) of a tile see of a block.
struct TileRange {
  size_t min_begin, max_begin, min_end, max_end;
  // Some rows don't see all between their begin and end, or those do not ascend, or the last begins
  // after the first ends.
  bool apart;
};

HWY_INLINE TileRange RangeOf(const KeyBlock& block, size_t first, size_t count) {
  if (block.whole) return {0, 0, kKeyBlock, kKeyBlock, false};
  TileRange range = {kKeyBlock, 0, kKeyBlock, 0, false};
  for (size_t r = first; r < first + count; ++r) {
    range.min_begin = std::min<size_t>(range.min_begin, block.begin[r]);
    range.max_begin = std::max<size_t>(range.max_begin, block.begin[r]);
    range.min_end = std::min<size_t>(range.min_end, block.end[r]);
    range.max_end = std::max<size_t>(range.max_end, block.end[r]);
    range.apart |= (block.holes >> r & 1) != 0;
    if (r == first) continue;
    range.apart |= block.begin[r] < block.begin[r - 1] || block.end[r] < block.end[r - 1];
  }
  range.apart |= range.max_begin > range.min_end;
  return range;
}

// The ranges of all tiles of the rows, in the order of NextTileRows, and the keys that some row
// sees.
struct TileRanges {
  TileRange tiles[kScoreRows / kTileRows];
  size_t begin = kKeyBlock, end = 0;

  TileRanges(const KeyBlock& block, size_t rows) {
    TileRange* tile = tiles;
    for (size_t r = 0, count; r < rows; r += count, ++tile) {
      count = NextTileRows(rows - r);
      *tile = RangeOf(block, r, count);
      begin = std::min(begin, tile->min_begin);
      end = std::max(end, tile->max_end);
    }
  }
};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_TILES_INL_H_
