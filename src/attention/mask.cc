#include "src/attention/mask.h"

#include <bit>

#include "src/attention/dropout.h"
#include "src/kernels/infinity.h"

namespace heed {
namespace {

void Clear(uint64_t* bits, size_t j) { bits[j / 64] &= ~(uint64_t{1} << j % 64); }

// Clears every set bit j for which hides(j).
template <class Hides>
void ClearWhere(uint64_t* bits, const Hides& hides) {
  for (size_t word = 0; word < kVisibleWords; ++word) {
    for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
      const size_t j = word * 64 + static_cast<size_t>(std::countr_zero(left));
      if (hides(j)) Clear(bits, j);
    }
  }
}

// Bit j of `bits` for key first + j of a block: cleared where a mask hides it from query i. Only
// bits that are set are looked at.
void ApplyMasks(const AttentionPlan& plan, size_t b, const Sequence& sequence, size_t head,
                size_t i, size_t first, uint64_t* bits) {
  const AttentionOptions& o = plan.options;
  if (!o.key_mask.absent()) {
    ClearWhere(bits, [&](size_t j) { return At<uint8_t>(o.key_mask, b, first + j) == 0; });
  }
  if (!o.mask.absent()) {
    const size_t lead = o.mask.rank - 3;
    TensorView of_batch = o.mask;  // [heads, q_len, kv_len] of this sequence
    if (lead == 1) {
      of_batch.data =
          static_cast<const char*>(o.mask.data) + static_cast<ptrdiff_t>(b) * o.mask.strides[0] *
                                                      static_cast<ptrdiff_t>(size_of(o.mask.dtype));
      std::copy_n(o.mask.strides + 1, 3, of_batch.strides);
    }
    const size_t h = o.mask.shape[lead] == 1 ? 0 : head;
    if (o.mask.dtype == DType::kU8) {
      ClearWhere(bits, [&](size_t j) { return At<uint8_t>(of_batch, h, i, first + j) == 0; });
    } else {
      ClearWhere(bits,
                 [&](size_t j) { return At<float>(of_batch, h, i, first + j) == kMinusInfinity; });
    }
  }
  if (!o.tree_mask.absent()) {
    const size_t past = static_cast<size_t>(sequence.position);  // keys before the queries' own
    ClearWhere(bits, [&](size_t j) {
      if (first + j < past) return false;
      const size_t own = first + j - past;
      return (o.tree_mask.rank == 3 ? At<uint8_t>(o.tree_mask, b, i, own)
                                    : At<uint8_t>(o.tree_mask, i, own)) == 0;
    });
  }
}

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
bool FindVisible(const Rows& rows, const VisibleKeys* of_rows, size_t first,
                 const BlockScratch& w) {
  bool any = false;
  for (size_t r = 0; r < rows.count; ++r) {
    const VisibleKeys& keys = of_rows[r];
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

bool HasHoles(const Rows& rows, const BlockScratch& w) {
  for (size_t r = 0; w.visible != nullptr && r < rows.count; ++r) {
    if (CountVisible(w.visible, r) != size_t{w.end[r]} - w.begin[r]) return true;
  }
  return false;
}

void FillMultipliers(const Rows& rows, size_t first, const BlockScratch& w) {
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
      to[j] = SeesKey(w.visible, r, j) ? At<float>(mask, rows.batch, h, i, first + j) : 0.0f;
    }
  }
}

// What an additive mask adds, for the keys that rows see.
void FillBias(const Rows& rows, size_t first, const BlockScratch& w) {
  const TensorView& mask = rows.plan.options.mask;
  const size_t lead = mask.rank - 3;
  for (size_t r = 0; r < rows.count; ++r) {
    float* to = w.bias + r * kKeyBlock;
    const size_t h = mask.shape[lead] == 1 ? 0 : rows.head(r), i = rows.query(r);
    std::fill_n(to, kKeyBlock, 0.0f);
    for (size_t j = w.begin[r]; j < w.end[r]; ++j) {
      if (!SeesKey(w.visible, r, j)) continue;
      to[j] = lead == 0 ? At<float>(mask, h, i, first + j)
                        : At<float>(mask, rows.batch, h, i, first + j);
    }
  }
}

void FillDistances(const Rows& rows, size_t first, const BlockScratch& w) {
  rows.ForEach([&](size_t r, size_t i, size_t) {
    w.distance[r] = static_cast<float>(static_cast<ptrdiff_t>(first) - rows.position_of(i));
  });
}

}  // namespace

bool MayHaveHoles(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  return (o.window > 0 && (o.sink_tokens > 0 || !o.prefix_lens.absent())) || !o.mask.absent() ||
         !o.key_mask.absent() || !o.tree_mask.absent();
}

BlockScratch::BlockScratch(const AttentionPlan& plan, Arena* arena) {
  const AttentionOptions& o = plan.options;
  const bool drops = o.dropout.probability != 0.0f || !o.dropout.mask.absent();
  begin = arena->Take<uint8_t>(kScoreRows);
  end = arena->Take<uint8_t>(kScoreRows);
  visible = arena->TakeIf<uint64_t>(MayHaveHoles(plan), kScoreRows, kVisibleWords);
  bias =
      arena->TakeIf<float>(!o.mask.absent() && o.mask.dtype == DType::kF32, kScoreRows, kKeyBlock);
  multipliers = arena->TakeIf<float>(drops, kScoreRows, kKeyBlock);
  distance = arena->TakeIf<float>(!o.alibi_slopes.absent(), kScoreRows);
}

bool DescribeBlock(const Rows& rows, size_t block, const VisibleKeys* of_rows,
                   const GroupKeys& group, const BlockScratch& w, KeyBlock* keys) {
  const size_t first = block * kKeyBlock;
  if (!group.Sees(first, first + kKeyBlock)) return false;
  keys->whole =
      w.visible == nullptr && group.all.begin <= first && first + kKeyBlock <= group.all.end;
  if (keys->whole) {
    std::fill_n(w.begin, rows.count, uint8_t{0});
    std::fill_n(w.end, rows.count, static_cast<uint8_t>(kKeyBlock));
  } else if (!FindVisible(rows, of_rows, first, w)) {
    return false;
  }
  keys->begin = w.begin;
  keys->end = w.end;
  keys->visible = HasHoles(rows, w) ? w.visible : nullptr;
  if (w.distance != nullptr) FillDistances(rows, first, w);
  keys->distance = w.distance;
  if (w.bias != nullptr) FillBias(rows, first, w);
  keys->bias = w.bias;
  if (w.multipliers != nullptr) FillMultipliers(rows, first, w);
  keys->multiplier = w.multipliers;
  return true;
}

}  // namespace heed
