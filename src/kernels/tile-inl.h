// The register tile that matmul, q.k and p.v share.
#include <algorithm>

#if defined(HEED_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_TILE_INL_H_
#undef HEED_TILE_INL_H_
#else
#define HEED_TILE_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/inline_lambda.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors run along columns, never more than a panel is wide.
using DF = hn::CappedTag<float, kPanel>;
using VF = hn::VFromD<DF>;

// Columns of a register tile: two vectors.
HWY_INLINE size_t TileColumns() { return 2 * hn::Lanes(DF()); }

// Rows of a register tile. 6 by two vectors are 12 accumulators, enough to hide the latency of two
// fma a cycle, and with two vectors of b and a broadcast they fill 16 registers. Where there are
// 32, 12 rows halve how often b is loaded.
#if (HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3) || HWY_ARCH_ARM_V7 || HWY_ARCH_WASM || \
    HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
constexpr size_t kRegisterRows = kTileRows;
#else
constexpr size_t kRegisterRows = 2 * kTileRows;
#endif
static_assert(kRegisterRows <= kMaxRegisterRows);

// Rows of the next tile when `left` are left.
HWY_INLINE size_t NextTileRows(size_t left) {
  return left >= kRegisterRows ? kRegisterRows : std::min(left, kTileRows);
}

// Where a tile's two vectors begin in b's panels, for columns [c, c + TileColumns()). `panels` is
// how many there are: past the last one the second vector reads the first's panel again, and is not
// used.
struct PanelPair {
  const float* b0;
  const float* b1;
};
HWY_INLINE PanelPair PanelsAt(const Panels& of, size_t panel_stride, size_t panels, size_t c) {
  const float* b = of.f32();
  const size_t c1 = c + hn::Lanes(DF());
  const float* b0 = b + c / kPanel * panel_stride + c % kPanel;
  const float* b1 = c1 / kPanel < panels ? b + c1 / kPanel * panel_stride + c1 % kPanel : b0;
  return {b0, b1};
}

// The steps [begin, end) of a tile's chains.
struct Steps {
  size_t begin, end;
};

// Which vectors of columns a tile computes.
enum class Columns { kBoth, kFirst };

template <Columns kColumns>
HWY_INLINE void StepRow(float a, VF v0, VF v1, VF& c0, VF& c1) {
  const VF broadcast = hn::Set(DF(), a);
  c0 = hn::MulAdd(broadcast, v0, c0);
  if constexpr (kColumns == Columns::kBoth) c1 = hn::MulAdd(broadcast, v1, c1);
}

// The left operand's rows. Step k of row r is at [r * row_step + k * depth_step] of `low`, and of
// `high`, which is not read otherwise, for r - 6 from row 6 on.
struct LeftRows {
  const float* low;
  const float* high;
  size_t row_step, depth_step;
};

// c[r] = fma chain over the steps k, ascending, of a[r][k] * b[k], for R <= kRegisterRows rows and
// two vectors of columns. b0 and b1 point at them and step by a panel's width. `rows.Load(d, r, c0,
// c1)` gives the start of row r's chain, `rows.Store` takes its end; `prefetch.Step(k)` may
// prefetch, see prefetch-inl.h. Accumulators are named because scalable vectors can't be array
// elements; those of rows >= R vanish.
template <size_t R, Columns kColumns = Columns::kBoth, class Rows, class Prefetch>
HWY_INLINE void MultiplyTile(const LeftRows& a, const float* HWY_RESTRICT b0,
                             const float* HWY_RESTRICT b1, const Steps& steps, const Rows& rows,
                             const Prefetch& prefetch) {
  static_assert(R >= 1 && R <= kRegisterRows && (R <= kTileRows || R == 2 * kTileRows));
  constexpr size_t kLow = R < kTileRows ? R : kTileRows, kHigh = R - kLow;
  const DF d;
  VF c00 = hn::Zero(d), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  VF c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  VF c60 = c00, c61 = c00, c70 = c00, c71 = c00, c80 = c00, c81 = c00;
  VF c90 = c00, c91 = c00, cA0 = c00, cA1 = c00, cB0 = c00, cB1 = c00;
  rows.Load(d, 0, c00, c01);
  if constexpr (R > 1) rows.Load(d, 1, c10, c11);
  if constexpr (R > 2) rows.Load(d, 2, c20, c21);
  if constexpr (R > 3) rows.Load(d, 3, c30, c31);
  if constexpr (R > 4) rows.Load(d, 4, c40, c41);
  if constexpr (R > 5) rows.Load(d, 5, c50, c51);
  if constexpr (kHigh > 0) {
    rows.Load(d, 6, c60, c61);
    rows.Load(d, 7, c70, c71);
    rows.Load(d, 8, c80, c81);
    rows.Load(d, 9, c90, c91);
    rows.Load(d, 10, cA0, cA1);
    rows.Load(d, 11, cB0, cB1);
  }
  // The end of a loop of 16 rounds is predicted, that of one of 64 is not.
#pragma GCC unroll 4
  for (size_t k = steps.begin; k < steps.end; ++k) {
    prefetch.Step(k);
    const VF v0 = hn::LoadU(d, b0 + k * kPanel);
    const VF v1 = kColumns == Columns::kBoth ? hn::LoadU(d, b1 + k * kPanel) : v0;
    const float* HWY_RESTRICT low = a.low + k * a.depth_step;
    const float* HWY_RESTRICT high = a.high + k * a.depth_step;
    StepRow<kColumns>(low[0], v0, v1, c00, c01);
    if constexpr (R > 1) StepRow<kColumns>(low[1 * a.row_step], v0, v1, c10, c11);
    if constexpr (R > 2) StepRow<kColumns>(low[2 * a.row_step], v0, v1, c20, c21);
    if constexpr (R > 3) StepRow<kColumns>(low[3 * a.row_step], v0, v1, c30, c31);
    if constexpr (R > 4) StepRow<kColumns>(low[4 * a.row_step], v0, v1, c40, c41);
    if constexpr (R > 5) StepRow<kColumns>(low[5 * a.row_step], v0, v1, c50, c51);
    if constexpr (kHigh > 0) {
      StepRow<kColumns>(high[0], v0, v1, c60, c61);
      StepRow<kColumns>(high[1 * a.row_step], v0, v1, c70, c71);
      StepRow<kColumns>(high[2 * a.row_step], v0, v1, c80, c81);
      StepRow<kColumns>(high[3 * a.row_step], v0, v1, c90, c91);
      StepRow<kColumns>(high[4 * a.row_step], v0, v1, cA0, cA1);
      StepRow<kColumns>(high[5 * a.row_step], v0, v1, cB0, cB1);
    }
  }
  rows.Store(d, 0, c00, c01);
  if constexpr (R > 1) rows.Store(d, 1, c10, c11);
  if constexpr (R > 2) rows.Store(d, 2, c20, c21);
  if constexpr (R > 3) rows.Store(d, 3, c30, c31);
  if constexpr (R > 4) rows.Store(d, 4, c40, c41);
  if constexpr (R > 5) rows.Store(d, 5, c50, c51);
  if constexpr (kHigh > 0) {
    rows.Store(d, 6, c60, c61);
    rows.Store(d, 7, c70, c71);
    rows.Store(d, 8, c80, c81);
    rows.Store(d, 9, c90, c91);
    rows.Store(d, 10, cA0, cA1);
    rows.Store(d, 11, cB0, cB1);
  }
}

// Calls Op::Run<R>(args...) with R = rows, 1 to kTileRows.
template <class Op, class... Args>
HWY_INLINE void WithFewRows(size_t rows, const Args&... args) {
  switch (rows) {
    case 6:
      return Op::template Run<6>(args...);
    case 5:
      return Op::template Run<5>(args...);
    case 4:
      return Op::template Run<4>(args...);
    case 3:
      return Op::template Run<3>(args...);
    case 2:
      return Op::template Run<2>(args...);
    default:
      return Op::template Run<1>(args...);
  }
}

// The same of as many rows as NextTileRows gives.
template <class Op, class... Args>
HWY_INLINE void WithTileRows(size_t rows, const Args&... args) {
  if constexpr (kRegisterRows == 2 * kTileRows) {
    if (rows == 2 * kTileRows) return Op::template Run<2 * kTileRows>(args...);
  }
  WithFewRows<Op>(rows, args...);
}

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_TILE_INL_H_
