#include "src/attention/mask.h"

#include <bit>
#include <new>

#include "src/attention/dropout.h"
#include "src/kernels/infinity.h"

namespace heed::inline v1 {
namespace {

// Copies rows of `keys` elements, `stride` apart, to `room`, [count][kKeyBlock], and fills them up
// with zeros.
template <class T>
void Gather(const T** rows, size_t count, size_t keys, ptrdiff_t stride, T* room) {
  for (size_t r = 0; r < count; ++r) {
    T* to = room + r * kKeyBlock;
    for (size_t j = 0; j < keys; ++j) to[j] = rows[r][static_cast<ptrdiff_t>(j) * stride];
    std::fill(to + keys, to + kKeyBlock, T{});
    rows[r] = to;
  }
}

// Which keys of a block each row sees.
struct VisibleBits {
  uint64_t* bits;  // [count][kVisibleWords]
  size_t count;

  // Takes away the keys of row r whose bits are not set in `of`.
  void Keep(size_t r, const uint64_t* of) const {
    for (size_t i = 0; i < kVisibleWords; ++i) bits[r * kVisibleWords + i] &= of[i];
  }
};

// `n` keys from `first` on are in the mask.
void ApplyKeyMask(const Rows& rows, const AttentionKernels& kernels, size_t first, size_t n,
                  const VisibleBits& visible) {
  const TensorView& mask = rows.plan.options.key_mask;
  const uint8_t* of_keys = &At<uint8_t>(mask, rows.batch, first);
  uint8_t room[kKeyBlock];
  if (mask.strides[1] != 1) Gather(&of_keys, 1, n, mask.strides[1], room);
  uint64_t seen[kVisibleWords];
  kernels.seen_bytes(&of_keys, 1, n, seen);
  for (size_t r = 0; r < visible.count; ++r) visible.Keep(r, seen);
}

// of_rows[r]: the mask tensor's element of row r and key `first`.
template <class T>
void FindMask(const Rows& rows, size_t first, const T** of_rows) {
  const TensorView& mask = rows.plan.options.mask;  // [..., heads, q_len, kv_len]
  const size_t lead = mask.rank - 3;
  const ptrdiff_t* strides = mask.strides + lead;
  const T* data = static_cast<const T*>(mask.data) + static_cast<ptrdiff_t>(first) * strides[2];
  if (lead == 1) data += static_cast<ptrdiff_t>(rows.batch) * mask.strides[0];
  const ptrdiff_t head_stride = mask.shape[lead] == 1 ? 0 : strides[0];
  rows.ForEach([&](size_t r, size_t i, size_t h) {
    of_rows[r] =
        data + static_cast<ptrdiff_t>(h) * head_stride + static_cast<ptrdiff_t>(i) * strides[1];
  });
}

// The mask tensor; an additive one is also what is added to the scores.
void ApplyMask(const Rows& rows, const AttentionKernels& kernels, size_t first, size_t n,
               const BlockScratch& w, const VisibleBits& visible) {
  const TensorView& mask = rows.plan.options.mask;
  const ptrdiff_t stride = mask.strides[mask.rank - 1];
  uint64_t seen[kScoreRows * kVisibleWords];
  if (mask.dtype == DType::kU8) {
    const uint8_t* of_rows[kScoreRows];
    uint8_t room[kScoreRows * kKeyBlock];
    FindMask(rows, first, of_rows);
    if (stride != 1) Gather(of_rows, rows.count, n, stride, room);
    kernels.seen_bytes(of_rows, rows.count, n, seen);
  } else {
    FindMask(rows, first, w.bias);
    // Whole vectors of the scores are added to.
    if (stride != 1 || n < kKeyBlock) Gather(w.bias, rows.count, n, stride, w.bias_room);
    kernels.seen_floats(w.bias, rows.count, n, seen);
  }
  for (size_t r = 0; r < rows.count; ++r) visible.Keep(r, seen + r * kVisibleWords);
}

// Of the queries' own keys, which follow the past ones.
void ApplyTreeMask(const Rows& rows, const AttentionKernels& kernels, size_t first,
                   const VisibleBits& visible) {
  const TensorView& mask = rows.plan.options.tree_mask;
  const auto past = static_cast<size_t>(rows.sequence.position);
  const size_t begin = std::max(first, past), own = begin - past, shift = begin - first;
  if (shift >= kKeyBlock || own >= rows.sequence.q_len) return;
  const size_t n = std::min(kKeyBlock - shift, rows.sequence.q_len - own);
  const ptrdiff_t* strides = mask.strides + (mask.rank - 2);
  const auto* data = &(mask.rank == 3 ? At<uint8_t>(mask, rows.batch, size_t{0}, own)
                                      : At<uint8_t>(mask, size_t{0}, own));
  const uint8_t* of_rows[kScoreRows];
  rows.ForEach([&](size_t r, size_t i, size_t) {
    of_rows[r] = data + static_cast<ptrdiff_t>(i) * strides[0];
  });
  uint8_t room[kScoreRows * kKeyBlock];
  if (strides[1] != 1) Gather(of_rows, rows.count, n, strides[1], room);
  uint64_t seen[kScoreRows * kVisibleWords];
  kernels.seen_bytes(of_rows, rows.count, n, seen);
  static_assert(kVisibleWords == 2);
  for (size_t r = 0; r < rows.count; ++r) {
    const uint64_t low = seen[2 * r], high = seen[2 * r + 1];
    const size_t by = shift % 64;
    const uint64_t carried = by == 0 ? 0 : low >> (64 - by);
    const uint64_t at[] = {shift < 64 ? low << by | OnesOf(0, shift) : ~uint64_t{0},
                           shift < 64 ? high << by | carried : low << by | OnesOf(0, shift - 64)};
    visible.Keep(r, at);
  }
}

void ApplyMasks(const Rows& rows, const AttentionKernels& kernels, size_t first,
                const BlockScratch& w) {
  const AttentionOptions& o = rows.plan.options;
  const VisibleBits visible = {w.visible, rows.count};
  const auto in_mask = [&](const TensorView& mask) {
    return std::min(kKeyBlock, mask.shape[mask.rank - 1] - first);
  };
  if (!o.key_mask.absent()) ApplyKeyMask(rows, kernels, first, in_mask(o.key_mask), visible);
  if (!o.mask.absent()) ApplyMask(rows, kernels, first, in_mask(o.mask), w, visible);
  if (!o.tree_mask.absent()) ApplyTreeMask(rows, kernels, first, visible);
}

// Keys of a block that begins at key `first`, by their place in it.
KeyRange InBlock(const KeyRange& range, size_t first) {
  const KeyRange part = range.Within(first, first + kKeyBlock);
  return {part.begin - first, part.end - first};
}

void SetBits(const KeyRange& range, uint64_t* bits) {
  for (size_t word = 0; word < kVisibleWords; ++word) {
    const KeyRange part = range.Within(word * 64, word * 64 + 64);
    bits[word] |= OnesOf(part.begin - word * 64, part.end - word * 64);
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

// Which keys of the block each row sees where there may be holes.
void FindVisible(const Rows& rows, const AttentionKernels& kernels, const GroupKeys& group,
                 size_t first, const BlockScratch& w) {
  if (group.all.begin <= first && first + kKeyBlock <= group.all.end) {
    std::fill_n(w.visible, rows.count * kVisibleWords, ~uint64_t{0});
  } else {
    std::fill_n(w.visible, rows.count * kVisibleWords, uint64_t{0});
    ForEachRowKeys(rows, [&](size_t r, const VisibleKeys& keys) {
      SetBits(InBlock(keys.kept, first), w.visible + r * kVisibleWords);
      SetBits(InBlock(keys.near, first), w.visible + r * kVisibleWords);
    });
  }
  ApplyMasks(rows, kernels, first, w);
}

// Whether there are clear bits between set ones: adding the lowest set bit clears the whole of a
// run, and none of what follows a gap.
bool HasHoles(const uint64_t* bits) {
  static_assert(kVisibleWords == 2);
  const uint64_t low = bits[0], high = bits[1];
  const uint64_t low_bit = low & (~low + 1), high_bit = low != 0 ? 0 : high & (~high + 1);
  const uint64_t low_sum = low + low_bit;
  const uint64_t high_sum = high + high_bit + (low_sum < low_bit ? 1 : 0);
  return ((low_sum & low) | (high_sum & high)) != 0;
}

// Where the keys of the block that each row sees begin and end, and which rows do not see all
// between; false when no row sees any.
bool FindRanges(const Rows& rows, size_t first, const BlockScratch& w, uint32_t* holes) {
  bool any = false;
  const auto keep = [&](size_t r, const KeyRange& range) {
    w.begin[r] = static_cast<uint8_t>(range.begin);
    w.end[r] = static_cast<uint8_t>(range.end);
    any |= !range.empty();
  };
  if (w.visible == nullptr) {
    ForEachRowKeys(rows,
                   [&](size_t r, const VisibleKeys& keys) { keep(r, InBlock(keys.near, first)); });
    return any;
  }
  for (size_t r = 0; r < rows.count; ++r) {
    const uint64_t* bits = w.visible + r * kVisibleWords;
    keep(r, HullOf(bits));
    *holes |= uint32_t{HasHoles(bits)} << r;
  }
  return any;
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

HiddenBlocks::HiddenBlocks(const AttentionPlan& plan, Arena* arena)
    : groups_(CeilDiv(plan.q_len * plan.group, kScoreRows)),
      blocks_(CeilDiv(plan.kv_len, kKeyBlock)) {
  const TensorView& mask = plan.options.mask;
  if (mask.absent() || mask.shape[mask.rank - 3] != 1 || plan.k.heads == 1) return;
  // Memory must not grow with the square of the length: longer ones do without.
  constexpr double kMostFlags = 1 << 20;
  if (static_cast<double>(plan.batch * groups_) * static_cast<double>(blocks_) > kMostFlags) return;
  flags_ = arena->Take<std::atomic<uint8_t>>(plan.batch, groups_, blocks_);
}

void HiddenBlocks::Clear(const AttentionPlan& plan) const {
  for (size_t i = 0; i < plan.batch * groups_ * blocks_; ++i) {
    new (flags_ + i) std::atomic<uint8_t>(0);
  }
}

BlockScratch::BlockScratch(const AttentionPlan& plan, Arena* arena) {
  const AttentionOptions& o = plan.options;
  const bool drops = o.dropout.probability != 0.0f || !o.dropout.mask.absent();
  begin = arena->Take<uint8_t>(kScoreRows);
  end = arena->Take<uint8_t>(kScoreRows);
  visible = arena->TakeIf<uint64_t>(MayHaveHoles(plan), kScoreRows, kVisibleWords);
  const bool adds = !o.mask.absent() && o.mask.dtype == DType::kF32;
  bias = arena->TakeIf<const float*>(adds, kScoreRows);
  bias_room = arena->TakeIf<float>(adds, kScoreRows, kKeyBlock);
  multipliers = arena->TakeIf<float>(drops, kScoreRows, kKeyBlock);
  distance = arena->TakeIf<float>(!o.alibi_slopes.absent(), kScoreRows);
}

bool DescribeBlock(const Rows& rows, const AttentionKernels& kernels, size_t block,
                   const GroupKeys& group, const BlockScratch& w, KeyBlock* keys) {
  const size_t first = block * kKeyBlock;
  if (!group.Sees(first, first + kKeyBlock) || w.hidden.Has(rows, block)) return false;
  keys->holes = 0;
  keys->whole =
      w.visible == nullptr && group.all.begin <= first && first + kKeyBlock <= group.all.end;
  if (keys->whole) {
    std::fill_n(w.begin, rows.count, uint8_t{0});
    std::fill_n(w.end, rows.count, static_cast<uint8_t>(kKeyBlock));
  } else {
    if (w.visible != nullptr) FindVisible(rows, kernels, group, first, w);
    if (!FindRanges(rows, first, w, &keys->holes)) {
      w.hidden.Add(rows, block);
      return false;
    }
  }
  keys->begin = w.begin;
  keys->end = w.end;
  keys->visible = keys->holes != 0 ? w.visible : nullptr;
  if (w.distance != nullptr) FillDistances(rows, first, w);
  keys->distance = w.distance;
  keys->bias = w.bias;
  if (w.multipliers != nullptr) FillMultipliers(rows, first, w);
  keys->multiplier = w.multipliers;
  return true;
}

}  // namespace heed::inline v1
