// Keys and values of a block as streams of f32, for few rows that see the same keys, as in decode:
// memory takes the time there, so the order of reading counts, not the arithmetic.
//
// Memory answers to several streams side by side, and a panel is one stream, so four panels are
// read at once. The hardware loses a stream where its page ends, which a panel's does, and the
// multiplications keep the core from looking far ahead: so each step asks for the lines that come
// some steps later, in the panels at hand and then in the four that are next, be they of the same
// block, its values or the next block's keys.
#include <algorithm>
#include <cstdint>

#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_STREAMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_STREAMS_INL_H_
#undef HEED_ATTENTION_STREAMS_INL_H_
#else
#define HEED_ATTENTION_STREAMS_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kStreams = 4;

// With 8, or with prefetches into L2, decode is 2 to 4 % slower (Xeon), with 32 it is the same.
constexpr size_t kLinesAhead = 24;

// How many more are asked for, of values, before each row's softmax.
constexpr size_t kLinesMeanwhile = 8;

// Steps that all rows take before the next ones: what four panels have for them stays in L1, and
// 24 lines ahead are three times as far. With 16 steps 4 rows are 1 % slower, with 64 a tenth.
constexpr size_t kStepsAtOnce = 8;

// Panels side by side. No array of pointers: GCC 12 stores such ones one by one and reads them back
// as a vector, which waits for all loads before.
struct Streams {
  const float* first = nullptr;
  size_t stride = 0, count = 0;

  HWY_INLINE Streams() = default;
  HWY_INLINE Streams(const float* from, size_t panel_stride, size_t panels)
      : first(from), stride(panel_stride), count(std::min(panels, kStreams)) {
    // 5 are read as 3 and 2.
    if (panels > kStreams && panels < 2 * kStreams) count = CeilDiv(panels, 2);
  }
  // From `count` on the first again; what it gives is not used.
  HWY_INLINE const float* at(size_t p) const { return p < count ? first + p * stride : first; }
};

// A row's sums for the columns of the streams, which lie in memory between steps.
using StreamSums = float[kStreams * kPanel];

struct SumRows {
  float* sums;  // of the tile's first row and column

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const {
    c0 = hn::LoadU(d, sums + r * kStreams * kPanel);
    c1 = hn::LoadU(d, sums + r * kStreams * kPanel + hn::Lanes(d));
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    hn::StoreU(c0, d, sums + r * kStreams * kPanel);
    hn::StoreU(c1, d, sums + r * kStreams * kPanel + hn::Lanes(d));
  }
};

// A line with every step.
struct PrefetchLines {
  const float* first;

  HWY_INLINE void Step(size_t k) const { PrefetchToL1(first + k * kPanel); }
};

// The left operand, from a step on: queries in tiles (layout.h) or weights row by row.
struct StreamRows {
  const float* first;
  size_t stride;  // between rows
  bool tiled;
  size_t step;

  static HWY_INLINE StreamRows Queries(const QueryRows& t) { return {t.q, t.head_dim, true, 0}; }
  static HWY_INLINE StreamRows Weights(const QueryRows& t) {
    return {t.scores, kKeyBlock, false, 0};
  }

  HWY_INLINE StreamRows From(size_t further) const {
    return {first, stride, tiled, step + further};
  }
  // `rows` of them from row r on, a multiple of kTileRows.
  HWY_INLINE LeftRows tile(size_t r, size_t rows) const {
    const size_t depth_step = tiled ? rows : 1;
    const float* from = first + r * stride + step * depth_step;
    return {from, from, tiled ? 1 : stride, depth_step};
  }
};

// The same tile of R rows, whose steps the compiler knows then.
template <bool kTiled, size_t R>
HWY_INLINE LeftRows KnownSteps(const LeftRows& a) {
  return {a.low, a.high, kTiled ? 1 : kKeyBlock, kTiled ? R : 1};
}

// Steps of R rows in a vector of each of the four panels or, of one row, in two: those from column
// `at` of a panel on. Each asks for a line of each of the streams `ahead`.
template <size_t R, size_t kParts>
HWY_NOINLINE HWY_MAYBE_UNUSED static void StepStreams(const LeftRows& a, const Streams& b,
                                                      size_t at, const Steps& steps,
                                                      StreamSums* HWY_RESTRICT sums,
                                                      const Streams& ahead) {
  static_assert(R * kParts <= 4 && (R == 1 || kParts == 1));
  constexpr size_t kSets = R * kParts;
  const DF d;
  const size_t part = hn::Lanes(d);
  const auto to = [&](size_t set)
                      HWY_ATTR { return kParts == 1 ? sums[set] + at : sums[0] + at + set * part; };
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
  const float* HWY_RESTRICT b0 = b.at(0) + at;
  const float* HWY_RESTRICT b1 = b.at(1) + at;
  const float* HWY_RESTRICT b2 = b.at(2) + at;
  const float* HWY_RESTRICT b3 = b.at(3) + at;
  const float *p0 = ahead.at(0), *p1 = ahead.at(1), *p2 = ahead.at(2), *p3 = ahead.at(3);
  const size_t row_step = a.row_step, depth_step = R == 1 ? 1 : a.depth_step;
  const float* HWY_RESTRICT left = a.low + steps.begin * depth_step;
#pragma GCC unroll 4
  for (size_t k = steps.begin; k < steps.end; ++k) {
    const size_t i = k * kPanel;
    PrefetchToL1(p0 + i);
    PrefetchToL1(p1 + i);
    PrefetchToL1(p2 + i);
    PrefetchToL1(p3 + i);
    const auto step = [&](float x, size_t column, VF& s0, VF& s1, VF& s2, VF& s3)
                          HEED_INLINE_LAMBDA {
                            const VF broadcast = hn::Set(d, x);
                            s0 = hn::MulAdd(broadcast, hn::LoadU(d, b0 + i + column), s0);
                            s1 = hn::MulAdd(broadcast, hn::LoadU(d, b1 + i + column), s1);
                            s2 = hn::MulAdd(broadcast, hn::LoadU(d, b2 + i + column), s2);
                            s3 = hn::MulAdd(broadcast, hn::LoadU(d, b3 + i + column), s3);
                          };
    step(left[0], 0, c00, c01, c02, c03);
    if constexpr (kParts > 1) step(left[0], part, c10, c11, c12, c13);
    if constexpr (R > 1) step(left[row_step], 0, c10, c11, c12, c13);
    if constexpr (R > 2) step(left[2 * row_step], 0, c20, c21, c22, c23);
    if constexpr (R > 3) step(left[3 * row_step], 0, c30, c31, c32, c33);
    left += depth_step;
  }
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

// Steps of at most kTileRows rows: of all panels in one loop where that leaves registers, else in
// the tiles that are used everywhere.
template <bool kTiled>
struct StreamTile {
  template <size_t R>
  static HWY_INLINE void Run(const LeftRows& a, const Streams& b, const Steps& steps,
                             StreamSums* sums, const Streams& ahead) {
    const size_t lanes = hn::Lanes(DF());
    if (lanes == kPanel) {
      constexpr size_t kLow = R <= 4 ? R : 3;
      StepStreams<kLow, 1>(a, b, 0, steps, sums, ahead);
      if constexpr (R > kLow) {
        const float* next = a.low + kLow * a.row_step;
        StepStreams<R - kLow, 1>({next, next, a.row_step, a.depth_step}, b, 0, steps, sums + kLow,
                                 ahead);
      }
    } else if constexpr (R == 1) {
      for (size_t at = 0; at < kPanel; at += 2 * lanes) {
        StepStreams<1, 2>(a, b, at, steps, sums, ahead);
      }
    } else {
      const float* from = b.first;
      float* sums_of = sums[0];
      for (size_t p = 0; p < b.count; ++p, from += b.stride, sums_of += kPanel) {
        const PrefetchLines lines{ahead.at(p)};
        for (size_t at = 0; at < kPanel; at += 2 * lanes) {
          MultiplyTile<R>(KnownSteps<kTiled, R>(a), from + at, from + at + lanes, steps,
                          SumRows{sums_of + at}, lines);
        }
      }
    }
  }
};

// Steps of all rows.
HWY_NOINLINE HWY_MAYBE_UNUSED static void StepRows(const StreamRows& left, size_t rows,
                                                   const Streams& b, const Steps& steps,
                                                   StreamSums* sums, const Streams& ahead) {
  for (size_t r = 0; r < rows; r += kTileRows) {
    const size_t count = std::min(kTileRows, rows - r);
    const LeftRows tile = left.tile(r, count);
    if (left.tiled) {
      WithFewRows<StreamTile<true>>(count, tile, b, steps, sums + r, ahead);
    } else {
      WithFewRows<StreamTile<false>>(count, tile, b, steps, sums + r, ahead);
    }
  }
}

// Elements of other types than f32 are widened piece by piece into panels that stay in L1, which
// all rows then multiply: kStagedSteps of the depth in four panels. Pieces of keys begin at
// multiples of it, so that a column has one scale in a piece in int4, too.
constexpr size_t kStagedSteps = 32;
static_assert(kInt4Group % kStagedSteps == 0 && kSumChunk % kStagedSteps == 0);

// The steps are taken in pieces, each by all rows and columns before the next one, unless all go
// together anyway; rows are prefetched a few with every piece.
struct Pieces {
  size_t steps;
  RowPrefetcher prefetcher;

  HWY_INLINE Pieces(const QueryRows& t, const PrefetchRows& prefetch, size_t keys)
      : steps(GoTogether(t.rows) && prefetch.count == 0 ? SIZE_MAX : kStepsAtOnce),
        prefetcher(prefetch, (CeilDiv(keys, kStreams * kPanel) * t.head_dim +
                              CeilDiv(t.v_head_dim, kStreams * kPanel) * keys) /
                                     kStepsAtOnce +
                                 1) {}

  // Before each kStagedSteps.
  HWY_INLINE void NextStaged() {
    for (size_t n = 0; n < kStagedSteps / kStepsAtOnce; ++n) prefetcher.Next();
  }

 private:
  static HWY_INLINE bool GoTogether(size_t rows) {
    const size_t lanes = hn::Lanes(DF());
    return rows == 1 ? 2 * lanes >= kPanel : rows <= 4 && lanes == kPanel;
  }
};

// sums += left * b, in chains over the steps, ascending. `next`: the streams after these, or none.
HWY_INLINE void MultiplyStreams(const StreamRows& left, size_t rows, const Streams& b, size_t depth,
                                StreamSums* sums, const Streams& next, Pieces& pieces) {
  const size_t turn = depth - std::min(depth, kLinesAhead);
  for (size_t k = 0, end; k < depth; k = end) {
    end = k + std::min(pieces.steps, (k < turn ? turn : depth) - k);
    Streams ahead = b;  // what is asked for at step k
    if (k < turn) {
      ahead.first += kLinesAhead * kPanel;
    } else if (next.count > 0) {
      ahead = next;
      ahead.first -= turn * kPanel;
    }
    pieces.prefetcher.Next();
    StepRows(left, rows, b, Steps{k, end}, sums, ahead);
  }
}

HWY_INLINE Streams KeyStreams(const QueryRows& t, const Panels& k, size_t first, size_t last) {
  const size_t stride = t.head_dim * kPanel;
  return Streams(k.f32() + first * stride, stride, last - first);
}

HWY_INLINE Streams ValueStreams(const QueryRows& t, const Panels& v, size_t first, size_t key) {
  constexpr size_t kStride = kKeyBlock * kPanel;
  return Streams(v.f32() + first * kStride + key * kPanel, kStride,
                 CeilDiv(t.v_head_dim, kPanel) - first);
}

// Takes the sums of a chunk of channels to the scores of `count` panels from `panel` on.
HWY_INLINE void AddToScores(const QueryRows& t, const StreamSums* sums, size_t panel, size_t count,
                            bool first) {
  const DF d;
  for (size_t r = 0; r < t.rows; ++r) {
    float* HWY_RESTRICT to = t.scores + r * kKeyBlock + panel * kPanel;
    for (size_t j = 0; j < count * kPanel; j += hn::Lanes(d)) {
      VF s = hn::LoadU(d, sums[r] + j);
      if (HWY_UNLIKELY(!first)) s = hn::Add(hn::LoadU(d, to + j), s);
      hn::StoreU(s, d, to + j);
    }
  }
}

// Scores of the streams k, of panels from `panel` on.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ScoresOfStreams(const QueryRows& t, const Streams& k,
                                                          size_t panel, const Streams& next,
                                                          Pieces& pieces) {
  HWY_ALIGN StreamSums sums[kDecodeRows];
  for (size_t c = 0; c < t.head_dim; c += kSumChunk) {
    const size_t depth = std::min(kSumChunk, t.head_dim - c);
    Streams chunk = k, after = next;
    chunk.first += c * kPanel;
    if (c + depth < t.head_dim) {
      after = k;
      after.first += (c + depth) * kPanel;
    }
    std::fill_n(sums[0], t.rows * kStreams * kPanel, 0.0f);
    MultiplyStreams(StreamRows::Queries(t).From(c), t.rows, chunk, depth, sums, after, pieces);
    AddToScores(t, sums, panel, k.count, c == 0);
  }
}

// sums = acc * factor in the columns of `count` panels from `panel` on, and 0 in those that follow.
HWY_INLINE void BeginSums(const QueryRows& t, const RowState& state, const float* factor,
                          size_t panel, size_t count, StreamSums* sums) {
  const DF d;
  const size_t columns = count * kPanel;
  for (size_t r = 0; r < t.rows; ++r) {
    const float* HWY_RESTRICT from = state.acc + r * state.acc_stride + panel * kPanel;
    const VF by = hn::Set(d, factor[r]);
    for (size_t j = 0; j < columns; j += hn::Lanes(d)) {
      hn::StoreU(hn::Mul(hn::LoadU(d, from + j), by), d, sums[r] + j);
    }
    for (size_t j = columns; j < kStreams * kPanel; j += hn::Lanes(d)) {
      hn::StoreU(hn::Zero(d), d, sums[r] + j);
    }
  }
}

HWY_INLINE void EndSums(const QueryRows& t, const StreamSums* sums, size_t panel, size_t count,
                        const RowState& state) {
  const DF d;
  for (size_t r = 0; r < t.rows; ++r) {
    float* HWY_RESTRICT to = state.acc + r * state.acc_stride + panel * kPanel;
    for (size_t j = 0; j < count * kPanel; j += hn::Lanes(d)) {
      hn::StoreU(hn::LoadU(d, sums[r] + j), d, to + j);
    }
  }
}

// acc = acc * factor + p v for the columns of the streams v, of panels from `panel` on.
HWY_NOINLINE HWY_MAYBE_UNUSED static void ValuesOfStreams(const QueryRows& t,
                                                          const CommonKeys& keys, const Streams& v,
                                                          size_t panel, const RowState& state,
                                                          const float* factor, const Streams& next,
                                                          Pieces& pieces) {
  HWY_ALIGN StreamSums sums[kDecodeRows];
  BeginSums(t, state, factor, panel, v.count, sums);
  MultiplyStreams(StreamRows::Weights(t).From(keys.begin), t.rows, v, keys.end - keys.begin, sums,
                  next, pieces);
  EndSums(t, sums, panel, v.count, state);
}

// Scores of the keys, in f32.
HWY_NOINLINE HWY_MAYBE_UNUSED static void StreamKeys(const QueryRows& t, const KeyBlock& block,
                                                     const CommonKeys& keys, Pieces& pieces) {
  const size_t last_key = CeilDiv(keys.end, kPanel);
  const Streams values =
      block.v.dtype == DType::kF32 ? ValueStreams(t, block.v, 0, keys.begin) : Streams();
  for (size_t c = keys.begin / kPanel, count; c < last_key; c += count) {
    const Streams k = KeyStreams(t, block.k, c, last_key);
    count = k.count;
    ScoresOfStreams(t, k, c,
                    c + count < last_key ? KeyStreams(t, block.k, c + count, last_key) : values,
                    pieces);
  }
}

// acc = acc * factor + p v, of values in f32.
HWY_NOINLINE HWY_MAYBE_UNUSED static void StreamValues(const QueryRows& t, const KeyBlock& block,
                                                       const CommonKeys& keys,
                                                       const RowState& state, const float* factor,
                                                       Pieces& pieces) {
  const size_t v_panels = CeilDiv(t.v_head_dim, kPanel);
  const Panels& next = block.prefetch.k;
  const Streams next_block = next.absent() || next.dtype != DType::kF32
                                 ? Streams()
                                 : KeyStreams(t, next, 0, kKeyBlock / kPanel);
  for (size_t c = 0, count; c < v_panels; c += count) {
    const Streams v = ValueStreams(t, block.v, c, keys.begin);
    count = v.count;
    ValuesOfStreams(
        t, keys, v, c, state, factor,
        c + count < v_panels ? ValueStreams(t, block.v, c + count, keys.begin) : next_block,
        pieces);
  }
}

// Memory would rest while exponentials are computed.
HWY_INLINE void PrefetchValues(const QueryRows& t, const KeyBlock& block, const CommonKeys& keys) {
  if (block.v.dtype != DType::kF32) return;  // prefetched a block before
  const Streams values = ValueStreams(t, block.v, 0, keys.begin);
  const size_t lines = std::min(kLinesMeanwhile * t.rows, keys.end - keys.begin);
  for (size_t k = kLinesAhead; k < kLinesAhead + lines; ++k) {
    for (size_t p = 0; p < values.count; ++p) PrefetchToL2(values.at(p) + k * kPanel);
  }
}
}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_STREAMS_INL_H_
