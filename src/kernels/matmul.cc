#include "src/kernels/matmul.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace {

// Adds a chunk to c, in the order of the contract: chunk, then bias.
struct ChunkRows {
  float* c;
  ptrdiff_t c_stride;
  bool first;
  const float* bias;

  // Chains start at 0; c is needed at their end.
  HWY_INLINE void Load(DF d, size_t r, VF&, VF&) const {
    const float* to = c + static_cast<ptrdiff_t>(r) * c_stride;
    PrefetchForWriting(to);
    PrefetchForWriting(to + 2 * hn::Lanes(d) - 1);
  }
  HWY_INLINE void Store(DF d, size_t r, VF c0, VF c1) const {
    const size_t lanes = hn::Lanes(d);
    float* HWY_RESTRICT to = c + static_cast<ptrdiff_t>(r) * c_stride;
    if (!first) {
      c0 = hn::Add(hn::LoadU(d, to), c0);
      c1 = hn::Add(hn::LoadU(d, to + lanes), c1);
    }
    if (bias != nullptr) {
      c0 = hn::Add(c0, hn::LoadU(d, bias));
      c1 = hn::Add(c1, hn::LoadU(d, bias + lanes));
    }
    hn::StoreU(c0, d, to);
    hn::StoreU(c1, d, to + lanes);
  }
};

struct ChunkTile {
  template <size_t R, class Prefetch>
  static HWY_INLINE void Run(const float* a, const PanelPair& b, size_t depth,
                             const ChunkRows& rows, const Prefetch& prefetch) {
    constexpr size_t kWidth = R < kTileRows ? R : kTileRows;
    MultiplyTile<R, 1, kWidth>(a, a + kTileRows * depth, b.b0, b.b1, EveryStep{0, depth}, rows,
                               prefetch);
  }
};

// A tile that hangs over c's last column: computed in a copy of its own.
HWY_NOINLINE void EdgeTile(const MatmulBlock& t, size_t r, size_t c, size_t rows, const float* a,
                           const PanelPair& b) {
  const size_t width = TileColumns();
  const size_t columns = t.columns - c;
  float copy[kMaxRegisterRows * kColumnPad] = {};
  float bias[kColumnPad] = {};
  float* to = t.c + static_cast<ptrdiff_t>(r) * t.c_stride + c;
  for (size_t i = 0; i < rows && !t.first; ++i) {
    std::copy_n(to + static_cast<ptrdiff_t>(i) * t.c_stride, columns, copy + i * width);
  }
  if (t.bias != nullptr) std::copy_n(t.bias + c, columns, bias);
  const ChunkRows chunk{copy, static_cast<ptrdiff_t>(width), t.first, t.bias ? bias : nullptr};
  WithTileRows<ChunkTile>(rows, a, b, t.depth, chunk, NoPrefetch());
  for (size_t i = 0; i < rows; ++i) {
    std::copy_n(copy + i * width, columns, to + static_cast<ptrdiff_t>(i) * t.c_stride);
  }
}

// Columns outside, rows inside: a panel of b (16 KB a chunk) stays in L1 while a's tiles stream
// from L2.
void Block(const MatmulBlock& t) {
  const size_t width = TileColumns();
  const size_t panels = CeilDiv(t.columns, kPanel);
  for (size_t c = 0; c < t.columns; c += width) {
    const PanelPair b = PanelsAt(t.b, t.b_panel_stride, panels, c);
    const bool last = c + width >= t.columns;
    const float* next =
        last ? t.prefetch_b.f32()
             : t.b.f32() + (c + width) / kPanel * t.b_panel_stride + (c + width) % kPanel;
    for (size_t r = 0, rows; r < t.rows; r += rows) {
      rows = NextTileRows(t.rows - r);
      const float* a = t.a + r * t.depth;
      if (c + width > t.columns) {
        EdgeTile(t, r, c, rows, a, b);
        continue;
      }
      const ChunkRows chunk{t.c + static_cast<ptrdiff_t>(r) * t.c_stride + c, t.c_stride, t.first,
                            t.bias ? t.bias + c : nullptr};
      if (next != nullptr) {
        WithTileRows<ChunkTile>(rows, a, b, t.depth, chunk,
                                PrefetchPart(next, t.b_panel_stride, t.depth, r, rows, t.rows));
      } else {
        WithTileRows<ChunkTile>(rows, a, b, t.depth, chunk, NoPrefetch());
      }
    }
  }
}

}  // namespace

constexpr MatmulKernels kKernels = {&Block};

}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed {

HEED_DISPATCH(MatmulKernels)

}  // namespace heed
#endif  // HWY_ONCE
