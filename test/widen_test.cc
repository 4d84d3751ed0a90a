// Stored elements as kernels read them, against the slow and obvious way, on every target.
#include "src/kernels/widen.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "src/base/half.h"
#include "src/base/targets.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/float16.h"

namespace heed::test {
namespace {

const WidenKernels& KernelsOn(const char* target) {
  return KernelsOf<WidenKernels>(TargetByName(target));
}

template <class T>
void CheckEveryPattern(DType dtype) {
  constexpr size_t kAll = 65536;
  std::vector<T> from(kAll + 3);
  std::vector<float> want(from.size());
  for (size_t i = 0; i < from.size(); ++i) {
    from[i].bits = static_cast<uint16_t>(i);
    want[i] = Widen(from[i]);
  }
  for (const char* target : Targets()) {
    INFO(target);
    std::vector<float> got(from.size());
    KernelsOn(target).row[StoredIndex(dtype)](from.data(), from.size(), got.data());
    CHECK(Difference(got, want) == "");
  }
}

TEST_CASE("kernels widen every f16 exactly") { CheckEveryPattern<f16>(DType::kF16); }
TEST_CASE("kernels widen every bf16 exactly") { CheckEveryPattern<bf16>(DType::kBF16); }

// Panels of every byte, and what they are as f32.
struct StoredPanels {
  DType dtype;
  size_t panels, depth;
  Scales scales;
  std::vector<uint8_t> data;
  std::vector<float> f32_scales;
  std::vector<f16> f16_scales;

  StoredPanels(DType type, ScaleAxis axis, size_t group, size_t count, size_t of)
      : dtype(type), panels(count), depth(of), data(count * BytesOfPanel(type, of)) {
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 37 + i / 256);
    const size_t groups = 64;
    f32_scales.resize(groups * (depth + panels * kPanel));
    f16_scales.resize(f32_scales.size());
    for (size_t i = 0; i < f32_scales.size(); ++i) {
      const float sign = type == DType::kInt4 && i % 3 == 0 ? -1.0f : 1.0f;
      f16_scales[i] = ToF16(sign * 0.001f * static_cast<float>(i % 777 + 1));
      f32_scales[i] = ScaleType(type) == DType::kF16 ? ToFloat(f16_scales[i])
                                                     : 0.1f + static_cast<float>(i) / 3.0f;
    }
    scales.data = ScaleType(type) == DType::kF16 ? static_cast<const void*>(f16_scales.data())
                                                 : static_cast<const void*>(f32_scales.data());
    scales.axis = axis;
    scales.group = group;
    const bool column = axis == ScaleAxis::kColumn;
    scales.panel_stride = column ? kPanel : 0;
    scales.group_stride = column ? panels * kPanel : depth;
  }

  Panels view() const { return {data.data(), dtype, scales}; }

  float At(size_t p, size_t k, size_t c) const {
    const uint8_t* panel = data.data() + p * BytesOfPanel(dtype, depth);
    const size_t i = k * kPanel + c;
    uint16_t bits = 0;
    float code = 0.0f;
    switch (dtype) {
      case DType::kF16:
      case DType::kBF16:
        std::memcpy(&bits, panel + 2 * i, 2);
        return dtype == DType::kF16 ? Widen(f16{bits}) : Widen(bf16{bits});
      case DType::kInt8:
        code = static_cast<float>(static_cast<int8_t>(panel[i]));
        break;
      case DType::kInt4: {
        const int nibble = panel[k / 2 * kPanel + c] >> (k % 2 * 4) & 15;
        code = static_cast<float>(nibble < 8 ? nibble : nibble - 16);
        break;
      }
      default:
        std::memcpy(&code, panel + 4 * i, 4);
        return code;
    }
    const size_t at = scales.axis == ScaleAxis::kColumn
                          ? p * scales.panel_stride + k / scales.group * scales.group_stride + c
                          : k + (p * kPanel + c) / scales.group * scales.group_stride;
    // Of int4, whose scales may be negative, a code of 0 is +0.
    return dtype == DType::kInt4 ? code * f32_scales[at] + 0.0f : code * f32_scales[at];
  }
};

void CheckPanels(const StoredPanels& stored, size_t begin, size_t depth) {
  const size_t to_stride = depth * kPanel + 5;
  std::vector<float> want(stored.panels * to_stride, -1.0f);
  for (size_t p = 1; p < stored.panels; ++p) {
    for (size_t i = 0; i < depth * kPanel; ++i) {
      want[(p - 1) * to_stride + i] = stored.At(p, begin + i / kPanel, i % kPanel);
    }
  }
  for (const char* target : Targets()) {
    INFO(target << ", " << name_of(stored.dtype) << ", steps " << begin << " + " << depth
                << ", group " << stored.scales.group);
    std::vector<float> got(want.size(), -1.0f);
    KernelsOn(target).panels[StoredIndex(stored.dtype)](
        {stored.view(), BytesOfPanel(stored.dtype, stored.depth), 1, stored.panels - 1, begin,
         depth, got.data(), to_stride});
    CHECK(Difference(got, want) == "");
  }
}

TEST_CASE("panels of every stored type widen to code times scale") {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8, DType::kInt4}) {
    for (const size_t group : {32u, 96u, 1000u}) {
      const StoredPanels columns(dtype, ScaleAxis::kColumn, group, 4, 131);
      CheckPanels(columns, 0, 131);
      CheckPanels(columns, 96, 35);
      const StoredPanels depths(dtype, ScaleAxis::kDepth, group, 4, 128);
      CheckPanels(depths, 0, 128);
      CheckPanels(depths, 64, 7);
    }
  }
}

}  // namespace
}  // namespace heed::test
