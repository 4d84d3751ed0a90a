#include "src/kernels/pack.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/pack.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "src/kernels/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {

namespace {

void CopyToPanels(const PanelCopy& copy) { PackPanels(copy); }

void CopyToTile(const float* const* rows_at, ptrdiff_t depth_stride, size_t rows, size_t depth,
                float* tile) {
  PackTile(rows_at, depth_stride, rows, depth, tile);
}

}  // namespace

constexpr PackKernels kKernels = {&CopyToPanels, &CopyToTile};

}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::inline v1 {

HEED_DISPATCH(PackKernels)

}  // namespace heed::inline v1
#endif  // HWY_ONCE
