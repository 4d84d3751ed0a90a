#include "src/kernels/few_rows.h"

#include <algorithm>
#include <atomic>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/few_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
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

  // total = chunk, or total + chunk, of whole vectors.
  HWY_INLINE void Add(size_t rows, size_t columns, bool first) {
    const DF d;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t i = r * kColumns; i < r * kColumns + columns; i += hn::Lanes(d)) {
        const VF sum = hn::LoadU(d, chunk + i);
        hn::StoreU(first ? sum : hn::Add(hn::LoadU(d, total + i), sum), d, total + i);
      }
    }
  }
};

// c[:, first .. first + kPanel) = total (+ bias), as far as there are columns.
HWY_INLINE void WriteTotals(const FewRows& t, const float* HWY_RESTRICT total, size_t first) {
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

template <Columns kColumnsOf = Columns::kBoth, class Prefetch>
HWY_INLINE void RunTile(size_t rows, const float* a, const PanelPair& b, EveryStep steps,
                        const TileSums& sums, const Prefetch& prefetch) {
  switch (rows) {
    case 1:
      return MultiplyTile<1, 1, 1, kColumnsOf>(a, a, b.b0, b.b1, steps, sums, prefetch);
    case 2:
      return MultiplyTile<2, 1, 2, kColumnsOf>(a, a, b.b0, b.b1, steps, sums, prefetch);
    case 3:
      return MultiplyTile<3, 1, 3, kColumnsOf>(a, a, b.b0, b.b1, steps, sums, prefetch);
    case 4:
      return MultiplyTile<4, 1, 4, kColumnsOf>(a, a, b.b0, b.b1, steps, sums, prefetch);
    default:
      return MultiplyTile<5, 1, 5, kColumnsOf>(a, a, b.b0, b.b1, steps, sums, prefetch);
  }
}

// Up to four panels in turns: sums pass through L1. More rows than one leave the core less room to
// look ahead, so lines are asked for.
HWY_NOINLINE void PanelsInTurns(const FewRows& t, const float* b, size_t panel_stride,
                                size_t panels, Sums* sums) {
  constexpr size_t kAhead = 2 * kTurn * kPanel;
  const size_t columns = panels * kPanel;
  for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
    const size_t end = std::min(t.depth, k0 + kSumChunk);
    for (size_t k = k0; k < end; k += kTurn) {
      const EveryStep steps{k, std::min(end, k + kTurn)};
      const bool ahead = t.rows > 1 && steps.end * kPanel + kAhead <= t.depth * kPanel;
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
    sums->Add(t.rows, columns, k0 == 0);
  }
}

// Four panels of kEach vectors and one row: all sums in registers.
template <size_t kEach>
HWY_NOINLINE void OneRowTimesPanels(const FewRows& t, const float* HWY_RESTRICT b,
                                    size_t panel_stride, float* HWY_RESTRICT total) {
  static_assert(kEach == 1 || kEach == 2);
  const DF d;
  const size_t lanes = hn::Lanes(d);
  const float* HWY_RESTRICT a = t.a;
  const float* HWY_RESTRICT b0 = b;
  const float* HWY_RESTRICT b1 = b0 + panel_stride;
  const float* HWY_RESTRICT b2 = b1 + panel_stride;
  const float* HWY_RESTRICT b3 = b2 + panel_stride;
  for (size_t k = 0; k < t.depth;) {
    const bool first = k == 0;
    const size_t end = std::min(t.depth, k + kSumChunk);
    VF s00 = hn::Zero(d), s10 = s00, s20 = s00, s30 = s00;
    VF s01 = s00, s11 = s00, s21 = s00, s31 = s00;
    constexpr size_t kLines = 4;  // of a panel before the next
    for (; k + kLines <= end; k += kLines) {
      const VF a0 = hn::Set(d, a[k]), a1 = hn::Set(d, a[k + 1]);
      const VF a2 = hn::Set(d, a[k + 2]), a3 = hn::Set(d, a[k + 3]);
      const auto lines = [&](const float* HWY_RESTRICT from, VF& s0, VF& s1) HEED_INLINE_LAMBDA {
        from += k * kPanel;
        const auto line = [&](VF x, const float* HWY_RESTRICT at) HEED_INLINE_LAMBDA {
          s0 = hn::MulAdd(x, hn::LoadU(d, at), s0);
          if constexpr (kEach > 1) s1 = hn::MulAdd(x, hn::LoadU(d, at + lanes), s1);
        };
        line(a0, from);
        line(a1, from + kPanel);
        line(a2, from + 2 * kPanel);
        line(a3, from + 3 * kPanel);
        // Not one line of each panel in turn, as compilers like it.
        std::atomic_signal_fence(std::memory_order_seq_cst);
      };
      lines(b0, s00, s01);
      lines(b1, s10, s11);
      lines(b2, s20, s21);
      lines(b3, s30, s31);
    }
    for (; k < end; ++k) {
      const VF x = hn::Set(d, a[k]);
      const auto line = [&](const float* HWY_RESTRICT from, VF& s0, VF& s1) HEED_INLINE_LAMBDA {
        from += k * kPanel;
        s0 = hn::MulAdd(x, hn::LoadU(d, from), s0);
        if constexpr (kEach > 1) s1 = hn::MulAdd(x, hn::LoadU(d, from + lanes), s1);
      };
      line(b0, s00, s01);
      line(b1, s10, s11);
      line(b2, s20, s21);
      line(b3, s30, s31);
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

void TimesPanels(const FewRows& t, const Panels& b, size_t begin, size_t end) {
  const size_t lanes = hn::Lanes(DF());
  const size_t panels = CeilDiv(t.columns, kPanel), apart = PanelGroups(t.columns);
  const size_t panel_stride = apart * t.depth * kPanel;
  Sums sums;
  for (size_t group = begin; group < end; ++group) {
    const size_t count = CeilDiv(panels - group, apart);
    const float* at = b.f32() + group * t.depth * kPanel;
    const bool all = t.rows == 1 && count == kPanelsTogether;
    if (all && lanes == kPanel) {
      OneRowTimesPanels<1>(t, at, panel_stride, sums.total);
    } else if (all && 2 * lanes == kPanel) {
      OneRowTimesPanels<2>(t, at, panel_stride, sums.total);
    } else {
      PanelsInTurns(t, at, panel_stride, count, &sums);
    }
    for (size_t i = 0; i < count; ++i) {
      WriteTotals(t, sums.total + i * kPanel, (group + i * apart) * kPanel);
    }
  }
}

// One row of a turn of rows of b: sums = sums (or 0) + a b, for whole groups of kColumns columns.
template <size_t kVectors, size_t kSteps = 0>
HWY_NOINLINE void AddRows(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                          ptrdiff_t b_stride, size_t any_steps, size_t columns, bool first,
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
    const float* HWY_RESTRICT at = b + c;
    const size_t steps = kSteps > 0 ? kSteps : any_steps;
#pragma GCC unroll 16
    for (size_t k = 0; k < steps; ++k, at += b_stride) {
      const VF x = hn::Set(d, a[k]);
      s0 = hn::MulAdd(x, hn::LoadU(d, at), s0);
      s1 = hn::MulAdd(x, hn::LoadU(d, at + lanes), s1);
      s2 = hn::MulAdd(x, hn::LoadU(d, at + 2 * lanes), s2);
      s3 = hn::MulAdd(x, hn::LoadU(d, at + 3 * lanes), s3);
      if constexpr (kVectors == 8) {
        s4 = hn::MulAdd(x, hn::LoadU(d, at + 4 * lanes), s4);
        s5 = hn::MulAdd(x, hn::LoadU(d, at + 5 * lanes), s5);
        s6 = hn::MulAdd(x, hn::LoadU(d, at + 6 * lanes), s6);
        s7 = hn::MulAdd(x, hn::LoadU(d, at + 7 * lanes), s7);
      }
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

// A piece of a plain b as panels, in L1.
struct Piece {
  alignas(64) float panels[kPanelsTogether][kTurn * kPanel];

  // `steps` rows of up to kColumns columns; zeros behind them.
  HWY_INLINE void CopyRows(const float* b, ptrdiff_t b_stride, size_t steps, size_t columns) {
    const DF d;
    const size_t lanes = hn::Lanes(d);
    for (size_t k = 0; k < steps; ++k, b += b_stride) {
      for (size_t c = 0; c < kColumns; c += lanes) {
        float* to = &panels[c / kPanel][k * kPanel + c % kPanel];
        hn::StoreU(c + lanes <= columns ? hn::LoadU(d, b + c)
                   : c < columns        ? hn::LoadN(d, b + c, columns - c)
                                        : hn::Zero(d),
                   d, to);
      }
    }
  }
};

// As many rows of b are read side by side as a turn has steps: rows may be short, and every page is
// a stream that begins anew.
void TimesRows(const FewRows& t, const float* b, ptrdiff_t b_stride, float* sums) {
  constexpr size_t kAhead = 8 * kLineFloats;
  const size_t lanes = hn::Lanes(DF()), width = RoundUp(t.columns, kColumns);
  Piece piece;
  for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
    const size_t chunk_end = std::min(t.depth, k0 + kSumChunk);
    for (size_t k = k0; k < chunk_end; k += kTurn) {
      const size_t steps = std::min(kTurn, chunk_end - k);
      const float* rows = b + static_cast<ptrdiff_t>(k) * b_stride;
      const float* a = t.a + k * t.rows;
      size_t c = 0;
      if (t.rows == 1) {
        const size_t whole = t.columns / kColumns * kColumns;
        c = whole;
        if (lanes == kPanel && steps == kTurn) {
          AddRows<4, kTurn>(a, rows, b_stride, steps, whole, k == k0, sums);
        } else if (steps == kTurn) {
          AddRows<8, kTurn>(a, rows, b_stride, steps, whole, k == k0, sums);
        } else if (lanes == kPanel) {
          AddRows<4>(a, rows, b_stride, steps, whole, k == k0, sums);
        } else {
          AddRows<8>(a, rows, b_stride, steps, whole, k == k0, sums);
        }
      }
      for (; c < t.columns; c += kColumns) {
        const size_t columns = std::min(kColumns, t.columns - c);
        if (c + kAhead + kColumns <= t.columns) {
          for (size_t i = 0; i < kColumns; i += kLineFloats) {
            PrefetchColumn(rows + c + kAhead + i, b_stride, steps);
          }
        }
        piece.CopyRows(rows + c, b_stride, steps, columns);
        for (size_t i = 0; i < columns; i += TileColumns()) {
          RunTile(t.rows, a, PanelsAt({piece.panels[0]}, kTurn * kPanel, kPanelsTogether, i),
                  EveryStep{0, steps}, {sums + c + i, width, k == k0}, NoPrefetch());
        }
      }
    }
    for (size_t r = 0; r < t.rows; ++r) {
      const float* HWY_RESTRICT chunk = sums + r * width;
      float* HWY_RESTRICT to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride;
      for (size_t c = 0; c < t.columns; ++c) to[c] = k0 == 0 ? chunk[c] : to[c] + chunk[c];
      if (chunk_end < t.depth || t.bias == nullptr) continue;
      for (size_t c = 0; c < t.columns; ++c) to[c] += t.bias[c];
    }
  }
}

// panel[k * kPanel + c] = columns[c][k] for k, c < 4.
HWY_INLINE void TransposeSquare(const float* const* columns, size_t k, float* panel) {
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR  // pairs of floats move as doubles
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  const auto c0 = hn::LoadU(d, columns[0] + k), c1 = hn::LoadU(d, columns[1] + k);
  const auto c2 = hn::LoadU(d, columns[2] + k), c3 = hn::LoadU(d, columns[3] + k);
  const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, c0, c1));
  const auto high01 = hn::BitCast(wide, hn::InterleaveUpper(d, c0, c1));
  const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, c2, c3));
  const auto high23 = hn::BitCast(wide, hn::InterleaveUpper(d, c2, c3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, low01, low23)), d, panel);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, low01, low23)), d, panel + kPanel);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, high01, high23)), d, panel + 2 * kPanel);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, high01, high23)), d, panel + 3 * kPanel);
#else
  for (size_t i = 0; i < 4; ++i) {
    for (size_t c = 0; c < 4; ++c) panel[i * kPanel + c] = columns[c][k + i];
  }
#endif
}

// panel[k - begin] = columns[..][k] for k in [begin, end).
HWY_INLINE void TransposeColumns(const float* const* columns, size_t begin, size_t end,
                                 float* panel) {
  const size_t steps = end - begin;
  for (size_t c = 0; c < kPanel; c += 4) {
    size_t i = 0;
    for (; i + 4 <= steps; i += 4) {
      TransposeSquare(columns + c, begin + i, panel + i * kPanel + c);
    }
    for (; i < steps; ++i) {
      for (size_t j = c; j < c + 4; ++j) panel[i * kPanel + j] = columns[j][begin + i];
    }
  }
}

// Each column is a stream: a line of each is turned over into a piece of a panel in L1 and
// multiplied at once.
void TimesColumns(const FewRows& t, const float* b, ptrdiff_t b_stride) {
  constexpr size_t kAhead = 4 * kLineFloats;
  const size_t lanes = hn::Lanes(DF());
  Sums sums;
  alignas(64) float panel[kTurn * kPanel];
  for (size_t c0 = 0; c0 < t.columns; c0 += kPanel) {
    const float* columns[kPanel];
    for (size_t c = 0; c < kPanel; ++c) {  // past the last one it again, and is not used
      columns[c] = b + static_cast<ptrdiff_t>(std::min(c0 + c, t.columns - 1)) * b_stride;
    }
    for (size_t k0 = 0; k0 < t.depth; k0 += kSumChunk) {
      const size_t chunk_end = std::min(t.depth, k0 + kSumChunk);
      for (size_t k = k0; k < chunk_end; k += kTurn) {
        const size_t end = std::min(chunk_end, k + kTurn);
        if (end + kAhead <= t.depth) {
          for (const float* column : columns) PrefetchToL1(column + k + kAhead);
        }
        if (end == k + kTurn) {
          TransposeColumns(columns, k, k + kTurn, panel);
        } else {
          TransposeColumns(columns, k, end, panel);
        }
        const EveryStep steps{0, end - k};
        const float* a = t.a + k * t.rows;
        if (lanes == kPanel) {
          RunTile<Columns::kFirst>(t.rows, a, {panel, panel}, steps,
                                   {sums.chunk, kColumns, k == k0}, NoPrefetch());
          continue;
        }
        for (size_t c = 0; c < kPanel; c += 2 * lanes) {
          RunTile(t.rows, a, {panel + c, panel + c + lanes}, steps,
                  {sums.chunk + c, kColumns, k == k0}, NoPrefetch());
        }
      }
      sums.Add(t.rows, kPanel, k0 == 0);
    }
    WriteTotals(t, sums.total, c0);
  }
}

}  // namespace

constexpr FewRowsKernels kKernels = {&TimesPanels, &TimesRows, &TimesColumns};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

HEED_DISPATCH(FewRowsKernels)

}  // namespace heed
#endif  // HWY_ONCE
