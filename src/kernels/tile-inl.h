// The register tile that matmul, q.k and p.v share.
#if defined(HEED_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_TILE_INL_H_
#undef HEED_TILE_INL_H_
#else
#define HEED_TILE_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/layout.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors run along columns, never more than a panel is wide.
using DF = hn::CappedTag<float, kPanel>;
using VF = hn::VFromD<DF>;

// Columns of a register tile: two vectors. With 6 rows that is 12 accumulators, enough to hide the
// latency of two fma a cycle, and with two of b and a broadcast it fills the 16 registers of AVX2.
HWY_INLINE size_t TileColumns() { return 2 * hn::Lanes(DF()); }

// c[r] = fma chain over k < depth, ascending, of a[r * kRowStep + k * kDepthStep] * b[k], for R <=
// kTileRows rows and two vectors of columns; b0 and b1 point at them and step by a panel's width.
// `rows.Load(d, r, c0, c1)` gives the start of row r's chain, `rows.Store` takes its end.
// Accumulators are named because scalable vectors can't be array elements; those of rows >= R
// vanish.
template <size_t R, size_t kRowStep, size_t kDepthStep, class Rows>
HWY_INLINE void MultiplyTile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b0,
                             const float* HWY_RESTRICT b1, size_t depth, const Rows& rows) {
  static_assert(R >= 1 && R <= kTileRows);
  const DF d;
  VF c00 = hn::Zero(d), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  VF c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  rows.Load(d, 0, c00, c01);
  if constexpr (R > 1) rows.Load(d, 1, c10, c11);
  if constexpr (R > 2) rows.Load(d, 2, c20, c21);
  if constexpr (R > 3) rows.Load(d, 3, c30, c31);
  if constexpr (R > 4) rows.Load(d, 4, c40, c41);
  if constexpr (R > 5) rows.Load(d, 5, c50, c51);
  for (size_t k = 0; k < depth; ++k) {
    const VF v0 = hn::LoadU(d, b0 + k * kPanel);
    const VF v1 = hn::LoadU(d, b1 + k * kPanel);
    const float* HWY_RESTRICT ak = a + k * kDepthStep;
    VF ar = hn::Set(d, ak[0]);
    c00 = hn::MulAdd(ar, v0, c00);
    c01 = hn::MulAdd(ar, v1, c01);
    if constexpr (R > 1) {
      ar = hn::Set(d, ak[1 * kRowStep]);
      c10 = hn::MulAdd(ar, v0, c10);
      c11 = hn::MulAdd(ar, v1, c11);
    }
    if constexpr (R > 2) {
      ar = hn::Set(d, ak[2 * kRowStep]);
      c20 = hn::MulAdd(ar, v0, c20);
      c21 = hn::MulAdd(ar, v1, c21);
    }
    if constexpr (R > 3) {
      ar = hn::Set(d, ak[3 * kRowStep]);
      c30 = hn::MulAdd(ar, v0, c30);
      c31 = hn::MulAdd(ar, v1, c31);
    }
    if constexpr (R > 4) {
      ar = hn::Set(d, ak[4 * kRowStep]);
      c40 = hn::MulAdd(ar, v0, c40);
      c41 = hn::MulAdd(ar, v1, c41);
    }
    if constexpr (R > 5) {
      ar = hn::Set(d, ak[5 * kRowStep]);
      c50 = hn::MulAdd(ar, v0, c50);
      c51 = hn::MulAdd(ar, v1, c51);
    }
  }
  rows.Store(d, 0, c00, c01);
  if constexpr (R > 1) rows.Store(d, 1, c10, c11);
  if constexpr (R > 2) rows.Store(d, 2, c20, c21);
  if constexpr (R > 3) rows.Store(d, 3, c30, c31);
  if constexpr (R > 4) rows.Store(d, 4, c40, c41);
  if constexpr (R > 5) rows.Store(d, 5, c50, c51);
}

// Calls Op::Run<R>(args...) with R = rows, which must be 1 to kTileRows.
template <class Op, class... Args>
HWY_INLINE void WithTileRows(size_t rows, const Args&... args) {
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

// Where a tile's two vectors begin in b's panels, for columns [c, c + TileColumns()). `panels` is
// how many there are: past the last one the second vector reads the first's panel again, and is not
// used.
struct PanelPair {
  const float* b0;
  const float* b1;
};
HWY_INLINE PanelPair PanelsAt(const float* b, size_t panel_stride, size_t panels, size_t c) {
  const size_t c1 = c + hn::Lanes(DF());
  const float* b0 = b + c / kPanel * panel_stride + c % kPanel;
  const float* b1 = c1 / kPanel < panels ? b + c1 / kPanel * panel_stride + c1 % kPanel : b0;
  return {b0, b1};
}

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_TILE_INL_H_
