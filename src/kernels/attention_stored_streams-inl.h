// The same streams in other types than f32, widened on the way to the multiplication: in registers
// where all rows go together, else piece by piece in L1.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_STORED_STREAMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_STORED_STREAMS_INL_H_
#undef HEED_ATTENTION_STORED_STREAMS_INL_H_
#else
#define HEED_ATTENTION_STORED_STREAMS_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/attention_streams-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using StagedPanel = float[kStagedSteps * kPanel];

// int4's codes as f32. A table of them takes one instruction for 16 elements where a vector has as
// many lanes: vpermps looks at the low four bits of an index alone.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr bool kCodeTable = true;
#else
constexpr bool kCodeTable = false;
#endif
HWY_ALIGN constexpr float kInt4Codes[kPanel] = {0,  1,  2,  3,  4,  5,  6,  7,
                                                -8, -7, -6, -5, -4, -3, -2, -1};

// Without the table int4's elements come 2^28 and 16 times too large, of even and of odd steps, and
// scales are as much smaller. That is exact, and no product is subnormal: int4's scales are f16.
constexpr float kEvenUnit = kCodeTable ? 1.0f : 0x1p-28f;
constexpr float kOddUnit = kCodeTable ? 1.0f : 0x1p-4f;
HWY_ALIGN constexpr float kStepUnits[kPanel] = {
    kEvenUnit, kOddUnit, kEvenUnit, kOddUnit, kEvenUnit, kOddUnit, kEvenUnit, kOddUnit,
    kEvenUnit, kOddUnit, kEvenUnit, kOddUnit, kEvenUnit, kOddUnit, kEvenUnit, kOddUnit};

// Into L1 where there is room for what is asked for, see StoredAhead.
template <DType kDType>
HWY_INLINE void PrefetchStored(const uint8_t* line, ptrdiff_t ahead) {
  if constexpr (HasScales(kDType)) {
    PrefetchToL2(line + ahead);
  } else {
    PrefetchToL1(line + ahead);
  }
}

// Four panels side by side.
struct StoredStreams {
  const uint8_t* first;
  size_t stride, count;
  ptrdiff_t ahead;  // from a line to the one that is asked for with it

  HWY_INLINE const uint8_t* at(size_t p) const { return p < count ? first + p * stride : first; }
};

// Of types without scales.
struct NoScales {
  static constexpr bool kPerStep = false;
  HWY_INLINE void Take(const Panels&, size_t, size_t, size_t, ptrdiff_t) const {}
};

// A scale for each column of four panels of keys.
template <DType kDType>
struct ColumnScales {
  static constexpr bool kPerStep = false;
  static constexpr bool kTwoUnits = kDType == DType::kInt4 && !kCodeTable;
  HWY_ALIGN float even[kStreams][kPanel];
  HWY_ALIGN float odd[kStreams][kPanel];

  // Those of `count` panels from `panel` on at a channel.
  HWY_INLINE void Take(const Panels& k, size_t panel, size_t count, size_t channel,
                       ptrdiff_t next) {
    const DF d;
    const Scales& scales = k.scales;
    for (size_t p = 0; p < kStreams; ++p) {
      const size_t at = (panel + (p < count ? p : 0)) * kPanel +
                        (kDType == DType::kInt4 ? channel / kInt4Group * kKeyBlock : 0);
      PrefetchToL1(static_cast<const uint8_t*>(scales.data) +
                   at * (kDType == DType::kInt4 ? sizeof(uint16_t) : sizeof(float)) + next);
      for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
        const VF scale = LoadScales<kDType>(scales, at + column);
        if constexpr (kTwoUnits) {
          hn::Store(hn::Mul(scale, hn::Set(d, kEvenUnit)), d, even[p] + column);
          hn::Store(hn::Mul(scale, hn::Set(d, kOddUnit)), d, odd[p] + column);
        } else {
          hn::Store(scale, d, even[p] + column);
        }
      }
    }
  }
  HWY_INLINE VF Even(DF d, size_t p, size_t, size_t column) const {
    return hn::Load(d, even[p] + column);
  }
  HWY_INLINE VF Odd(DF d, size_t p, size_t, size_t column) const {
    return hn::Load(d, (kTwoUnits ? odd : even)[p] + column);
  }
};

// A scale for each step of four panels of values; in int4 the first two have theirs, and the
// others.
template <DType kDType>
struct StepScales {
  static constexpr bool kPerStep = true;
  const float *first = nullptr, *second = nullptr;

  HWY_INLINE VF At(DF d, size_t p, size_t k) const {
    return hn::Set(d, (kDType == DType::kInt4 && p >= 2 ? second : first)[k]);
  }
  HWY_INLINE VF Even(DF d, size_t p, size_t k, size_t) const { return At(d, p, k); }
  HWY_INLINE VF Odd(DF d, size_t p, size_t k, size_t) const { return At(d, p, k + 1); }
};

// Columns from `column` on of the steps k, which is even, and k + 1 of panel p of four.
template <DType kDType, class ScalesOf>
HWY_INLINE void WidenPair(DF d, const uint8_t* HWY_RESTRICT panel, size_t p, size_t k,
                          size_t column, const ScalesOf& scales, VF& even, VF& odd) {
  if constexpr (kDType == DType::kInt4) {
    const hn::RebindToSigned<DF> di;
    const hn::Rebind<int8_t, DF> d8;
    const auto pairs = hn::PromoteTo(
        di, hn::LoadU(d8, reinterpret_cast<const int8_t*>(panel) + k / 2 * kPanel + column));
    const VF scale_even = scales.Even(d, p, k, column), scale_odd = scales.Odd(d, p, k, column);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    const VF codes = hn::Load(d, kInt4Codes);
    const hn::Indices512<float> first{pairs.raw}, second{hn::ShiftRight<4>(pairs).raw};
    if constexpr (ScalesOf::kPerStep) {
      even = hn::TableLookupLanes(TimesScale(codes, scale_even), first);
      odd = hn::TableLookupLanes(TimesScale(codes, scale_odd), second);
    } else {
      even = TimesScale(hn::TableLookupLanes(codes, first), scale_even);
      odd = TimesScale(hn::TableLookupLanes(codes, second), scale_odd);
    }
#else
    even = TimesScale(hn::ConvertTo(d, hn::ShiftLeft<28>(pairs)), scale_even);
    odd = TimesScale(hn::ConvertTo(d, hn::And(pairs, hn::Set(di, ~15))), scale_odd);
#endif
  } else {
    even = Stored<kDType>::Load(d, panel, k * kPanel + column);
    odd = Stored<kDType>::Load(d, panel, (k + 1) * kPanel + column);
    if constexpr (HasScales(kDType)) {
      even = TimesScale(even, scales.Even(d, p, k, column));
      odd = TimesScale(odd, scales.Odd(d, p, k, column));
    }
  }
}

template <DType kDType, class ScalesOf>
HWY_INLINE VF WidenStep(DF d, const uint8_t* HWY_RESTRICT panel, size_t p, size_t k, size_t column,
                        const ScalesOf& scales) {
  if constexpr (kDType == DType::kInt4) {
    VF even, odd;
    WidenPair<kDType>(d, panel, p, k / 2 * 2, column, scales, even, odd);
    return k % 2 == 0 ? even : odd;
  } else {
    const VF x = Stored<kDType>::Load(d, panel, k * kPanel + column);
    if constexpr (HasScales(kDType)) return TimesScale(x, scales.Even(d, p, k, column));
    return x;
  }
}

// Steps of a panel in one line.
template <DType kDType>
constexpr size_t kStepsOfLine = kLineBytes / BytesOfStep(kDType);

// Calls pair(k) for every two steps k, which is even, and k + 1, and step(k) for one that is left
// over. Each is expanded once, whatever the steps begin and end with.
template <class Pair, class Step>
HWY_INLINE void ForEachPair(const Steps& steps, const Pair& pair, const Step& step) {
  for (size_t k = steps.begin;; ++k) {
    if (k % 2 == 0) {
      for (; k + 2 <= steps.end; k += 2) pair(k);
    }
    if (k >= steps.end) return;
    step(k);
  }
}

// Keys have a scale for each column, and are multiplied by queries in tiles; values one for each
// step, by weights row by row. Types without scales have one function for both.
template <size_t R, class ScalesOf>
HWY_INLINE LeftRows LeftOf(const LeftRows& a) {
  if constexpr (std::is_same_v<ScalesOf, NoScales>) return a;
  return KnownSteps<!ScalesOf::kPerStep, R>(a);
}

// As StepStreams, of other types than f32: widened on the way to the multiplication.
template <DType kDType, size_t R, size_t kParts, class ScalesOf>
HWY_INLINE void StepStored(const LeftRows& left_rows, const StoredStreams& b, const Steps& steps,
                           const ScalesOf& scales, StreamSums* HWY_RESTRICT sums) {
  static_assert(R * kParts <= 4 && (R == 1 || kParts == 1));
  constexpr size_t kSets = R * kParts;
  const DF d;
  const size_t part = hn::Lanes(d);
  const auto to = [&](size_t set)
                      HWY_ATTR { return kParts == 1 ? sums[set] : sums[0] + set * part; };
  VF c00 = hn::Zero(d), c01 = c00, c02 = c00, c03 = c00, c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  VF c20 = c00, c21 = c00, c22 = c00, c23 = c00, c30 = c00, c31 = c00, c32 = c00, c33 = c00;
  const auto load = [&](const float* from, VF& s0, VF& s1, VF& s2, VF& s3) HEED_INLINE_LAMBDA {
    s0 = hn::LoadU(d, from);
    s1 = hn::LoadU(d, from + kPanel);
    s2 = hn::LoadU(d, from + 2 * kPanel);
    s3 = hn::LoadU(d, from + 3 * kPanel);
  };
  load(to(0), c00, c01, c02, c03);
  if constexpr (kSets > 1) load(to(1), c10, c11, c12, c13);
  if constexpr (kSets > 2) load(to(2), c20, c21, c22, c23);
  if constexpr (kSets > 3) load(to(3), c30, c31, c32, c33);
  const uint8_t* HWY_RESTRICT b0 = b.at(0);
  const uint8_t* HWY_RESTRICT b1 = b.at(1);
  const uint8_t* HWY_RESTRICT b2 = b.at(2);
  const uint8_t* HWY_RESTRICT b3 = b.at(3);
  const LeftRows a = LeftOf<R, ScalesOf>(left_rows);
  const size_t row_step = a.row_step, depth_step = a.depth_step;
  // One element of each row times x, which is of a panel's column or, of one row, of its part.
  const auto multiply = [&](size_t k, VF x, VF x1, VF& s0, VF& s1, VF& s2, VF& s3)
                            HEED_INLINE_LAMBDA {
                              const float* HWY_RESTRICT left = a.low + k * depth_step;
                              s0 = hn::MulAdd(hn::Set(d, left[0]), x, s0);
                              if constexpr (kParts > 1) {
                                s1 = hn::MulAdd(hn::Set(d, left[0]), x1, s1);
                              }
                              if constexpr (R > 1) {
                                s1 = hn::MulAdd(hn::Set(d, left[row_step]), x, s1);
                              }
                              if constexpr (R > 2) {
                                s2 = hn::MulAdd(hn::Set(d, left[2 * row_step]), x, s2);
                              }
                              if constexpr (R > 3) {
                                s3 = hn::MulAdd(hn::Set(d, left[3 * row_step]), x, s3);
                              }
                            };
  const auto pair_of = [&](const uint8_t* panel, size_t p, size_t k, VF& s0, VF& s1, VF& s2, VF& s3)
                           HEED_INLINE_LAMBDA {
                             VF even, odd, even1 = hn::Zero(d), odd1 = even1;
                             WidenPair<kDType>(d, panel, p, k, 0, scales, even, odd);
                             if constexpr (kParts > 1) {
                               WidenPair<kDType>(d, panel, p, k, part, scales, even1, odd1);
                             }
                             multiply(k, even, even1, s0, s1, s2, s3);
                             multiply(k + 1, odd, odd1, s0, s1, s2, s3);
                           };
  const auto step_of = [&](const uint8_t* panel, size_t p, size_t k, VF& s0, VF& s1, VF& s2, VF& s3)
                           HEED_INLINE_LAMBDA {
                             const VF x = WidenStep<kDType>(d, panel, p, k, 0, scales);
                             VF x1 = x;
                             if constexpr (kParts > 1) {
                               x1 = WidenStep<kDType>(d, panel, p, k, part, scales);
                             }
                             multiply(k, x, x1, s0, s1, s2, s3);
                           };
  const auto pair = [&](size_t k) HEED_INLINE_LAMBDA {
    if (k % kStepsOfLine<kDType> == 0) {
      const size_t line = k * BytesOfStep(kDType);
      PrefetchStored<kDType>(b0 + line, b.ahead);
      PrefetchStored<kDType>(b1 + line, b.ahead);
      PrefetchStored<kDType>(b2 + line, b.ahead);
      PrefetchStored<kDType>(b3 + line, b.ahead);
    }
    pair_of(b0, 0, k, c00, c10, c20, c30);
    pair_of(b1, 1, k, c01, c11, c21, c31);
    pair_of(b2, 2, k, c02, c12, c22, c32);
    pair_of(b3, 3, k, c03, c13, c23, c33);
  };
  const auto step = [&](size_t k) HEED_INLINE_LAMBDA {
    step_of(b0, 0, k, c00, c10, c20, c30);
    step_of(b1, 1, k, c01, c11, c21, c31);
    step_of(b2, 2, k, c02, c12, c22, c32);
    step_of(b3, 3, k, c03, c13, c23, c33);
  };
  ForEachPair(steps, pair, step);
  const auto store = [&](float* into, VF s0, VF s1, VF s2, VF s3) HEED_INLINE_LAMBDA {
    hn::StoreU(s0, d, into);
    hn::StoreU(s1, d, into + kPanel);
    hn::StoreU(s2, d, into + 2 * kPanel);
    hn::StoreU(s3, d, into + 3 * kPanel);
  };
  store(to(0), c00, c01, c02, c03);
  if constexpr (kSets > 1) store(to(1), c10, c11, c12, c13);
  if constexpr (kSets > 2) store(to(2), c20, c21, c22, c23);
  if constexpr (kSets > 3) store(to(3), c30, c31, c32, c33);
}

// The same of R rows in two vectors, from column `at` of panel p of four on.
template <DType kDType, class ScalesOf>
struct StoredTile {
  template <size_t R>
  static HWY_INLINE void Run(const LeftRows& left_rows, const StoredStreams& b, size_t p, size_t at,
                             const Steps& steps, const ScalesOf& scales, float* sums) {
    const DF d;
    const size_t at1 = at + hn::Lanes(d);
    const SumRows rows{sums};
    VF c00 = hn::Zero(d), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
    VF c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
    rows.Load(d, 0, c00, c01);
    if constexpr (R > 1) rows.Load(d, 1, c10, c11);
    if constexpr (R > 2) rows.Load(d, 2, c20, c21);
    if constexpr (R > 3) rows.Load(d, 3, c30, c31);
    if constexpr (R > 4) rows.Load(d, 4, c40, c41);
    if constexpr (R > 5) rows.Load(d, 5, c50, c51);
    const uint8_t* HWY_RESTRICT panel = b.at(p);
    const ptrdiff_t ahead = at == 0 ? b.ahead : 0;  // once for all columns
    const LeftRows a = LeftOf<R, ScalesOf>(left_rows);
    const size_t row_step = a.row_step, depth_step = a.depth_step;
    const auto multiply = [&](size_t k, VF x0, VF x1) HEED_INLINE_LAMBDA {
      constexpr Columns kBoth = Columns::kBoth;
      const float* HWY_RESTRICT left = a.low + k * depth_step;
      StepRow<kBoth>(left[0], x0, x1, c00, c01);
      if constexpr (R > 1) StepRow<kBoth>(left[1 * row_step], x0, x1, c10, c11);
      if constexpr (R > 2) StepRow<kBoth>(left[2 * row_step], x0, x1, c20, c21);
      if constexpr (R > 3) StepRow<kBoth>(left[3 * row_step], x0, x1, c30, c31);
      if constexpr (R > 4) StepRow<kBoth>(left[4 * row_step], x0, x1, c40, c41);
      if constexpr (R > 5) StepRow<kBoth>(left[5 * row_step], x0, x1, c50, c51);
    };
    const auto pair = [&](size_t k) HEED_INLINE_LAMBDA {
      PrefetchStored<kDType>(panel + k * BytesOfStep(kDType), ahead);
      VF even0, even1, odd0, odd1;
      WidenPair<kDType>(d, panel, p, k, at, scales, even0, odd0);
      WidenPair<kDType>(d, panel, p, k, at1, scales, even1, odd1);
      multiply(k, even0, even1);
      multiply(k + 1, odd0, odd1);
    };
    const auto step = [&](size_t k) HEED_INLINE_LAMBDA {
      multiply(k, WidenStep<kDType>(d, panel, p, k, at, scales),
               WidenStep<kDType>(d, panel, p, k, at1, scales));
    };
    ForEachPair(steps, pair, step);
    rows.Store(d, 0, c00, c01);
    if constexpr (R > 1) rows.Store(d, 1, c10, c11);
    if constexpr (R > 2) rows.Store(d, 2, c20, c21);
    if constexpr (R > 3) rows.Store(d, 3, c30, c31);
    if constexpr (R > 4) rows.Store(d, 4, c40, c41);
    if constexpr (R > 5) rows.Store(d, 5, c50, c51);
  }
};

// Steps [begin, end) of panel p of four into a staged one, `begin` even.
template <DType kDType, class ScalesOf>
HWY_INLINE void WidenSteps(const StoredStreams& b, size_t p, const Steps& steps,
                           const ScalesOf& scales, float* HWY_RESTRICT to) {
  const DF d;
  const uint8_t* HWY_RESTRICT panel = b.at(p);
  const auto pair = [&](size_t k) HEED_INLINE_LAMBDA {
    for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
      VF even, odd;
      WidenPair<kDType>(d, panel, p, k, column, scales, even, odd);
      float* HWY_RESTRICT at = to + (k - steps.begin) * kPanel + column;
      hn::StoreU(even, d, at);
      hn::StoreU(odd, d, at + kPanel);
    }
  };
  const auto step = [&](size_t k) HEED_INLINE_LAMBDA {
    for (size_t column = 0; column < kPanel; column += hn::Lanes(d)) {
      const VF x = WidenStep<kDType>(d, panel, p, k, column, scales);
      hn::StoreU(x, d, to + (k - steps.begin) * kPanel + column);
    }
  };
  size_t k = steps.begin;
  for (; k + kStepsOfLine<kDType> <= steps.end; k += kStepsOfLine<kDType>) {
    PrefetchStored<kDType>(panel + k * BytesOfStep(kDType), b.ahead);
#pragma GCC unroll 4
    for (size_t i = 0; i < kStepsOfLine<kDType>; i += 2) pair(k + i);
  }
  ForEachPair({k, steps.end}, pair, step);
}

// Whether so many rows are multiplied by pieces that are widened before. Where a vector is half a
// panel or less each tile widens for itself, but for int4, whose codes take longest.
template <DType kDType>
HWY_INLINE bool StagesRows(size_t rows) {
  if (hn::Lanes(DF()) == kPanel) return true;
  return kDType == DType::kInt4 && rows > kTileRows;
}

// sums += left * b, in chains over the steps [begin, end), ascending: widened in registers or piece
// by piece. `left` begins at step 0.
template <DType kDType, class ScalesOf>
HWY_NOINLINE HWY_MAYBE_UNUSED static void MultiplyStored(const StreamRows& left, size_t rows,
                                                         const StoredStreams& b, const Steps& steps,
                                                         const ScalesOf& scales, StreamSums* sums,
                                                         Pieces& pieces) {
  const size_t lanes = hn::Lanes(DF());
  const auto all = [&](auto r, auto parts) HEED_INLINE_LAMBDA {
    constexpr size_t kRows = decltype(r)::value;
    StepStored<kDType, kRows, decltype(parts)::value>(left.tile(0, kRows), b, steps, scales, sums);
  };
  using One = std::integral_constant<size_t, 1>;
  if (lanes == kPanel && rows <= 4) {
    pieces.NextStaged();
    if (rows == 1) return all(One(), One());
    if (rows == 2) return all(std::integral_constant<size_t, 2>(), One());
    if (rows == 3) return all(std::integral_constant<size_t, 3>(), One());
    return all(std::integral_constant<size_t, 4>(), One());
  }
  if (2 * lanes == kPanel && rows <= 1) {
    pieces.NextStaged();
    return all(One(), std::integral_constant<size_t, 2>());
  }
  if (!StagesRows<kDType>(rows)) {
    pieces.NextStaged();
    for (size_t c = 0; c < b.count * kPanel; c += 2 * lanes) {
      for (size_t r = 0; r < rows; r += kTileRows) {
        const size_t count = std::min(kTileRows, rows - r);
        WithFewRows<StoredTile<kDType, ScalesOf>>(count, left.tile(r, count), b, c / kPanel,
                                                  c % kPanel, steps, scales, sums[r] + c);
      }
    }
    return;
  }
  HWY_ALIGN StagedPanel staged[kStreams];
  for (size_t k = steps.begin / 2 * 2; k < steps.end; k += kStagedSteps) {
    const size_t from = std::max(k, steps.begin), to = std::min(k + kStagedSteps, steps.end);
    pieces.NextStaged();
    for (size_t p = 0; p < b.count; ++p) {
      WidenSteps<kDType>(b, p, Steps{k, to}, scales, staged[p]);
    }
    const Streams streams(staged[0] + (from - k) * kPanel, kStagedSteps * kPanel, b.count);
    StepRows(left.From(from), rows, streams, Steps{0, to - from}, sums, streams);
  }
}

// How far before they are needed lines are asked for, in bytes: a block, or as far as four panels
// take. Keys, values and the next block of a cache lie one behind the other, so that this too
// covers each line once and before it is read, and bf16's of a whole block would fill L1 (a tenth
// slower, Xeon). What memory must bring quickly, int8 and int4, comes sooner with the block (a
// tenth faster). f32 asks for lines of its own.
HWY_INLINE ptrdiff_t StoredAhead(const QueryRows& t, const KeyBlock& block, const Panels& here,
                                 const Panels& next) {
  const DType k = block.k.dtype, v = block.v.dtype;
  if ((HasScales(k) && HasScales(v)) || k == DType::kF32 || v == DType::kF32) {
    return ToNext(here, next);
  }
  return static_cast<ptrdiff_t>(kStreams *
                                std::max(BytesOfPanel(k, t.head_dim), BytesOfPanel(v, kKeyBlock)));
}

// Scores of the keys that all rows see.
template <DType kDType>
HWY_NOINLINE HWY_MAYBE_UNUSED static void StreamStoredKeys(const QueryRows& t,
                                                           const KeyBlock& block,
                                                           const CommonKeys& keys, Pieces& pieces) {
  const DF d;
  HWY_ALIGN StreamSums sums[kDecodeRows];
  std::conditional_t<HasScales(kDType), ColumnScales<kDType>, NoScales> scales;
  const size_t last = CeilDiv(keys.end, kPanel), stride = BytesOfPanel(kDType, t.head_dim);
  const ptrdiff_t ahead = StoredAhead(t, block, block.k, block.prefetch.k);
  const ptrdiff_t next = ToNext(block.k, block.prefetch.k);
  for (size_t panel = keys.begin / kPanel, count; panel < last; panel += count) {
    count = Streams(nullptr, 0, last - panel).count;
    const StoredStreams k = {block.k.bytes() + panel * stride, stride, count, ahead};
    for (size_t chunk = 0; chunk < t.head_dim; chunk += kSumChunk) {
      const size_t end = std::min(chunk + kSumChunk, t.head_dim);
      for (size_t r = 0; r < t.rows; ++r) {
        for (size_t i = 0; i < kStreams * kPanel; i += hn::Lanes(d)) {
          hn::Store(hn::Zero(d), d, sums[r] + i);
        }
      }
      // A group's channels have one scale.
      for (size_t c = chunk, to; c < end; c = to) {
        to = kDType == DType::kInt4 ? std::min(c + kInt4Group, end) : end;
        scales.Take(block.k, panel, count, c, next);
        MultiplyStored<kDType>(StreamRows::Queries(t), t.rows, k, Steps{c, to}, scales, sums,
                               pieces);
      }
      AddToScores(t, sums, panel, count, chunk == 0);
    }
  }
}

// Scales of a block's values, those of int4 as f32, for the channels of four panels.
template <DType kDType>
struct BlockScales {
  static constexpr size_t kGroups = kDType == DType::kInt4 ? kStreams * kPanel / kInt4Group : 1;
  HWY_ALIGN float widened[kGroups][kKeyBlock];

  HWY_INLINE auto Of(const Scales& scales, size_t panel, size_t count, ptrdiff_t next) {
    const auto* at = static_cast<const uint8_t*>(scales.data);
    if constexpr (kDType == DType::kInt8) {
      for (size_t k = 0; k < kKeyBlock; k += kLineFloats) {
        PrefetchToL1(at + k * sizeof(float) + next);
      }
      return StepScales<kDType>{static_cast<const float*>(scales.data), nullptr};
    } else if constexpr (kDType == DType::kInt4) {
      const DF d;
      const size_t group = panel * kPanel / kInt4Group;
      for (size_t g = 0; g < CeilDiv(count * kPanel, kInt4Group); ++g) {
        const size_t first = (group + g) * kKeyBlock;
        for (size_t k = 0; k < kKeyBlock; k += hn::Lanes(d)) {
          PrefetchToL1(at + (first + k) * sizeof(uint16_t) + next);
          VF scale = LoadScales<kDType>(scales, first + k);
          if constexpr (!kCodeTable) scale = hn::Mul(scale, hn::Load(d, kStepUnits + k % kPanel));
          hn::Store(scale, d, widened[g] + k);
        }
      }
      return StepScales<kDType>{widened[0], widened[count > 2 ? 1 : 0]};
    } else {
      return NoScales();
    }
  }
};

// acc = acc * factor + p v.
template <DType kDType>
HWY_NOINLINE HWY_MAYBE_UNUSED static void StreamStoredValues(const QueryRows& t,
                                                             const KeyBlock& block,
                                                             const CommonKeys& keys,
                                                             const RowState& state,
                                                             const float* factor, Pieces& pieces) {
  HWY_ALIGN StreamSums sums[kDecodeRows];
  BlockScales<kDType> block_scales;
  const size_t last = CeilDiv(t.v_head_dim, kPanel), stride = BytesOfPanel(kDType, kKeyBlock);
  const ptrdiff_t ahead = StoredAhead(t, block, block.v, block.prefetch.v);
  const ptrdiff_t next = ToNext(block.v, block.prefetch.v);
  for (size_t panel = 0, count; panel < last; panel += count) {
    count = Streams(nullptr, 0, last - panel).count;
    // Panels that share a scale stay together.
    if (kDType == DType::kInt4 && panel + count < last) count = count / 2 * 2;
    const auto scales = block_scales.Of(block.v.scales, panel, count, next);
    BeginSums(t, state, factor, panel, count, sums);
    MultiplyStored<kDType>(StreamRows::Weights(t), t.rows,
                           {block.v.bytes() + panel * stride, stride, count, ahead},
                           Steps{keys.begin, keys.end}, scales, sums, pieces);
    EndSums(t, sums, panel, count, state);
  }
}
}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_STORED_STREAMS_INL_H_
