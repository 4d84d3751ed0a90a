#include "src/attention/block.h"

#include <algorithm>
#include <bit>

#include "src/attention/dropout.h"

namespace heed {
namespace {

// Bits [range.begin, range.end) of a block that begins at key `first`.
void SetBits(const KeyRange& range, size_t first, uint64_t* bits) {
  for (size_t word = 0; word < kVisibleWords; ++word) {
    const KeyRange part = range.Within(first + word * 64, first + word * 64 + 64);
    if (part.empty()) continue;
    const uint64_t ones = ~uint64_t{0} >> (64 - (part.end - part.begin));
    bits[word] |= ones << (part.begin - first - word * 64);
  }
}

// The smallest range of keys of a block that holds all set bits.
KeyRange HullOf(const uint64_t* bits) {
  KeyRange hull;
  for (size_t word = 0; word < kVisibleWords; ++word) {
    if (bits[word] == 0) continue;
    hull.Include({word * 64 + static_cast<size_t>(std::countr_zero(bits[word])),
                  word * 64 + 64 - static_cast<size_t>(std::countl_zero(bits[word]))});
  }
  return hull;
}

// Which keys of the block each row sees; false when none does.
bool FindVisible(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  bool any = false;
  for (size_t r = 0; r < rows.count; ++r) {
    const VisibleKeys& keys = w.keys_of[r];
    KeyRange hull;
    if (w.visible == nullptr) {
      hull = keys.near.Within(first, first + kKeyBlock);
      hull = {hull.begin - first, hull.end - first};
    } else {
      uint64_t* bits = w.visible + r * kVisibleWords;
      std::fill_n(bits, kVisibleWords, 0);
      SetBits(keys.kept, first, bits);
      SetBits(keys.near, first, bits);
      ApplyMasks(rows.plan, rows.batch, rows.sequence, rows.head(r), rows.query(r), first, bits);
      hull = HullOf(bits);
    }
    w.begin[r] = static_cast<uint8_t>(hull.begin);
    w.end[r] = static_cast<uint8_t>(hull.end);
    any |= !hull.empty();
  }
  return any;
}

bool HasHoles(const Rows& rows, const AttentionWorkspace& w) {
  for (size_t r = 0; w.visible != nullptr && r < rows.count; ++r) {
    size_t count = 0;
    for (size_t word = 0; word < kVisibleWords; ++word) {
      count += static_cast<size_t>(std::popcount(w.visible[r * kVisibleWords + word]));
    }
    if (count != size_t{w.end[r]} - w.begin[r]) return true;
  }
  return false;
}

void FillMultipliers(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  const DropoutOptions& dropout = rows.plan.options.dropout;
  const TensorView& mask = dropout.mask;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.multipliers + r * kKeyBlock;
    const size_t begin = w.begin[r], end = w.end[r], i = rows.query(r), h = rows.head(r);
    if (begin >= end) continue;
    if (mask.absent()) {
      DropoutMultipliers(dropout.probability, dropout.seed, static_cast<uint32_t>(rows.batch),
                         static_cast<uint32_t>(h), static_cast<uint32_t>(rows.position(r)),
                         first + begin, first + end, to + begin);
      continue;
    }
    for (size_t j = begin; j < end; ++j) {  // hidden keys are not looked at
      to[j] = SeesKey(w, r, j) ? At<float>(mask, rows.batch, h, i, first + j) : 0.0f;
    }
  }
}

// What an additive mask adds, for the keys that rows see.
void FillBias(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  const TensorView& mask = rows.plan.options.mask;
  const size_t lead = mask.rank - 3;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.bias + r * kKeyBlock;
    const size_t h = mask.shape[lead] == 1 ? 0 : rows.head(r), i = rows.query(r);
    std::fill_n(to, kKeyBlock, 0.0f);
    for (size_t j = w.begin[r]; j < w.end[r]; ++j) {
      if (!SeesKey(w, r, j)) continue;
      to[j] = lead == 0 ? At<float>(mask, h, i, first + j)
                        : At<float>(mask, rows.batch, h, i, first + j);
    }
  }
}

void FillDistances(const Rows& rows, size_t first, const AttentionWorkspace& w) {
  rows.ForEach([&](size_t r, size_t i, size_t) {
    w.distance[r] = static_cast<float>(static_cast<ptrdiff_t>(first) - rows.position_of(i));
  });
}

}  // namespace

bool DescribeBlock(const Rows& rows, size_t block, const AttentionWorkspace& w, KeyBlock* keys) {
  const size_t first = block * kKeyBlock;
  const RowGroup& group = *w.groups;
  if (!group.Sees(first, first + kKeyBlock)) return false;
  keys->whole =
      w.visible == nullptr && group.all.begin <= first && first + kKeyBlock <= group.all.end;
  if (keys->whole) {
    std::fill_n(w.begin, rows.count, uint8_t{0});
    std::fill_n(w.end, rows.count, static_cast<uint8_t>(kKeyBlock));
  } else if (!FindVisible(rows, first, w)) {
    return false;
  }
  keys->begin = w.begin;
  keys->end = w.end;
  keys->visible = HasHoles(rows, w) ? w.visible : nullptr;
  if (w.slope != nullptr) FillDistances(rows, first, w);
  keys->distance = w.distance;
  if (w.bias != nullptr) FillBias(rows, first, w);
  keys->bias = w.bias;
  if (w.multipliers != nullptr) FillMultipliers(rows, first, w);
  keys->multiplier = w.multipliers;
  return true;
}

}  // namespace heed
