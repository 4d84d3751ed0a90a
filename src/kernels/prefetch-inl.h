// How kernels prefetch: a few cache lines with every step or tile, because many requests at a time
// queue and hold up the multiplication.
#include "src/kernels/prefetch.h"

#if defined(HEED_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_PREFETCH_INL_H_
#undef HEED_PREFETCH_INL_H_
#else
#define HEED_PREFETCH_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What MultiplyTile prefetches at its step k: nothing.
struct NoPrefetch {
  HWY_INLINE NoPrefetch From(size_t) const { return {}; }
  HWY_INLINE void Step(size_t) const {}
};

// The same place of the panels that come a block later.
struct PrefetchPanels {
  PanelPair panels;

  HWY_INLINE PrefetchPanels From(size_t k) const {
    return {{panels.b0 + k * kPanel, panels.b1 + k * kPanel}};
  }
  HWY_INLINE void Step(size_t k) const {
    PrefetchToL2(panels.b0 + k * kPanel);
    if (hn::Lanes(DF()) == kPanel) PrefetchToL2(panels.b1 + k * kPanel);
  }
};

// One cache line of each of `rows` rows.
HWY_INLINE void PrefetchColumn(const uint8_t* at, ptrdiff_t row_bytes, size_t rows) {
  for (size_t i = 0; i < rows; ++i) PrefetchToL2(at + static_cast<ptrdiff_t>(i) * row_bytes);
}

// Rows, evenly over `parts` of a kernel's work.
class RowPrefetcher {
 public:
  HWY_INLINE RowPrefetcher(const PrefetchRows& rows, size_t parts)
      : row_(rows.rows), end_(row_ + rows.count), per_part_(CeilDiv(rows.lines, parts)) {}

  HWY_INLINE void Next() {
    for (size_t n = 0; n < per_part_ && row_ != end_; ++n) {
      PrefetchToL2(row_->data + line_ * kLineBytes);
      if (++line_ < row_->lines) continue;
      ++row_;
      line_ = 0;
    }
  }

 private:
  const PrefetchRow* row_;
  const PrefetchRow* end_;
  size_t per_part_, line_ = 0;
};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_PREFETCH_INL_H_
