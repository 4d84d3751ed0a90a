#include "src/kernels/attention.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/attention_decode-inl.h"
#include "src/kernels/attention_int16-inl.h"
#include "src/kernels/attention_pv-inl.h"
#include "src/kernels/attention_qk-inl.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/exp2-inl.h"
#include "src/kernels/online_softmax-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

void ScoresOf(const QueryRows& t, const KeyBlock& block, const TileRanges& ranges,
              RowPrefetcher& prefetcher) {
  if (IsCodes(t, block.k)) return ScoresOfCodes(t, block, ranges.begin, ranges.end, prefetcher);
  Scores(t, block, ranges, prefetcher);
}

void Attend(const QueryRows& t, const KeyBlock& block, const RowState& state) {
  if (t.rows <= kDecodeRows) {
    const CommonKeys keys(block, t.rows);
    if (keys.begin < keys.end) return AttendStreams(t, block, keys, state);
  }
  const TileRanges ranges(block, t.rows);
  const size_t columns = ranges.end - ranges.begin + t.v_head_dim;
  const size_t tiles = CeilDiv(t.rows, kRegisterRows) * CeilDiv(columns, TileColumns());
  RowPrefetcher prefetcher(block.prefetch.rows, tiles + CeilDiv(t.rows, kPrefetchSoftmaxRows));
  ScoresOf(t, block, ranges, prefetcher);
  HWY_ALIGN float factor[kPaddedRows];
  SoftmaxStep(t, block, state, factor, prefetcher);
  if (IsCodes(t, block.v)) return ValuesOfCodes(t, block, state, factor, prefetcher);
  Values(t, block, ranges, state, factor, prefetcher);
}

// weights[j] of row r from its scores.
void WeightsOfRow(const QueryRows& t, const KeyBlock& block, const RowTotal& total, size_t r,
                  float* HWY_RESTRICT scores, float* HWY_RESTRICT weights) {
  const DF d;
  std::fill_n(weights, kKeyBlock, 0.0f);
  if (block.begin[r] >= block.end[r]) return;
  ChangeScores(t, block, r, scores);
  const VF shift = hn::Set(d, total.shift[r]), inverse = hn::Set(d, total.inverse[r]);
  const Exp2<DF> exp2(t.to_base2);
  const size_t from = FirstColumn(block, r), to = EndColumn(block, r);
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF e = exp2(hn::Sub(hn::LoadU(d, scores + j), shift));
    hn::StoreU(hn::Mul(e, inverse), d, weights + j);
  }
  // A row whose total is NaN leaves NaN for its hidden keys too.
  std::fill(weights + from, weights + block.begin[r], 0.0f);
  std::fill(weights + block.end[r], weights + to, 0.0f);
  if ((block.holes >> r & 1) != 0) ReplaceHidden(block.visible, r, from, to, 0.0f, weights);
}

void WeightsOfBlock(const QueryRows& t, const KeyBlock& block, const RowTotal& total,
                    float* weights) {
  RowPrefetcher prefetcher({}, 1);
  ScoresOf(t, block, TileRanges(block, t.rows), prefetcher);
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
  const DF d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), hn::Set(d, factor)), d, row + i);
  }
  for (; i < n; ++i) row[i] *= factor;
}

void Fold(float* lanes, size_t rows) {
  for (size_t r = 0; r < rows; ++r) FoldLanes(lanes + r * kSumLanes);
}

// Bit i for lane i; the others are 0.
template <class D>
HWY_INLINE uint64_t BitsOf(D d, hn::MFromD<D> mask) {
#if HWY_MAX_BYTES <= 64
  return hn::BitsFromMask(d, mask);
#else
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  uint64_t bits = 0;
  for (size_t i = 0; i < 8; ++i) bits |= uint64_t{bytes[i]} << 8 * i;
  return bits;
#endif
}

// bits = which of x[0, n) are seen: see(d, vector of x).
template <class T, class See>
HWY_INLINE void FindSeen(const T* HWY_RESTRICT x, size_t n, const See& see,
                         uint64_t* HWY_RESTRICT bits) {
  const hn::CappedTag<T, 64 / sizeof(T)> d;
  const size_t lanes = hn::Lanes(d), left = n % lanes, whole = n - left;
  for (size_t first = 0; first < kKeyBlock; first += 64) {
    uint64_t word = 0;
    for (size_t j = first; j < std::min(whole, first + 64); j += lanes) {
      word |= BitsOf(d, see(d, hn::LoadU(d, x + j))) << (j - first);
    }
    bits[first / 64] = word;
  }
  if (left == 0) return;
  T rest[64 / sizeof(T)] = {};
  std::copy_n(x + whole, left, rest);
  const uint64_t of_rest = BitsOf(d, see(d, hn::LoadU(d, rest))) & OnesOf(0, left);
  bits[whole / 64] |= of_rest << whole % 64;
}

// Heads often share a mask, so that rows that follow one another do.
template <class T, class See>
HWY_INLINE void FindSeenOfRows(const T* const* masks, size_t rows, size_t n, const See& see,
                               uint64_t* HWY_RESTRICT bits) {
  for (size_t r = 0; r < rows; ++r, bits += kVisibleWords) {
    if (r > 0 && masks[r] == masks[r - 1]) {
      std::copy_n(bits - kVisibleWords, kVisibleWords, bits);
    } else {
      FindSeen(masks[r], n, see, bits);
    }
  }
}

void SeenBytes(const uint8_t* const* masks, size_t rows, size_t n, uint64_t* bits) {
  FindSeenOfRows(
      masks, rows, n, [](auto d, auto x) HEED_INLINE_LAMBDA { return hn::Ne(x, hn::Zero(d)); },
      bits);
}

void SeenFloats(const float* const* masks, size_t rows, size_t n, uint64_t* bits) {
  const auto see = [](auto d, auto x) HEED_INLINE_LAMBDA {
    return hn::Not(hn::Eq(x, hn::Set(d, kMinusInfinity)));  // NaN is seen
  };
  FindSeenOfRows(masks, rows, n, see, bits);
}

float Exp2OfOne(float x) { return Exp2One(x); }

void QuantizeQuery(const float* q, size_t dim, DType keys, int16_t* codes, float* scales) {
  QuantizeRow(keys == DType::kInt4, q, dim, codes, scales);
}

}  // namespace

constexpr AttentionKernels kKernels = {
    &Attend, &WeightsOfBlock, &Merge,      &Scale,     &Fold,
    &Finish, &SeenBytes,      &SeenFloats, &Exp2OfOne, kCodesAreBuilt ? &QuantizeQuery : nullptr};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(AttentionKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
