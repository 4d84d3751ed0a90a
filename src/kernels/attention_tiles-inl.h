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

// The keys of a block that the rows of a tile see: none sees more than [begin, end), all see
// [all_begin, all_end).
struct TileRange {
  size_t begin, end, all_begin, all_end;
  // Some row does not see all between its first and its last, or the rows see too different ones.
  bool apart;
};

// How many keys that some rows of a tile see and others do not are taken row by row: those of a
// diagonal.
constexpr size_t kKeysApart = 2 * kMaxRegisterRows;

HWY_INLINE TileRange RangeOf(const KeyBlock& block, size_t first, size_t count) {
  if (block.whole) return {0, kKeyBlock, 0, kKeyBlock, false};
  TileRange range = {kKeyBlock, 0, 0, kKeyBlock, false};
  for (size_t r = first; r < first + count; ++r) {
    range.begin = std::min<size_t>(range.begin, block.begin[r]);
    range.end = std::max<size_t>(range.end, block.end[r]);
    range.all_begin = std::max<size_t>(range.all_begin, block.begin[r]);
    range.all_end = std::min<size_t>(range.all_end, block.end[r]);
    range.apart |= (block.holes >> r & 1) != 0;
  }
  range.apart |= range.all_begin > range.all_end ||
                 range.all_begin - range.begin + range.end - range.all_end > kKeysApart;
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
      begin = std::min(begin, tile->begin);
      end = std::max(end, tile->end);
    }
  }
};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_TILES_INL_H_
