// q.k and p.v of Compute::kInt16: codes of keys and values as they are stored, times int16 codes of
// queries and weights, as exact sums in int32. Any number of rows, so that a row's bits do not
// depend on how many there are.
//
// One instruction multiplies two pairs of int16 and adds them, so two steps of a column must lie in
// one word of 32 bits. Two bytes of a panel are columns c and c + 1 of a step, or of two steps in
// int4. With those of the next step beside them, which takes a permutation, or two, of a vector,
// shifts within 16 bits leave words of even and of odd columns, of even and of odd steps.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_INT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_INT16_INL_H_
#undef HEED_ATTENTION_INT16_INL_H_
#else
#define HEED_ATTENTION_INT16_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/int16-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums of a tile's rows in the columns of a panel.
using PanelSums = int32_t[kPanel];

// Bytes that a loop takes at a time, and how many steps those are.
template <bool kInt4>
constexpr size_t kLineSteps = kLineBytes / BytesOfStep(kInt4 ? DType::kInt4 : DType::kInt8);

#if HWY_TARGET == HWY_SCALAR

template <bool kInt4, size_t R>
HWY_INLINE void SumPanel(const uint8_t* HWY_RESTRICT panel, const int16_t* HWY_RESTRICT codes,
                         size_t stride, size_t steps, ptrdiff_t, PanelSums* HWY_RESTRICT sums) {
  for (size_t r = 0; r < R; ++r) {
    std::fill_n(sums[r], kPanel, 0);
    for (size_t k = 0; k < RoundUp(steps, kLineSteps<kInt4>); ++k) {
      // Where codes of int4 lie, see OrderCodes.
      const size_t at = kInt4 ? k / 8 * 8 + k % 2 * 4 + k % 8 / 2 : k;
      for (size_t c = 0; c < kPanel; ++c) {
        const auto byte = static_cast<int8_t>(panel[(kInt4 ? k / 2 : k) * kPanel + c]);
        const int b = kInt4 ? Int4Code(byte, k) : byte;
        sums[r][c] += codes[r * stride + at] * b;
      }
    }
  }
}

// Codes of steps 0, 2, 4, 6, 1, 3, 5, 7 of eight stand side by side.
HWY_INLINE void OrderCodes(size_t steps, int16_t* codes) {
  for (size_t k = 0; k < steps; k += 8, codes += 8) {
    const int16_t of[8] = {codes[0], codes[2], codes[4], codes[6],
                           codes[1], codes[3], codes[5], codes[7]};
    std::copy_n(of, 8, codes);
  }
}

#else

#if HWY_HAVE_SCALABLE
using DSum32 = hn::CappedTag<int32_t, 4>;
#else
using DSum32 = DI;
#endif
using VSum32 = hn::VFromD<DSum32>;
using D16 = hn::RepartitionToNarrow<DSum32>;
using V16 = hn::VFromD<D16>;

// Blocks of 128 bits in a vector.
#if HWY_HAVE_SCALABLE
constexpr size_t kBlocks = 1;
#else
constexpr size_t kBlocks = hn::MaxLanes(D16()) / 8;
#endif

// Codes of steps 0, 2, 4, 6, 1, 3, 5, 7 of eight stand side by side.
HWY_INLINE void OrderCodes(size_t steps, int16_t* codes) {
  const hn::CappedTag<uint8_t, 16> d;
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 1, 4, 5, 8,  9,  12, 13,
                                                     2, 3, 6, 7, 10, 11, 14, 15};
  const auto order = hn::Load(d, kOrder);
  for (size_t k = 0; k < steps; k += 8) {
    auto* at = reinterpret_cast<uint8_t*>(codes + k);
    hn::StoreU(hn::TableLookupBytes(hn::LoadU(d, at), order), d, at);
  }
}

// The bytes of two columns of one step beside those of the next: words of 32 bits of all columns
// for two steps (or pairs of them), of four in turns with vectors of a whole line; of columns from
// 8 on where kUpper, in vectors of a quarter.
template <bool kUpper, class D>
HWY_INLINE hn::VFromD<D> Words(D d16, const uint8_t* HWY_RESTRICT at) {
  const auto x = hn::LoadU(d16, reinterpret_cast<const int16_t*>(at));
  if constexpr (kBlocks == 4) {
    alignas(64) static constexpr int16_t kOrder[32] = {0,  8,  16, 24, 1,  9,  17, 25, 2,  10, 18,
                                                       26, 3,  11, 19, 27, 4,  12, 20, 28, 5,  13,
                                                       21, 29, 6,  14, 22, 30, 7,  15, 23, 31};
    return hn::TableLookupLanes(x, hn::SetTableIndices(d16, kOrder));
  } else if constexpr (kBlocks == 2) {
    const hn::Repartition<uint32_t, D> d32;
    const hn::Repartition<uint8_t, D> d8;
    alignas(32) static constexpr uint32_t kHalves[8] = {0, 1, 4, 5, 2, 3, 6, 7};
    alignas(32) static constexpr uint8_t kOrder[32] = {0,  1,  8, 9,  2,  3,  10, 11, 4,  5, 12,
                                                       13, 6,  7, 14, 15, 0,  1,  8,  9,  2, 3,
                                                       10, 11, 4, 5,  12, 13, 6,  7,  14, 15};
    const auto halves =
        hn::TableLookupLanes(hn::BitCast(d32, x), hn::SetTableIndices(d32, kHalves));
    return hn::BitCast(d16, hn::TableLookupBytes(hn::BitCast(d8, halves), hn::Load(d8, kOrder)));
  } else {
    const auto y = hn::LoadU(d16, reinterpret_cast<const int16_t*>(at + kPanel));
    return kUpper ? hn::InterleaveUpper(d16, x, y) : hn::InterleaveLower(d16, x, y);
  }
}

// A row's codes for words: two, or four of vectors of a line.
HWY_INLINE V16 CodesFor(const int16_t* HWY_RESTRICT codes) {
  if constexpr (kBlocks == 4) {
    uint64_t four;
    std::memcpy(&four, codes, sizeof(four));
    return hn::BitCast(D16(), hn::Set(hn::Repartition<uint64_t, D16>(), four));
  } else {
    uint32_t two;
    std::memcpy(&two, codes, sizeof(two));
    return hn::BitCast(D16(), hn::Set(hn::Repartition<uint32_t, D16>(), two));
  }
}

// The sums of all columns, or of eight, from those of even ones and odd ones.
template <class D, class V>
HWY_INLINE void StoreColumns(D d, V even, V odd, int32_t* HWY_RESTRICT to) {
  if constexpr (kBlocks == 4) {
    even = hn::Add(even, hn::Shuffle2301(even));
    odd = hn::Add(odd, hn::Shuffle2301(odd));
    hn::StoreU(hn::OddEven(odd, even), d, to);
  } else {
    const V low = hn::InterleaveLower(d, even, odd), high = hn::InterleaveUpper(d, even, odd);
    if constexpr (kBlocks == 2) {
      hn::StoreU(hn::ConcatLowerLower(d, high, low), d, to);
      hn::StoreU(hn::ConcatUpperUpper(d, high, low), d, to + kPanel / 2);
    } else {
      hn::StoreU(low, d, to);
      hn::StoreU(high, d, to + 4);
    }
  }
}

HWY_INLINE void AddWords(V16 codes, V16 words, VSum32& sum, VSum32& odd) {
  sum = hn::ReorderWidenMulAccumulate(DSum32(), codes, words, sum, odd);
}

template <bool kInt4, size_t R, bool kUpper>
HWY_INLINE void SumColumns(const uint8_t* HWY_RESTRICT panel, const int16_t* HWY_RESTRICT codes,
                           size_t stride, size_t steps, [[maybe_unused]] ptrdiff_t ahead,
                           PanelSums* HWY_RESTRICT sums) {
  const DSum32 d;
  const D16 d16;
  // Of rows 0 to 5, even columns and odd ones.
  VSum32 e0 = hn::Zero(d), e1 = e0, e2 = e0, e3 = e0, e4 = e0, e5 = e0;
  VSum32 o0 = e0, o1 = e0, o2 = e0, o3 = e0, o4 = e0, o5 = e0;
  // What some targets sum apart.
  VSum32 f0 = e0, f1 = e0, f2 = e0, f3 = e0, f4 = e0, f5 = e0;
  VSum32 p0 = e0, p1 = e0, p2 = e0, p3 = e0, p4 = e0, p5 = e0;
  const auto row = [&](size_t r, size_t at, V16 even, V16 odd, VSum32& e, VSum32& f, VSum32& o,
                       VSum32& p) HEED_INLINE_LAMBDA {
    const V16 q = CodesFor(codes + r * stride + at);
    // The low byte of a word is the first of the two only on little-endian machines.
    AddWords(q, HWY_IS_BIG_ENDIAN ? odd : even, e, f);
    AddWords(q, HWY_IS_BIG_ENDIAN ? even : odd, o, p);
#if HWY_ARCH_X86 && HWY_COMPILER_GCC_ACTUAL && HWY_TARGET != HWY_EMU128
    // GCC would compute all products of a step before the first sum, and spill sums for them.
    __asm__("" : "+v"(e.raw), "+v"(o.raw));
#endif
  };
  const auto rows = [&](size_t at, V16 even, V16 odd) HEED_INLINE_LAMBDA {
    row(0, at, even, odd, e0, f0, o0, p0);
    if constexpr (R > 1) row(1, at, even, odd, e1, f1, o1, p1);
    if constexpr (R > 2) row(2, at, even, odd, e2, f2, o2, p2);
    if constexpr (R > 3) row(3, at, even, odd, e3, f3, o3, p3);
    if constexpr (R > 4) row(4, at, even, odd, e4, f4, o4, p4);
    if constexpr (R > 5) row(5, at, even, odd, e5, f5, o5, p5);
  };
  const auto part = [&](size_t byte, size_t at) HEED_INLINE_LAMBDA {
    const V16 words = Words<kUpper>(d16, panel + byte);
    if constexpr (kInt4) {
      rows(at, hn::ShiftRight<12>(hn::ShiftLeft<12>(words)),
           hn::ShiftRight<12>(hn::ShiftLeft<4>(words)));
      rows(at + 4, hn::ShiftRight<12>(hn::ShiftLeft<8>(words)), hn::ShiftRight<12>(words));
    } else {
      rows(at, hn::ShiftRight<8>(hn::ShiftLeft<8>(words)), hn::ShiftRight<8>(words));
    }
  };
  for (size_t k = 0; k < steps; k += kLineSteps<kInt4>) {
    if constexpr (!kUpper) PrefetchToL2(panel + ahead);
    part(0, 0);
    if constexpr (kBlocks < 4) part(kLineBytes / 2, 2);
    panel += kLineBytes;
    codes += kLineSteps<kInt4>;
  }
  const auto store = [&](size_t r, VSum32 e, VSum32 f, VSum32 o, VSum32 p) HEED_INLINE_LAMBDA {
    StoreColumns(d, hn::RearrangeToOddPlusEven(e, f), hn::RearrangeToOddPlusEven(o, p),
                 sums[r] + (kUpper ? kPanel / 2 : 0));
  };
  store(0, e0, f0, o0, p0);
  if constexpr (R > 1) store(1, e1, f1, o1, p1);
  if constexpr (R > 2) store(2, e2, f2, o2, p2);
  if constexpr (R > 3) store(3, e3, f3, o3, p3);
  if constexpr (R > 4) store(4, e4, f4, o4, p4);
  if constexpr (R > 5) store(5, e5, f5, o5, p5);
}

template <bool kInt4, size_t R>
HWY_INLINE void SumPanel(const uint8_t* HWY_RESTRICT panel, const int16_t* HWY_RESTRICT codes,
                         size_t stride, size_t steps, ptrdiff_t ahead,
                         PanelSums* HWY_RESTRICT sums) {
  SumColumns<kInt4, R, false>(panel, codes, stride, steps, ahead, sums);
  if constexpr (kBlocks == 1) SumColumns<kInt4, R, true>(panel, codes, stride, steps, ahead, sums);
}

#endif  // HWY_TARGET == HWY_SCALAR

template <bool kInt4>
struct CodeTile {
  template <size_t R>
  static HWY_INLINE void Run(const uint8_t* panel, const int16_t* codes, size_t stride,
                             size_t steps, ptrdiff_t ahead, PanelSums* sums) {
    SumPanel<kInt4, R>(panel, codes, stride, steps, ahead, sums);
  }
};

template <bool kInt4>
HWY_NOINLINE HWY_MAYBE_UNUSED static void SumTile(size_t rows, const uint8_t* panel,
                                                  const int16_t* codes, size_t stride, size_t steps,
                                                  ptrdiff_t ahead, PanelSums* sums) {
  WithFewRows<CodeTile<kInt4>>(rows, panel, codes, stride, steps, ahead, sums);
}

// Sums of a tile of rows over `steps` steps: codes[r * stride ..] are a row's, 0 up to a multiple
// of kStepsPad. Reads whole lines of the panel. One row's few steps take little longer than a call.
template <bool kInt4>
HWY_INLINE void SumCodesOf(size_t rows, const uint8_t* panel, const int16_t* codes, size_t stride,
                           size_t steps, ptrdiff_t ahead, PanelSums* sums) {
  if (rows == 1) return SumPanel<kInt4, 1>(panel, codes, stride, steps, ahead, sums);
  SumTile<kInt4>(rows, panel, codes, stride, steps, ahead, sums);
}

HWY_INLINE void SumCodes(bool int4, size_t rows, const uint8_t* panel, const int16_t* codes,
                         size_t stride, size_t steps, ptrdiff_t ahead, PanelSums* sums) {
  if constexpr (IsBuilt(DType::kInt4)) {
    if (int4) return SumCodesOf<true>(rows, panel, codes, stride, steps, ahead, sums);
  }
  SumCodesOf<false>(rows, panel, codes, stride, steps, ahead, sums);
}

// Rows of a tile when `left` are left, shared out evenly.
HWY_INLINE size_t NextCodeRows(size_t left) { return CeilDiv(left, CeilDiv(left, kTileRows)); }

HWY_INLINE VF ScalesAt(bool int4, const Scales& scales, size_t at) {
  return int4 ? LoadScales<DType::kInt4>(scales, at) : LoadScales<DType::kInt8>(scales, at);
}

HWY_INLINE void PrefetchScales(bool int4, const Scales& scales, size_t at, size_t count,
                               ptrdiff_t ahead) {
  if (ahead == 0) return;
  const size_t bytes = int4 ? sizeof(uint16_t) : sizeof(float);
  const auto* from = static_cast<const uint8_t*>(scales.data) + at * bytes;
  for (size_t i = 0; i < count * bytes; i += kLineBytes) PrefetchToL2(from + ahead + i);
}

// Scores of a tile's rows, from row `first` on, against a panel of keys.
HWY_INLINE void ScoresOfTile(const QueryRows& t, const KeyBlock& block, size_t panel, size_t first,
                             size_t rows, ptrdiff_t ahead) {
  const DF d;
  const DI di;
  HWY_ALIGN PanelSums sums[kTileRows];
  HWY_ALIGN float waiting[kTileRows][kPanel];
  const bool int4 = block.k.dtype == DType::kInt4;
  const Scales& scales = block.k.scales;
  const int16_t* codes = t.q_codes + first * t.code_stride;
  const float* q_scales = t.q_scales + first * t.chunks;
  const uint8_t* from = block.k.bytes() + panel * BytesOfPanel(block.k.dtype, t.head_dim);
  for (size_t chunk = 0; chunk < t.head_dim; chunk += kSumChunk) {
    const size_t end = std::min(chunk + kSumChunk, t.head_dim);
    for (size_t c = chunk, to; c < end; c = to) {
      to = std::min(end, c / scales.group * scales.group + scales.group);
      const size_t at = panel * scales.panel_stride + c / scales.group * scales.group_stride;
      if (first == 0) PrefetchScales(int4, scales, at, kPanel, ahead);
      SumCodes(int4, rows, from + c * BytesOfStep(block.k.dtype), codes + c, t.code_stride, to - c,
               ahead, sums);
      for (size_t j = 0; j < kPanel; j += hn::Lanes(d)) {
        const VF scale = ScalesAt(int4, scales, at + j);
        for (size_t r = 0; r < rows; ++r) {
          VF s = hn::Mul(hn::ConvertTo(d, hn::LoadU(di, sums[r] + j)), scale);
          if (c > chunk) s = hn::Add(hn::LoadU(d, waiting[r] + j), s);
          if (to < end) {
            hn::StoreU(s, d, waiting[r] + j);
            continue;
          }
          float* HWY_RESTRICT score = t.scores + (first + r) * kKeyBlock + panel * kPanel + j;
          const VF before = chunk == 0 ? hn::Zero(d) : hn::LoadU(d, score);
          const VF by = hn::Set(d, q_scales[r * t.chunks + chunk / kSumChunk]);
          hn::StoreU(hn::Add(before, hn::Mul(s, by)), d, score);
        }
      }
    }
  }
}

// Scores of the rows against every key that one of them sees.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ScoresOfCodes(const QueryRows& t, const KeyBlock& block,
                                                        size_t begin, size_t end,
                                                        RowPrefetcher& prefetcher) {
  const ptrdiff_t ahead = ToNext(block.k, block.prefetch.k);
  for (size_t panel = begin / kPanel; panel < CeilDiv(end, kPanel); ++panel) {
    prefetcher.Next();
    for (size_t r = 0, rows; r < t.rows; r += rows) {
      rows = NextCodeRows(t.rows - r);
      ScoresOfTile(t, block, panel, r, rows, ahead);
    }
  }
}

// The weights of row r for keys [from, to), multiples of kStepsPad, and 0 for what it does not see.
HWY_INLINE void SeenWeights(const KeyBlock& block, size_t r, const float* HWY_RESTRICT p,
                            size_t from, size_t to, float* HWY_RESTRICT seen) {
  const DF d;
  const VF begin = hn::Set(d, static_cast<float>(block.begin[r]));
  const VF end = hn::Set(d, static_cast<float>(block.end[r]));
  for (size_t j = from; j < to; j += hn::Lanes(d)) {
    const VF column = hn::Iota(d, static_cast<float>(j));
    const auto sees = hn::And(hn::Ge(column, begin), hn::Lt(column, end));
    hn::Store(hn::IfThenElseZero(sees, hn::LoadU(d, p + j)), d, seen + (j - from));
  }
}

// Codes of n weights, a multiple of kStepsPad, times the scales of a group of values; returns the
// codes' scale. What weighs nothing is 0, whatever its scale is.
HWY_NOINLINE HWY_MAYBE_UNUSED static float QuantizeWeights(bool int4, const float* HWY_RESTRICT p,
                                                           const Scales& scales, size_t at,
                                                           size_t n, int16_t* HWY_RESTRICT codes) {
  if (n == 0) return 0.0f;
  const DF d;
  const VI magnitude = hn::Set(DI(), 0x7FFFFFFF);
  HWY_ALIGN float weighted[kKeyBlock];
  VI most = hn::Zero(DI());
  size_t j = 0;
  do {
    const VF u = hn::Mul(hn::Load(d, p + j), ScalesAt(int4, scales, at + j));
    most = hn::Max(most, hn::And(hn::BitCast(DI(), u), magnitude));
    hn::Store(u, d, weighted + j);
    j += hn::Lanes(d);
  } while (j < n);
  float largest = std::bit_cast<float>(hn::ReduceMax(DI(), most));
  if (HWY_UNLIKELY(!(largest <= std::numeric_limits<float>::max()))) {
    for (j = 0; j < n; ++j) weighted[j] = p[j] == 0.0f ? 0.0f : weighted[j];
    largest = LargestOf(weighted, n);
  }
  const float scale = CodesOf(weighted, n, largest, reinterpret_cast<uint16_t*>(codes));
  if (int4) OrderCodes(n, codes);
  return scale;
}

// acc = acc * factor + the rows' codes times a panel of values.
HWY_INLINE void ValuesOfPanel(bool int4, size_t rows, const uint8_t* panel, const int16_t* codes,
                              const float* scales, size_t steps, ptrdiff_t ahead,
                              const float* factor, float* acc, size_t acc_stride) {
  const DF d;
  const DI di;
  HWY_ALIGN PanelSums sums[kTileRows];
  SumCodes(int4, rows, panel, codes, kKeyBlock, steps, ahead, sums);
  for (size_t r = 0; r < rows; ++r) {
    float* HWY_RESTRICT to = acc + r * acc_stride;
    const VF by = hn::Set(d, factor[r]), scale = hn::Set(d, scales[r]);
    for (size_t c = 0; c < kPanel; c += hn::Lanes(d)) {
      VF x = hn::Mul(hn::LoadU(d, to + c), by);
      // Nothing is added where all codes are 0, so that -0 stays.
      if (scales[r] != 0.0f) {
        x = hn::Add(x, hn::Mul(hn::ConvertTo(d, hn::LoadU(di, sums[r] + c)), scale));
      }
      hn::StoreU(x, d, to + c);
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfCodes(const QueryRows& t, const KeyBlock& block,
                                                        const RowState& state, const float* factor,
                                                        RowPrefetcher& prefetcher) {
  HWY_ALIGN int16_t codes[kTileRows][kKeyBlock];
  HWY_ALIGN float seen[kTileRows][kKeyBlock];
  float y_scales[kTileRows];
  const bool int4 = block.v.dtype == DType::kInt4;
  const Scales& scales = block.v.scales;
  const size_t panels = CeilDiv(t.v_head_dim, kPanel),
               stride = BytesOfPanel(block.v.dtype, kKeyBlock);
  const size_t in_group = std::min(panels, scales.group / kPanel);
  const ptrdiff_t ahead = ToNext(block.v, block.prefetch.v);
  for (size_t r = 0, rows; r < t.rows; r += rows) {
    rows = NextCodeRows(t.rows - r);
    const TileRange range = RangeOf(block, r, rows);
    const size_t from = range.begin / kStepsPad * kStepsPad;
    const size_t to = range.begin < range.end ? RoundUp(range.end, kStepsPad) : from;
    for (size_t i = 0; i < rows; ++i) {
      SeenWeights(block, r + i, t.scores + (r + i) * kKeyBlock, from, to, seen[i]);
    }
    for (size_t panel = 0, end; panel < panels; panel = end) {
      end = std::min(panels, panel + in_group);
      const size_t at = panel / in_group * scales.group_stride;
      if (r == 0) PrefetchScales(int4, scales, at, kKeyBlock, ahead);
      for (size_t i = 0; i < rows; ++i) {
        y_scales[i] = QuantizeWeights(int4, seen[i], scales, at + from, to - from, codes[i]);
      }
      for (size_t p = panel; p < end; ++p) {
        prefetcher.Next();
        ValuesOfPanel(int4, rows, block.v.bytes() + p * stride + from * BytesOfStep(block.v.dtype),
                      codes[0], y_scales, to - from, ahead, factor + r,
                      state.acc + r * state.acc_stride + p * kPanel, state.acc_stride);
      }
    }
  }
}

// A row of queries.
HWY_INLINE void QuantizeRow(bool int4, const float* HWY_RESTRICT q, size_t dim,
                            int16_t* HWY_RESTRICT codes, float* HWY_RESTRICT scales) {
  HWY_ALIGN float copy[kSumChunk];
  for (size_t chunk = 0; chunk < dim; chunk += kSumChunk) {
    const size_t depth = std::min(kSumChunk, dim - chunk), padded = RoundUp(depth, kStepsPad);
    std::copy_n(q + chunk, depth, copy);
    std::fill(copy + depth, copy + padded, 0.0f);
    *scales++ = CodesOfChunk(copy, padded, reinterpret_cast<uint16_t*>(codes + chunk));
    if (int4) OrderCodes(padded, codes + chunk);
  }
}

// Where codes are multiplied as they are.
HWY_INLINE bool IsCodes(const QueryRows& t, const Panels& panels) {
  return kCodesAreBuilt && t.int16 && HasScales(panels.dtype);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_INT16_INL_H_
