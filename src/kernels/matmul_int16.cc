#include "src/kernels/matmul_int16.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "src/base/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/matmul_int16.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/int16-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"
#include "src/kernels/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace {

// Rows of a tile. 12 rows where there are registers for them and a sum takes one: on other targets
// than x86, products of the two halves of a word may be summed apart.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr size_t kRows = 2 * kTileRows;
#else
constexpr size_t kRows = kTileRows;
#endif

// Rows of the next tile when `left` are left; the last ones are shared out evenly.
size_t NextRows(size_t left) {
  constexpr size_t kFewest = 4;
  if (left == kRows || left >= kRows + kFewest) return kRows;
  return CeilDiv(left, CeilDiv(left, kTileRows));
}

// The codes of `rows` rows, at most a tile's, as words.
HWY_INLINE void WordsOfTile(const uint16_t* HWY_RESTRICT codes, size_t rows, size_t pairs,
                            int32_t* HWY_RESTRICT to) {
  for (size_t r = 0; r < rows; ++r, codes += kSumChunk) {
    for (size_t i = 0; i < pairs; ++i) {
      to[i * rows + r] = static_cast<int32_t>(codes[2 * i] | uint32_t{codes[2 * i + 1]} << 16);
    }
  }
}

void Quantize(const QuantizeInt16& t) {
  HWY_ALIGN uint16_t codes[kTileRows * kSumChunk];
  HWY_ALIGN float copy[kSumChunk];
  const size_t pairs = PairsOf(t.depth), padded = RoundUp(t.depth, kPanel);
  const bool in_place = t.k_stride == 1 && padded == t.depth;
  std::fill(copy + t.depth, copy + padded, 0.0f);
  for (size_t r = 0, rows; r < t.rows; r += rows) {
    rows = NextRows(t.rows - r);
    for (size_t first = r; first < r + rows; first += kTileRows) {
      const size_t width = std::min(kTileRows, r + rows - first);
      for (size_t i = 0; i < width; ++i) {
        const float* x = t.a + static_cast<ptrdiff_t>(first + i) * t.row_stride;
        if (!in_place) {
          for (size_t k = 0; k < t.depth; ++k) copy[k] = x[static_cast<ptrdiff_t>(k) * t.k_stride];
          x = copy;
        }
        t.scales[first + i] = CodesOfChunk(x, padded, codes + i * kSumChunk);
      }
      WordsOfTile(codes, width, pairs, t.codes + first * pairs);
    }
  }
}

HWY_INLINE VI Word(VI first, VI second) {
  return hn::Or(hn::And(first, hn::Set(DI(), 0xFFFF)), hn::ShiftLeft<16>(second));
}

HWY_INLINE VI LoadBytes(const uint8_t* HWY_RESTRICT at) {
  const hn::Rebind<int8_t, DI> d8;
  return hn::PromoteTo(DI(), hn::LoadU(d8, reinterpret_cast<const int8_t*>(at)));
}

void WidenInt8(const uint8_t* HWY_RESTRICT at, size_t depth, int32_t* HWY_RESTRICT to) {
  const size_t lanes = hn::Lanes(DI());
  for (size_t k = 0; k + 2 <= depth; k += 2, at += 2 * kPanel, to += kPanel) {
    for (size_t c = 0; c < kPanel; c += lanes) {
      hn::StoreU(Word(LoadBytes(at + c), LoadBytes(at + kPanel + c)), DI(), to + c);
    }
  }
  for (size_t c = 0; depth % 2 == 1 && c < kPanel; c += lanes) {
    hn::StoreU(Word(LoadBytes(at + c), hn::Zero(DI())), DI(), to + c);
  }
}

void WidenInt4(const uint8_t* HWY_RESTRICT at, size_t pairs, int32_t* HWY_RESTRICT to) {
  for (size_t i = 0; i < pairs; ++i, at += kPanel, to += kPanel) {
    for (size_t c = 0; c < kPanel; c += hn::Lanes(DI())) {
      const VI bytes = LoadBytes(at + c);
      hn::StoreU(Word(hn::ShiftRight<28>(hn::ShiftLeft<28>(bytes)), hn::ShiftRight<4>(bytes)), DI(),
                 to + c);
    }
  }
}

template <DType kDType>
void Widen(const WidenInt16& t) {
  const DF d;
  const Scales& scales = t.from.scales;
  const size_t pairs = PairsOf(t.depth);
  for (size_t p = 0; p < t.panels; ++p) {
    const size_t panel = t.first + p;
    const uint8_t* from = t.from.bytes() + panel * t.stride + t.begin * BytesOfStep(kDType);
    int32_t* to = t.codes + p * pairs * kPanel;
    if constexpr (kDType == DType::kInt8) {
      WidenInt8(from, t.depth, to);
    } else {
      WidenInt4(from, pairs, to);
    }
    float* scale = t.scales + p * kPanel;
    for (size_t k = t.begin; k < t.begin + t.depth; scale += kColumnPad) {
      for (size_t c = 0; c < kPanel; c += hn::Lanes(d)) {
        hn::StoreU(LoadScales<kDType>(scales, panel * scales.panel_stride +
                                                  k / scales.group * scales.group_stride + c),
                   d, scale + c);
      }
      k = k / scales.group * scales.group + scales.group;
    }
  }
}

// Of the groups of a chunk. A row's sums of earlier groups wait in `sums`.
struct PairTile {
  const int32_t* a;  // its rows from 0 on, and from 6 on
  const int32_t* a6;
  const float* a_scales;
  const int32_t* b0;  // vectors of columns
  const int32_t* b1;
  const float* b_scales;
  size_t pairs, group;  // words of a row, and those that share a scale
  float* c;
  ptrdiff_t c_stride;
  bool first;
  const float* bias;

  // float(sum) * scale of the group, group after group.
  HWY_INLINE VF Add(bool first_group, const float* sums, const float* scale, VI codes) const {
    const DF d;
    const VF product = hn::Mul(hn::ConvertTo(d, codes), hn::LoadU(d, scale));
    return hn::Add(first_group ? hn::Zero(d) : hn::LoadU(d, sums), product);
  }
  HWY_INLINE void Store(size_t r, VF t0, VF t1) const {
    const DF d;
    const size_t lanes = hn::Lanes(d);
    float* HWY_RESTRICT to = c + static_cast<ptrdiff_t>(r) * c_stride;
    const VF scale = hn::Set(d, a_scales[r]);
    VF c0 = hn::Zero(d), c1 = c0;
    if (!first) {
      c0 = hn::LoadU(d, to);
      c1 = hn::LoadU(d, to + lanes);
    }
    c0 = hn::Add(c0, hn::Mul(t0, scale));
    c1 = hn::Add(c1, hn::Mul(t1, scale));
    if (bias != nullptr) {
      c0 = hn::Add(c0, hn::LoadU(d, bias));
      c1 = hn::Add(c1, hn::LoadU(d, bias + lanes));
    }
    hn::StoreU(c0, d, to);
    hn::StoreU(c1, d, to + lanes);
  }
};

HWY_INLINE void StepRow(int32_t a, VI b0, VI b1, VI& c0, VI& c1, VI& odd0, VI& odd1) {
  const VI broadcast = hn::Set(DI(), a);
  AddProducts(broadcast, b0, c0, odd0);
  AddProducts(broadcast, b1, c1, odd1);
  KeepOrder(c0, c1);
}

struct Int16Tile {
  template <size_t R>
  static HWY_INLINE void Run(const PairTile& t) {
    constexpr size_t kLow = R < kTileRows ? R : kTileRows, kHigh = R - kLow;
    const DI d;
    const size_t lanes = hn::Lanes(d);
    HWY_ALIGN float waiting[R * kColumnPad];
    const float* b_scales = t.b_scales;
    for (size_t r = 0; r < R; ++r) {
      PrefetchForWriting(t.c + static_cast<ptrdiff_t>(r) * t.c_stride);
    }
    for (size_t begin = 0; begin < t.pairs; begin += t.group, b_scales += kColumnPad) {
      const size_t end = std::min(begin + t.group, t.pairs);
      VI c00 = hn::Zero(d), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
      VI c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
      VI c60 = c00, c61 = c00, c70 = c00, c71 = c00, c80 = c00, c81 = c00;
      VI c90 = c00, c91 = c00, cA0 = c00, cA1 = c00, cB0 = c00, cB1 = c00;
      VI o00 = c00, o01 = c00, o10 = c00, o11 = c00, o20 = c00, o21 = c00;
      VI o30 = c00, o31 = c00, o40 = c00, o41 = c00, o50 = c00, o51 = c00;
      VI none = c00;  // where sums have no second part
      for (size_t k = begin; k < end; ++k) {
        const VI b0 = hn::LoadU(d, t.b0 + k * kPanel);
        const VI b1 = hn::LoadU(d, t.b1 + k * kPanel);
        const int32_t* HWY_RESTRICT low = t.a + k * kLow;
        StepRow(low[0], b0, b1, c00, c01, o00, o01);
        if constexpr (R > 1) StepRow(low[1], b0, b1, c10, c11, o10, o11);
        if constexpr (R > 2) StepRow(low[2], b0, b1, c20, c21, o20, o21);
        if constexpr (R > 3) StepRow(low[3], b0, b1, c30, c31, o30, o31);
        if constexpr (R > 4) StepRow(low[4], b0, b1, c40, c41, o40, o41);
        if constexpr (R > 5) StepRow(low[5], b0, b1, c50, c51, o50, o51);
        if constexpr (kHigh > 0) {
          const int32_t* HWY_RESTRICT high = t.a6 + k * kTileRows;
          StepRow(high[0], b0, b1, c60, c61, none, none);
          StepRow(high[1], b0, b1, c70, c71, none, none);
          StepRow(high[2], b0, b1, c80, c81, none, none);
          StepRow(high[3], b0, b1, c90, c91, none, none);
          StepRow(high[4], b0, b1, cA0, cA1, none, none);
          StepRow(high[5], b0, b1, cB0, cB1, none, none);
        }
      }
      const auto finish = [&](size_t r, VI sum0, VI sum1) HEED_INLINE_LAMBDA {
        float* sums = waiting + r * kColumnPad;
        const VF t0 = t.Add(begin == 0, sums, b_scales, sum0);
        const VF t1 = t.Add(begin == 0, sums + lanes, b_scales + lanes, sum1);
        if (end == t.pairs) {
          t.Store(r, t0, t1);
        } else {
          hn::StoreU(t0, DF(), sums);
          hn::StoreU(t1, DF(), sums + lanes);
        }
      };
      finish(0, SumOf(c00, o00), SumOf(c01, o01));
      if constexpr (R > 1) finish(1, SumOf(c10, o10), SumOf(c11, o11));
      if constexpr (R > 2) finish(2, SumOf(c20, o20), SumOf(c21, o21));
      if constexpr (R > 3) finish(3, SumOf(c30, o30), SumOf(c31, o31));
      if constexpr (R > 4) finish(4, SumOf(c40, o40), SumOf(c41, o41));
      if constexpr (R > 5) finish(5, SumOf(c50, o50), SumOf(c51, o51));
      if constexpr (kHigh > 0) {
        finish(6, c60, c61);
        finish(7, c70, c71);
        finish(8, c80, c81);
        finish(9, c90, c91);
        finish(10, cA0, cA1);
        finish(11, cB0, cB1);
      }
    }
  }
};

HWY_NOINLINE void RunTile(size_t rows, const PairTile& tile) {
  switch (rows) {
    case 2 * kTileRows:
      if constexpr (kRows == 2 * kTileRows) Int16Tile::Run<2 * kTileRows>(tile);
      return;
    case 6:
      return Int16Tile::Run<6>(tile);
    case 5:
      return Int16Tile::Run<5>(tile);
    case 4:
      return Int16Tile::Run<4>(tile);
    case 3:
      return Int16Tile::Run<3>(tile);
    case 2:
      return Int16Tile::Run<2>(tile);
    default:
      return Int16Tile::Run<1>(tile);
  }
}

// A tile that hangs over c's last column: computed in a copy of its own.
HWY_NOINLINE void EdgeTile(const PairTile& tile, size_t rows, size_t columns) {
  const size_t width = TileColumns();
  float copy[kRows * kColumnPad] = {};
  float bias[kColumnPad] = {};
  for (size_t i = 0; i < rows && !tile.first; ++i) {
    std::copy_n(tile.c + static_cast<ptrdiff_t>(i) * tile.c_stride, columns, copy + i * width);
  }
  PairTile inner = tile;
  inner.c = copy;
  inner.c_stride = static_cast<ptrdiff_t>(width);
  if (tile.bias != nullptr) {
    std::copy_n(tile.bias, columns, bias);
    inner.bias = bias;
  }
  RunTile(rows, inner);
  for (size_t i = 0; i < rows; ++i) {
    std::copy_n(copy + i * width, columns, tile.c + static_cast<ptrdiff_t>(i) * tile.c_stride);
  }
}

void Block(const MatmulInt16Block& t) {
  const size_t width = TileColumns(), lanes = hn::Lanes(DF()), pairs = PairsOf(t.depth);
  const auto panel_at = [&](size_t c) { return t.b + c / kPanel * pairs * kPanel + c % kPanel; };
  for (size_t c = 0; c < t.columns; c += width) {
    PairTile tile;
    tile.b0 = panel_at(c);
    tile.b1 = panel_at(c + lanes);
    tile.b_scales = t.b_scales + c;
    tile.pairs = pairs;
    tile.group = t.group < t.depth ? t.group / 2 : pairs;
    tile.c_stride = t.c_stride;
    tile.first = t.first;
    tile.bias = t.bias != nullptr ? t.bias + c : nullptr;
    for (size_t r = 0, rows; r < t.rows; r += rows) {
      rows = NextRows(t.rows - r);
      tile.a = t.a + r * pairs;
      tile.a6 = tile.a + kTileRows * pairs;
      tile.a_scales = t.a_scales + r;
      tile.c = t.c + static_cast<ptrdiff_t>(r) * t.c_stride + c;
      if (c + width > t.columns) {
        EdgeTile(tile, rows, t.columns - c);
      } else {
        RunTile(rows, tile);
      }
    }
  }
}

}  // namespace

constexpr MatmulInt16Kernels kKernels = {
    kCodesAreBuilt ? &Quantize : nullptr,
    {nullptr, nullptr, nullptr, IsBuilt(DType::kInt8) ? &Widen<DType::kInt8> : nullptr,
     IsBuilt(DType::kInt4) ? &Widen<DType::kInt4> : nullptr},
    kCodesAreBuilt ? &Block : nullptr};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(MatmulInt16Kernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
