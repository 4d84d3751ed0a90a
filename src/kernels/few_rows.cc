#include "src/kernels/few_rows.h"

#include <algorithm>
#include <atomic>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/few_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/base/half.h"
#include "src/kernels/pack-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

// One stream of reads does not reach what memory gives (its prefetcher stops where a page ends, and
// looks ahead only so far), four do.
constexpr size_t kColumns = kPanelsTogether * kPanel;

// So many steps of a panel before the same ones of the next.
constexpr size_t kTurn = 16;

// Sums of a chunk, and of the chunks so far.
struct Sums {
  alignas(64) float chunk[kMaxFewRows * kColumns];
  alignas(64) float total[kMaxFewRows * kColumns];

  // total = chunk, or total + chunk, of whole vectors of columns from c on.
  HWY_INLINE void Add(size_t rows, size_t c, size_t columns, bool first) {
    const DF d;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t i = r * kColumns + c; i < r * kColumns + c + columns; i += hn::Lanes(d)) {
        const VF sum = hn::LoadU(d, chunk + i);
        hn::StoreU(first ? sum : hn::Add(hn::LoadU(d, total + i), sum), d, total + i);
      }
    }
  }
};

// c[:, first .. first + kPanel) = total (+ bias), as far as there are columns.
HWY_NOINLINE void WriteTotals(const FewRows& t, const float* HWY_RESTRICT total, size_t first) {
  const size_t columns = std::min(kPanel, t.columns - first);
  for (size_t r = 0; r < t.rows; ++r) {
    float* HWY_RESTRICT to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride + first;
    const float* HWY_RESTRICT from = total + r * kColumns;
    if (t.bias == nullptr) {
      std::copy_n(from, columns, to);
    } else {
      for (size_t c = 0; c < columns; ++c) to[c] = from[c] + t.bias[first + c];
    }
  }
}

// What a tile of a chunk begins with and where it leaves its sums.
struct TileSums {
  float* chunk;
  size_t stride;  // between rows
  bool first;     // of the chunk

  HWY_INLINE void Load(DF d, size_t r, VF& c0, VF& c1) const {
    if (first) return;  // they are 0
    c0 = hn::LoadU(d, chunk + r * stride);
    c1 = hn::LoadU(d, chunk + r * stride + hn::Lanes(d));
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    hn::StoreU(c0, d, chunk + r * stride);
    hn::StoreU(c1, d, chunk + r * stride + hn::Lanes(d));
  }
};

template <class Prefetch>
HWY_INLINE void RunTile(size_t rows, const float* a, const PanelPair& b, Steps steps,
                        const TileSums& sums, const Prefetch& prefetch) {
  switch (rows) {
    case 1:
      return MultiplyTile<1>({a, a, 1, 1}, b.b0, b.b1, steps, sums, prefetch);
    case 2:
      return MultiplyTile<2>({a, a, 1, 2}, b.b0, b.b1, steps, sums, prefetch);
    case 3:
      return MultiplyTile<3>({a, a, 1, 3}, b.b0, b.b1, steps, sums, prefetch);
    case 4:
      return MultiplyTile<4>({a, a, 1, 4}, b.b0, b.b1, steps, sums, prefetch);
    default:
      return MultiplyTile<5>({a, a, 1, 5}, b.b0, b.b1, steps, sums, prefetch);
  }
}

// Up to four panels in turns: sums pass through L1. More rows than one leave the core less room to
// look ahead, so lines are asked for. What lies in a cache needs neither.
HWY_NOINLINE void PanelsInTurns(const FewRows& t, const float* b, size_t panel_stride,
                                size_t panels, Sums* sums) {
  constexpr size_t kAhead = 2 * kTurn * kPanel;
  const size_t columns = panels * kPanel, turn = t.b_is_near ? kSumChunk : kTurn;
  for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
    const size_t end = std::min(t.depth, k0 + kSumChunk);
    for (size_t k = k0; k < end; k += turn) {
      const Steps steps{k, std::min(end, k + turn)};
      const bool ahead =
          t.rows > 1 && !t.b_is_near && steps.end * kPanel + kAhead <= t.depth * kPanel;
      for (size_t c = 0; c < columns; c += TileColumns()) {
        const PanelPair at = PanelsAt({b}, panel_stride, panels, c);
        const TileSums to{sums->chunk + c, kColumns, k == k0};
        if (ahead) {
          RunTile(t.rows, t.a, at, steps, to, PrefetchPanels{{at.b0 + kAhead, at.b1 + kAhead}});
        } else {
          RunTile(t.rows, t.a, at, steps, to, NoPrefetch());
        }
      }
    }
    sums->Add(t.rows, 0, columns, k0 == 0);
  }
}

constexpr size_t BytesOfElement(DType dtype) { return BytesOfStep(dtype) / kPanel; }

// Element i, of a type without scales.
template <DType kDType>
HWY_INLINE float ElementAt(const uint8_t* from, size_t i) {
  if constexpr (kDType == DType::kF16) return ToFloat(reinterpret_cast<const f16*>(from)[i]);
  if constexpr (kDType == DType::kBF16) return ToFloat(reinterpret_cast<const bf16*>(from)[i]);
  return reinterpret_cast<const float*>(from)[i];
}

// Panels first, first + apart, ... of a matrix.
struct StoredGroup {
  const Panels& b;
  size_t first, apart;
  size_t panel_bytes;

  HWY_INLINE const uint8_t* panel(size_t i) const {
    return b.bytes() + (first + i * apart) * panel_bytes;
  }
  // Of vector `column` of panel i's columns, at step k.
  template <DType kDType>
  HWY_INLINE VF Scale(size_t i, size_t k, size_t column) const {
    if constexpr (!HasScales(kDType)) return hn::Zero(DF());
    const Scales& scales = b.scales;
    return LoadScales<kDType>(scales, (first + i * apart) * scales.panel_stride +
                                          k / scales.group * scales.group_stride + column);
  }
  // Where the steps end that share a scale with step k.
  HWY_INLINE size_t GroupEnd(size_t k) const {
    return k / b.scales.group * b.scales.group + b.scales.group;
  }
};

// A turn of panels of f32, in L1: of rows of a plain b, or of stored panels.
struct Piece {
  alignas(64) float panels[kPanelsTogether][kTurn * kPanel];

  template <DType kDType>
  HWY_INLINE void CopyRows(const uint8_t* b, ptrdiff_t b_bytes, size_t steps) {
    const DF d;
    for (size_t k = 0; k < steps; ++k, b += b_bytes) {
      for (size_t c = 0; c < kColumns; c += hn::Lanes(d)) {
        hn::StoreU(Stored<kDType>::Load(d, b, c), d, &panels[c / kPanel][k * kPanel + c % kPanel]);
      }
    }
  }

  // Steps [k, k + steps) of panel `from`, as panel `to`; they share their scales.
  template <DType kDType>
  HWY_INLINE void Widen(const StoredGroup& b, size_t from, size_t k, size_t steps, size_t to) {
    const DF d;
    const uint8_t* panel = b.panel(from);
    for (size_t c = 0; c < kPanel; c += hn::Lanes(d)) {
      const VF scale = b.Scale<kDType>(from, k, c);
      const VF even = EvenNibbles(scale), odd = OddNibbles(scale);
      const uint8_t* HWY_RESTRICT at = panel + k / 2 * Weights<kDType>::kTwoSteps;
      float* HWY_RESTRICT wide = panels[to] + c;
      size_t i = 0;
      for (; i + 2 <= steps; i += 2, at += Weights<kDType>::kTwoSteps, wide += 2 * kPanel) {
        VF x0 = scale, x1 = scale;
        Weights<kDType>::LoadTwo(at, c, scale, even, odd, x0, x1);
        hn::StoreU(x0, d, wide);
        hn::StoreU(x1, d, wide + kPanel);
      }
      if (i < steps) hn::StoreU(Weights<kDType>::Load(at, 0, c, scale), d, wide);
    }
  }
};

// sums = sums (or 0) + a piece, of rows that lie `stride` apart. One copy for all types of b.
HWY_NOINLINE void MultiplyPiece(size_t rows, const float* a, const Piece& piece, size_t panels,
                                size_t steps, float* sums, size_t stride, bool first) {
  for (size_t c = 0; c < panels * kPanel; c += TileColumns()) {
    RunTile(rows, a, PanelsAt({piece.panels[0]}, kTurn * kPanel, panels, c), Steps{0, steps},
            {sums + c, stride, first}, NoPrefetch());
  }
}

// Steps of a panel before the next: at most four lines, one at least.
constexpr size_t StepsTogether(DType dtype) { return dtype == DType::kF32 ? 4 : 8; }

// Four panels of kEach vectors and one row: all sums in registers.
template <DType kDType, size_t kEach>
HWY_NOINLINE void OneRowTimesPanels(const FewRows& t, const StoredGroup& b,
                                    float* HWY_RESTRICT total) {
  static_assert(kEach == 1 || kEach == 2);
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const float* HWY_RESTRICT a = t.a;
  const uint8_t* HWY_RESTRICT b0 = b.panel(0);
  const uint8_t* HWY_RESTRICT b1 = b.panel(1);
  const uint8_t* HWY_RESTRICT b2 = b.panel(2);
  const uint8_t* HWY_RESTRICT b3 = b.panel(3);
  for (size_t k = 0; k < t.depth;) {
    const bool first = k == 0;
    const size_t chunk_end = std::min(t.depth, k + kSumChunk);
    VF s00 = hn::Zero(d), s10 = s00, s20 = s00, s30 = s00;
    VF s01 = s00, s11 = s00, s21 = s00, s31 = s00;
    while (k < chunk_end) {
      const size_t end = HasScales(kDType) ? std::min(chunk_end, b.GroupEnd(k)) : chunk_end;
      // Scales of this group, and what is added for them.
      const VF x00 = b.Scale<kDType>(0, k, 0), x10 = b.Scale<kDType>(1, k, 0);
      const VF x20 = b.Scale<kDType>(2, k, 0), x30 = b.Scale<kDType>(3, k, 0);
      const VF x01 = kEach > 1 ? b.Scale<kDType>(0, k, lanes) : x00;
      const VF x11 = kEach > 1 ? b.Scale<kDType>(1, k, lanes) : x10;
      const VF x21 = kEach > 1 ? b.Scale<kDType>(2, k, lanes) : x20;
      const VF x31 = kEach > 1 ? b.Scale<kDType>(3, k, lanes) : x30;
      const VF e00 = EvenNibbles(x00), e10 = EvenNibbles(x10), e20 = EvenNibbles(x20);
      const VF e30 = EvenNibbles(x30), e01 = EvenNibbles(x01), e11 = EvenNibbles(x11);
      const VF e21 = EvenNibbles(x21), e31 = EvenNibbles(x31);
      const VF o00 = OddNibbles(x00), o10 = OddNibbles(x10), o20 = OddNibbles(x20);
      const VF o30 = OddNibbles(x30), o01 = OddNibbles(x01), o11 = OddNibbles(x11);
      const VF o21 = OddNibbles(x21), o31 = OddNibbles(x31);
      constexpr size_t kSteps = StepsTogether(kDType), kTwoSteps = Weights<kDType>::kTwoSteps;
      for (; k + kSteps <= end; k += kSteps) {
        static_assert(kSteps >= 4);
        const VF a0 = hn::Set(d, a[k]), a1 = hn::Set(d, a[k + 1]);
        const VF a2 = hn::Set(d, a[k + 2]), a3 = hn::Set(d, a[k + 3]);
        const auto steps = [&](const uint8_t* HWY_RESTRICT from, VF x0, VF e0, VF o0, VF& s0, VF x1,
                               VF e1, VF o1, VF& s1) HEED_INLINE_LAMBDA {
          const uint8_t* HWY_RESTRICT at = from + k * (kTwoSteps / 2);  // k is even
          const auto two = [&](VF even, VF odd) HEED_INLINE_LAMBDA {
            VF w0 = even, w1 = odd;
            Weights<kDType>::LoadTwo(at, 0, x0, e0, o0, w0, w1);
            s0 = hn::MulAdd(even, w0, s0);
            s0 = hn::MulAdd(odd, w1, s0);
            if constexpr (kEach > 1) {
              Weights<kDType>::LoadTwo(at, lanes, x1, e1, o1, w0, w1);
              s1 = hn::MulAdd(even, w0, s1);
              s1 = hn::MulAdd(odd, w1, s1);
            }
            at += kTwoSteps;
          };
          two(a0, a1);
          two(a2, a3);
#pragma GCC unroll 16
          for (size_t i = 4; i < kSteps; i += 2) {
            two(hn::Set(d, a[k + i]), hn::Set(d, a[k + i + 1]));
          }
          // Not one step of each panel in turn, as compilers like it.
          std::atomic_signal_fence(std::memory_order_seq_cst);
        };
        // The fewer bytes there are to a step, the less of memory the core sees ahead by itself.
        if constexpr (kDType != DType::kF32) {
          constexpr size_t kLine = 64, kAhead = 16 * kLine;
          const size_t ahead = k * (kTwoSteps / 2) + kAhead;
          for (size_t i = 0; i < kSteps * kTwoSteps / 2; i += kLine) {
            PrefetchToL2(b0 + ahead + i);
            PrefetchToL2(b1 + ahead + i);
            PrefetchToL2(b2 + ahead + i);
            PrefetchToL2(b3 + ahead + i);
          }
        }
        steps(b0, x00, e00, o00, s00, x01, e01, o01, s01);
        steps(b1, x10, e10, o10, s10, x11, e11, o11, s11);
        steps(b2, x20, e20, o20, s20, x21, e21, o21, s21);
        steps(b3, x30, e30, o30, s30, x31, e31, o31, s31);
      }
      for (; k < end; ++k) {
        const VF x = hn::Set(d, a[k]);
        const auto step = [&](const uint8_t* HWY_RESTRICT from, VF scale0, VF scale1, VF& s0,
                              VF& s1) HEED_INLINE_LAMBDA {
          s0 = hn::MulAdd(x, Weights<kDType>::Load(from, k, 0, scale0), s0);
          if constexpr (kEach > 1) {
            s1 = hn::MulAdd(x, Weights<kDType>::Load(from, k, lanes, scale1), s1);
          }
        };
        step(b0, x00, x01, s00, s01);
        step(b1, x10, x11, s10, s11);
        step(b2, x20, x21, s20, s21);
        step(b3, x30, x31, s30, s31);
      }
    }
    const auto add = [&](size_t panel, VF s0, VF s1) HEED_INLINE_LAMBDA {
      float* HWY_RESTRICT to = total + panel * kPanel;
      hn::StoreU(first ? s0 : hn::Add(hn::LoadU(d, to), s0), d, to);
      if constexpr (kEach > 1) {
        hn::StoreU(first ? s1 : hn::Add(hn::LoadU(d, to + lanes), s1), d, to + lanes);
      }
    };
    add(0, s00, s01);
    add(1, s10, s11);
    add(2, s20, s21);
    add(3, s30, s31);
  }
}

// Up to four stored panels in turns, each turn widened in L1 first.
template <DType kDType>
HWY_NOINLINE void StoredPanelsInTurns(const FewRows& t, const StoredGroup& b, size_t panels,
                                      Sums* sums) {
  constexpr size_t kAhead = 4 * kTurn;
  Piece piece;
  const size_t columns = panels * kPanel;
  for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
    const size_t chunk_end = std::min(t.depth, k0 + kSumChunk);
    for (size_t k = k0; k < chunk_end; k += kTurn) {
      const size_t steps = std::min(kTurn, chunk_end - k);
      for (size_t p = 0; p < panels; ++p) {
        if (!t.b_is_near && k + kAhead + kTurn <= t.depth) {
          constexpr size_t kBytes = kTurn * BytesOfStep(kDType), kLine = 64;
          const uint8_t* next = b.panel(p) + (k + kAhead) / kTurn * kBytes;
          for (size_t i = 0; i < kBytes; i += kLine) PrefetchToL2(next + i);
        }
        piece.Widen<kDType>(b, p, k, steps, p);
      }
      MultiplyPiece(t.rows, t.a + k * t.rows, piece, panels, steps, sums->chunk, kColumns, k == k0);
    }
    sums->Add(t.rows, 0, columns, k0 == 0);
  }
}

template <DType kDType>
void TimesPanels(const FewRows& t, const Panels& b, size_t begin, size_t end) {
  const size_t lanes = hn::Lanes(DF());
  const size_t panels = CeilDiv(t.columns, kPanel), apart = PanelGroups(t.columns);
  Sums sums;
  for (size_t group = begin; group < end; ++group) {
    const size_t count = CeilDiv(panels - group, apart);
    const StoredGroup at{b, group, apart, BytesOfPanel(kDType, t.depth)};
    const bool all = t.rows == 1 && count == kPanelsTogether;
    if (all && lanes == kPanel) {
      OneRowTimesPanels<kDType, 1>(t, at, sums.total);
    } else if (all && 2 * lanes == kPanel) {
      OneRowTimesPanels<kDType, 2>(t, at, sums.total);
    } else if constexpr (kDType == DType::kF32) {
      const size_t panel_stride = t.depth * kPanel;
      PanelsInTurns(t, b.f32() + group * panel_stride, apart * panel_stride, count, &sums);
    } else {
      StoredPanelsInTurns<kDType>(t, at, count, &sums);
    }
    for (size_t i = 0; i < count; ++i) {
      WriteTotals(t, sums.total + i * kPanel, (group + i * apart) * kPanel);
    }
  }
}

// One row of a turn of rows of b: sums = sums (or 0) + a b, for whole groups of kColumns columns.
template <DType kDType, size_t kVectors, size_t kSteps = 0>
HWY_NOINLINE void AddRows(const float* HWY_RESTRICT a, const uint8_t* HWY_RESTRICT b,
                          ptrdiff_t b_bytes, size_t any_steps, size_t columns, bool first,
                          float* HWY_RESTRICT sums) {
  static_assert(kVectors == 4 || kVectors == 8);
  const DF d;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < columns; c += kVectors * lanes) {
    const auto load = [&](size_t i) HEED_INLINE_LAMBDA {
      return first ? hn::Zero(d) : hn::LoadU(d, sums + c + i * lanes);
    };
    VF s0 = load(0), s1 = load(1), s2 = load(2), s3 = load(3);
    VF s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    if constexpr (kVectors == 8) {
      s4 = load(4);
      s5 = load(5);
      s6 = load(6);
      s7 = load(7);
    }
    const uint8_t* HWY_RESTRICT at = b + c * BytesOfElement(kDType);
    const auto step = [&](size_t k) HEED_INLINE_LAMBDA {
      const VF x = hn::Set(d, a[k]);
      s0 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 0), s0);
      s1 = hn::MulAdd(x, Stored<kDType>::Load(d, at, lanes), s1);
      s2 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 2 * lanes), s2);
      s3 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 3 * lanes), s3);
      if constexpr (kVectors == 8) {
        s4 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 4 * lanes), s4);
        s5 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 5 * lanes), s5);
        s6 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 6 * lanes), s6);
        s7 = hn::MulAdd(x, Stored<kDType>::Load(d, at, 7 * lanes), s7);
      }
      at += b_bytes;
    };
    if constexpr (kSteps > 0) {
#pragma GCC unroll 16
      for (size_t k = 0; k < kSteps; ++k) step(k);
    } else {
      for (size_t k = 0; k < any_steps; ++k) step(k);
    }
    float* HWY_RESTRICT to = sums + c;
    hn::StoreU(s0, d, to);
    hn::StoreU(s1, d, to + lanes);
    hn::StoreU(s2, d, to + 2 * lanes);
    hn::StoreU(s3, d, to + 3 * lanes);
    if constexpr (kVectors == 8) {
      hn::StoreU(s4, d, to + 4 * lanes);
      hn::StoreU(s5, d, to + 5 * lanes);
      hn::StoreU(s6, d, to + 6 * lanes);
      hn::StoreU(s7, d, to + 7 * lanes);
    }
  }
}

// The same for one vector of columns; rows of a are `a_step` wide. load(b) is what a row of b has
// there.
template <class D, class Load>
HWY_INLINE void AddRowsToVector(D d, const float* HWY_RESTRICT a, size_t a_step,
                                const uint8_t* HWY_RESTRICT b, ptrdiff_t b_bytes, size_t steps,
                                bool first, float* HWY_RESTRICT sums, const Load& load) {
  auto sum = first ? hn::Zero(d) : hn::LoadU(d, sums);
  for (size_t k = 0; k < steps; ++k, b += b_bytes) {
    sum = hn::MulAdd(hn::Set(d, a[k * a_step]), load(b), sum);
  }
  hn::StoreU(sum, d, sums);
}

// c = chunk, or c + chunk, and the bias after the last one.
HWY_NOINLINE void AddChunk(const FewRows& t, const float* sums, size_t width, bool first,
                           bool last) {
  for (size_t r = 0; r < t.rows; ++r) {
    const float* HWY_RESTRICT chunk = sums + r * width;
    float* HWY_RESTRICT to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride;
    for (size_t c = 0; c < t.columns; ++c) to[c] = first ? chunk[c] : to[c] + chunk[c];
    if (!last || t.bias == nullptr) continue;
    for (size_t c = 0; c < t.columns; ++c) to[c] += t.bias[c];
  }
}

// As many rows of b are read side by side as a turn has steps: rows may be short, and every page is
// a stream that begins anew.
template <DType kDType>
void TimesRows(const FewRows& t, const void* b, ptrdiff_t b_stride, float* sums) {
  constexpr size_t kBytes = BytesOfElement(kDType), kLine = 64 / kBytes, kAhead = 8 * kLine;
  const DF d;
  const hn::CappedTag<float, 1> one;
  const size_t lanes = hn::Lanes(d), width = RoundUp(t.columns, kColumns);
  const size_t whole = t.columns / kColumns * kColumns;
  const ptrdiff_t b_bytes = b_stride * static_cast<ptrdiff_t>(kBytes);
  Piece piece;
  for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
    const size_t chunk_end = std::min(t.depth, k0 + kSumChunk);
    for (size_t k = k0; k < chunk_end; k += kTurn) {
      const size_t steps = std::min(kTurn, chunk_end - k);
      const bool first = k == k0;
      const uint8_t* rows = static_cast<const uint8_t*>(b) + static_cast<ptrdiff_t>(k) * b_bytes;
      const float* a = t.a + k * t.rows;
      if (t.rows == 1 && lanes == kPanel) {
        if (steps == kTurn) {
          AddRows<kDType, 4, kTurn>(a, rows, b_bytes, steps, whole, first, sums);
        } else {
          AddRows<kDType, 4>(a, rows, b_bytes, steps, whole, first, sums);
        }
      } else if (t.rows == 1) {
        if (steps == kTurn) {
          AddRows<kDType, 8, kTurn>(a, rows, b_bytes, steps, whole, first, sums);
        } else {
          AddRows<kDType, 8>(a, rows, b_bytes, steps, whole, first, sums);
        }
      }
      for (size_t c = 0; t.rows > 1 && c < whole; c += kColumns) {
        if (c + kAhead + kColumns <= t.columns) {
          for (size_t i = 0; i < kColumns; i += kLine) {
            PrefetchColumn(rows + (c + kAhead + i) * kBytes, b_bytes, steps);
          }
        }
        piece.CopyRows<kDType>(rows + c * kBytes, b_bytes, steps);
        MultiplyPiece(t.rows, a, piece, kPanelsTogether, steps, sums + c, width, first);
      }
      const auto vector = [&](const uint8_t* at)
                              HEED_INLINE_LAMBDA { return Stored<kDType>::Load(d, at, 0); };
      const auto element = [&](const uint8_t* at) HEED_INLINE_LAMBDA {
        return hn::Set(one, ElementAt<kDType>(at, 0));
      };
      for (size_t r = 0; r < t.rows; ++r) {
        float* to = sums + r * width;
        size_t c = whole;
        for (; c + lanes <= t.columns; c += lanes) {
          AddRowsToVector(d, a + r, t.rows, rows + c * kBytes, b_bytes, steps, first, to + c,
                          vector);
        }
        for (; c < t.columns; ++c) {
          AddRowsToVector(one, a + r, t.rows, rows + c * kBytes, b_bytes, steps, first, to + c,
                          element);
        }
      }
    }
    AddChunk(t, sums, width, k0 == 0, chunk_end == t.depth);
  }
}

// Vectors whose blocks of four are turned over together: whole ones where blocks can be loaded into
// them, else of one block.
#if HWY_TARGET == HWY_SCALAR || !HWY_HAVE_FLOAT64  // pairs of floats move as doubles
using DBlocks = DF;
constexpr bool kTurnsOver = false;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
using DBlocks = DF;
constexpr bool kTurnsOver = true;
#else
using DBlocks = hn::FixedTag<float, 4>;
constexpr bool kTurnsOver = true;
#endif
using VBlocks = hn::VFromD<DBlocks>;

#if HWY_TARGET != HWY_SCALAR && HWY_HAVE_FLOAT64
// Block i: four floats of columns[4 i], from k on.
HWY_INLINE VBlocks LoadBlocks(const float* const* columns, size_t k) {
  const DBlocks d;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::FixedTag<float, 4> block;
  VBlocks v = hn::ResizeBitCast(d, hn::LoadU(block, columns[0] + k));
  v = hn::InsertBlock<1>(v, hn::LoadU(block, columns[4] + k));
  if constexpr (hn::MaxLanes(d) == 16) {
    v = hn::InsertBlock<2>(v, hn::LoadU(block, columns[8] + k));
    v = hn::InsertBlock<3>(v, hn::LoadU(block, columns[12] + k));
  }
  return v;
#else
  return hn::LoadU(d, columns[0] + k);
#endif
}

// v0 to v3 = the columns' floats at k to k + 3.
HWY_INLINE void LoadTurnedOver(const float* const* columns, size_t k, VBlocks& v0, VBlocks& v1,
                               VBlocks& v2, VBlocks& v3) {
  v0 = LoadBlocks(columns, k);
  v1 = LoadBlocks(columns + 1, k);
  v2 = LoadBlocks(columns + 2, k);
  v3 = LoadBlocks(columns + 3, k);
  TransposeBlocks(DBlocks(), v0, v1, v2, v3);
}
#else
HWY_INLINE void LoadTurnedOver(const float* const*, size_t, VBlocks&, VBlocks&, VBlocks&,
                               VBlocks&) {}
#endif

// The steps [begin, end) of `count` columns and R rows; `chunk` as in Sums.
template <size_t R>
HWY_INLINE void AddColumns(const float* const* columns, size_t count, const float* a, size_t begin,
                           size_t end, bool first, float* chunk) {
  static_assert(R >= 1 && R <= 5);
  const DBlocks d;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < count; c += lanes) {
    const auto load = [&](size_t r) HEED_INLINE_LAMBDA {
      return first ? hn::Zero(d) : hn::LoadU(d, chunk + r * kColumns + c);
    };
    VBlocks s0 = load(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0;
    if constexpr (R > 1) s1 = load(1);
    if constexpr (R > 2) s2 = load(2);
    if constexpr (R > 3) s3 = load(3);
    if constexpr (R > 4) s4 = load(4);
    const auto step = [&](size_t k, VBlocks v) HEED_INLINE_LAMBDA {
      const float* HWY_RESTRICT x = a + k * R;
      s0 = hn::MulAdd(hn::Set(d, x[0]), v, s0);
      if constexpr (R > 1) s1 = hn::MulAdd(hn::Set(d, x[1]), v, s1);
      if constexpr (R > 2) s2 = hn::MulAdd(hn::Set(d, x[2]), v, s2);
      if constexpr (R > 3) s3 = hn::MulAdd(hn::Set(d, x[3]), v, s3);
      if constexpr (R > 4) s4 = hn::MulAdd(hn::Set(d, x[4]), v, s4);
    };
    size_t k = begin;
    for (; kTurnsOver && k + 4 <= end; k += 4) {
      VBlocks v0 = s0, v1 = s0, v2 = s0, v3 = s0;
      LoadTurnedOver(columns + c, k, v0, v1, v2, v3);
      step(k, v0);
      step(k + 1, v1);
      step(k + 2, v2);
      step(k + 3, v3);
    }
    for (; k < end; ++k) {
      alignas(64) float line[kPanel];
      for (size_t i = 0; i < lanes; ++i) line[i] = columns[c + i][k];
      step(k, hn::LoadU(d, line));
    }
    hn::StoreU(s0, d, chunk + c);
    if constexpr (R > 1) hn::StoreU(s1, d, chunk + kColumns + c);
    if constexpr (R > 2) hn::StoreU(s2, d, chunk + 2 * kColumns + c);
    if constexpr (R > 3) hn::StoreU(s3, d, chunk + 3 * kColumns + c);
    if constexpr (R > 4) hn::StoreU(s4, d, chunk + 4 * kColumns + c);
  }
}

// Steps [k, k + 8) of eight columns of 16-bit numbers become steps of a panel.
HWY_INLINE void TurnHalvesOver(const uint16_t* const* columns, size_t k,
                               uint16_t* HWY_RESTRICT panel) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t i = 0; i < 8; ++i) {
    for (size_t c = 0; c < 8; ++c) panel[i * kPanel + c] = columns[c][k + i];
  }
#else
  const hn::FixedTag<uint16_t, 8> d;
  const hn::RepartitionToWide<decltype(d)> d32;
  const hn::RepartitionToWide<decltype(d32)> d64;
  const auto load = [&](size_t c) HEED_INLINE_LAMBDA { return hn::LoadU(d, columns[c] + k); };
  const auto v0 = load(0), v1 = load(1), v2 = load(2), v3 = load(3);
  const auto v4 = load(4), v5 = load(5), v6 = load(6), v7 = load(7);
  const auto lower = [&](auto x, auto y) HEED_INLINE_LAMBDA {
    return hn::BitCast(d32, hn::InterleaveLower(d, x, y));
  };
  const auto upper = [&](auto x, auto y) HEED_INLINE_LAMBDA {
    return hn::BitCast(d32, hn::InterleaveUpper(d, x, y));
  };
  // Four steps of one quarter of the columns to two steps of a half, and to one of all.
  const auto steps = [&](auto p01, auto p23, auto p45, auto p67, size_t step) HEED_INLINE_LAMBDA {
    const auto q03 = hn::BitCast(d64, hn::InterleaveLower(d32, p01, p23));
    const auto r03 = hn::BitCast(d64, hn::InterleaveUpper(d32, p01, p23));
    const auto q47 = hn::BitCast(d64, hn::InterleaveLower(d32, p45, p67));
    const auto r47 = hn::BitCast(d64, hn::InterleaveUpper(d32, p45, p67));
    uint16_t* HWY_RESTRICT to = panel + step * kPanel;
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, q03, q47)), d, to);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, q03, q47)), d, to + kPanel);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, r03, r47)), d, to + 2 * kPanel);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, r03, r47)), d, to + 3 * kPanel);
  };
  steps(lower(v0, v1), lower(v2, v3), lower(v4, v5), lower(v6, v7), 0);
  steps(upper(v0, v1), upper(v2, v3), upper(v4, v5), upper(v6, v7), 4);
#endif
}

// A line of each of kPanel columns of 16-bit numbers, as a panel, in L1.
struct HalvesPanel {
  static constexpr size_t kSteps = 32;
  alignas(64) uint16_t data[kSteps * kPanel];

  HWY_NOINLINE void Fill(const uint16_t* const* columns, size_t k, size_t steps) {
    size_t i = 0;
    for (; i + 8 <= steps; i += 8) {
      TurnHalvesOver(columns, k + i, data + i * kPanel);
      TurnHalvesOver(columns + 8, k + i, data + i * kPanel + 8);
    }
    for (; i < steps; ++i) {
      for (size_t c = 0; c < kPanel; ++c) data[i * kPanel + c] = columns[c][k + i];
    }
  }
};

// R rows times `steps` of such a panel, kVectors of its columns from `c` on; `chunk` as in Sums.
template <DType kDType, size_t R, size_t kVectors>
HWY_INLINE void AddHalves(const HalvesPanel& panel, size_t c, const float* HWY_RESTRICT a,
                          size_t steps, bool first, float* HWY_RESTRICT chunk) {
  static_assert(R >= 1 && R <= 5 && (kVectors == 1 || kVectors == 2));
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const uint8_t* HWY_RESTRICT b = reinterpret_cast<const uint8_t*>(panel.data);
  const auto load = [&](size_t r, VF& s0, VF& s1) HEED_INLINE_LAMBDA {
    if (first) return;  // they are 0
    s0 = hn::LoadU(d, chunk + r * kColumns + c);
    if constexpr (kVectors > 1) s1 = hn::LoadU(d, chunk + r * kColumns + c + lanes);
  };
  VF s00 = hn::Zero(d), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00;
  VF s31 = s00, s40 = s00, s41 = s00;
  load(0, s00, s01);
  if constexpr (R > 1) load(1, s10, s11);
  if constexpr (R > 2) load(2, s20, s21);
  if constexpr (R > 3) load(3, s30, s31);
  if constexpr (R > 4) load(4, s40, s41);
  for (size_t k = 0; k < steps; ++k, a += R) {
    const VF v0 = Stored<kDType>::Load(d, b, k * kPanel + c);
    const VF v1 = kVectors > 1 ? Stored<kDType>::Load(d, b, k * kPanel + c + lanes) : v0;
    const auto add = [&](size_t r, VF& s0, VF& s1) HEED_INLINE_LAMBDA {
      const VF x = hn::Set(d, a[r]);
      s0 = hn::MulAdd(x, v0, s0);
      if constexpr (kVectors > 1) s1 = hn::MulAdd(x, v1, s1);
    };
    add(0, s00, s01);
    if constexpr (R > 1) add(1, s10, s11);
    if constexpr (R > 2) add(2, s20, s21);
    if constexpr (R > 3) add(3, s30, s31);
    if constexpr (R > 4) add(4, s40, s41);
  }
  const auto store = [&](size_t r, VF s0, VF s1) HEED_INLINE_LAMBDA {
    hn::StoreU(s0, d, chunk + r * kColumns + c);
    if constexpr (kVectors > 1) hn::StoreU(s1, d, chunk + r * kColumns + c + lanes);
  };
  store(0, s00, s01);
  if constexpr (R > 1) store(1, s10, s11);
  if constexpr (R > 2) store(2, s20, s21);
  if constexpr (R > 3) store(3, s30, s31);
  if constexpr (R > 4) store(4, s40, s41);
}

// Each column is a stream: a line of each is turned over, f32 in registers, and multiplied at once.
// Columns that lie a multiple of 4 KiB apart share a set of L1, which has room for half of kPanel:
// the second half of them, where they are f32, follows the first 2 KiB later, in other sets.
template <DType kDType>
class RowsTimesColumns {
  static constexpr bool kWide = kDType == DType::kF32;
  static constexpr size_t kLine = 64 / BytesOfElement(kDType), kAhead = 4 * kLine;
  static constexpr bool kHalves = kWide && hn::MaxLanes(DF()) <= kPanel / 2;  // whole vectors
  static constexpr size_t kTogether = kHalves ? kPanel / 2 : kPanel;
  static constexpr size_t kLater = kHalves ? 2048 / sizeof(float) : 0;
  using Element = std::conditional_t<kWide, float, uint16_t>;

 public:
  HWY_INLINE RowsTimesColumns(const FewRows& t, const void* b, ptrdiff_t b_stride)
      : t_(t), b_(static_cast<const Element*>(b)), b_stride_(b_stride) {}

  void Run() {
    using Turns = void (RowsTimesColumns::*)(size_t, size_t);
    constexpr Turns kTurns[] = {&RowsTimesColumns::Turn<1>, &RowsTimesColumns::Turn<2>,
                                &RowsTimesColumns::Turn<3>, &RowsTimesColumns::Turn<4>,
                                &RowsTimesColumns::Turn<5>};
    const Turns turn = kTurns[t_.rows - 1];
    for (size_t c0 = 0; c0 < t_.columns; c0 += kPanel) {
      for (size_t c = 0; c < kPanel; ++c) {  // past the last one it again, and is not used
        columns_[c] = b_ + static_cast<ptrdiff_t>(std::min(c0 + c, t_.columns - 1)) * b_stride_;
      }
      for (size_t k = 0; k < t_.depth + kLater; k += kLine) {
        if (k < t_.depth) (this->*turn)(0, k);
        if constexpr (kHalves) {
          if (k >= kLater) (this->*turn)(kTogether, k - kLater);
        }
      }
      WriteTotals(t_, sums_.total, c0);
    }
  }

 private:
  // R rows times a line of kTogether columns from c on.
  template <size_t R>
  void Turn(size_t c, size_t k) {
    const size_t begin = k / kSumChunk * kSumChunk;
    const size_t chunk_end = std::min(t_.depth, begin + kSumChunk);
    const size_t end = std::min(chunk_end, k + kLine);
    if (end + kAhead <= t_.depth) {
      for (size_t i = c; i < c + kTogether; ++i) PrefetchToL1(columns_[i] + k + kAhead);
    }
    float* chunk = sums_.chunk + c;
    if constexpr (kWide) {
      AddColumns<R>(columns_ + c, kTogether, t_.a, k, end, k == begin, chunk);
    } else {
      static_assert(kLine == HalvesPanel::kSteps);
      panel_.Fill(columns_, k, end - k);
      const size_t lanes = hn::Lanes(DF());
      for (size_t i = 0; i < kPanel; i += 2 * lanes) {
        if (2 * lanes <= kPanel) {
          AddHalves<kDType, R, 2>(panel_, i, t_.a + k * R, end - k, k == begin, chunk);
        } else {
          AddHalves<kDType, R, 1>(panel_, i, t_.a + k * R, end - k, k == begin, chunk);
        }
      }
    }
    if (end == chunk_end) sums_.Add(R, c, kTogether, begin == 0);
  }

  const FewRows& t_;
  const Element* b_;
  ptrdiff_t b_stride_;
  const Element* columns_[kPanel];
  HalvesPanel panel_;
  Sums sums_;
};

template <DType kDType>
void TimesColumns(const FewRows& t, const void* b, ptrdiff_t b_stride) {
  RowsTimesColumns<kDType>(t, b, b_stride).Run();
}

}  // namespace

constexpr FewRowsKernels kKernels = {
    {&TimesPanels<DType::kF32>, IsBuilt(DType::kF16) ? &TimesPanels<DType::kF16> : nullptr,
     IsBuilt(DType::kBF16) ? &TimesPanels<DType::kBF16> : nullptr,
     IsBuilt(DType::kInt8) ? &TimesPanels<DType::kInt8> : nullptr,
     IsBuilt(DType::kInt4) ? &TimesPanels<DType::kInt4> : nullptr},
    {&TimesRows<DType::kF32>, IsBuilt(DType::kF16) ? &TimesRows<DType::kF16> : nullptr,
     IsBuilt(DType::kBF16) ? &TimesRows<DType::kBF16> : nullptr, nullptr, nullptr},
    {&TimesColumns<DType::kF32>, IsBuilt(DType::kF16) ? &TimesColumns<DType::kF16> : nullptr,
     IsBuilt(DType::kBF16) ? &TimesColumns<DType::kBF16> : nullptr, nullptr, nullptr}};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(FewRowsKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
