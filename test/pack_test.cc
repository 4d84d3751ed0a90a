// Copies into panels and tiles against loops over the elements, on every target.
#include "src/kernels/pack.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "src/base/targets.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"

namespace heed::test {
namespace {

constexpr float kUntouched = -1.0f;

std::vector<float> Numbers(size_t n) {
  std::vector<float> numbers(n);
  for (size_t i = 0; i < n; ++i) numbers[i] = static_cast<float>(i + 1);
  return numbers;
}

struct Strides {
  ptrdiff_t depth, column;
};

TEST_CASE("panels hold every element at its place, padded with zeros, and nothing else changes") {
  for (size_t depth : {1u, 3u, 4u, 5u, 8u, 17u, 64u}) {
    for (size_t columns : {1u, 15u, 16u, 17u, 32u, 64u, 131u, 300u}) {
      const auto d = static_cast<ptrdiff_t>(depth), c = static_cast<ptrdiff_t>(columns);
      for (const Strides& strides : {Strides{c, 1}, {c + 3, 1}, {1, d}, {1, d + 5}, {2, 2 * d}}) {
        const std::vector<float> source =
            Numbers(static_cast<size_t>((d - 1) * strides.depth + (c - 1) * strides.column) + 1);
        const size_t panel_stride = depth * kPanel + 7, panels = CeilDiv(columns, kPanel);
        std::vector<float> want(panels * panel_stride, kUntouched);
        for (size_t k = 0; k < depth; ++k) {
          for (size_t i = 0; i < panels * kPanel; ++i) {
            const size_t at =
                k * static_cast<size_t>(strides.depth) + i * static_cast<size_t>(strides.column);
            want[i / kPanel * panel_stride + k * kPanel + i % kPanel] =
                i < columns ? source[at] : 0.0f;
          }
        }
        for (const char* target : Targets()) {
          INFO(target << ", " << depth << " x " << columns << ", strides " << strides.depth << ", "
                      << strides.column);
          std::vector<float> got(want.size(), kUntouched);
          KernelsOf<PackKernels>(TargetByName(target))
              .panels({source.data(), strides.depth, strides.column, depth, columns, got.data(),
                       panel_stride});
          CHECK(Difference(got, want) == "");
        }
      }
    }
  }
}

TEST_CASE("a tile holds every element of its rows at its place, and nothing else changes") {
  for (size_t rows = 1; rows <= kTileRows; ++rows) {
    for (size_t depth : {1u, 3u, 4u, 7u, 16u, 37u}) {
      for (size_t stride : {1u, 2u}) {
        const std::vector<float> source = Numbers(rows * depth * stride);
        const float* rows_at[kTileRows] = {};
        std::vector<float> want(rows * depth + 9, kUntouched);
        for (size_t r = 0; r < rows; ++r) {
          rows_at[r] = source.data() + (rows - 1 - r) * depth * stride;
          for (size_t k = 0; k < depth; ++k) want[k * rows + r] = rows_at[r][k * stride];
        }
        for (const char* target : Targets()) {
          INFO(target << ", " << rows << " rows, " << depth << " deep, stride " << stride);
          std::vector<float> got(want.size(), kUntouched);
          KernelsOf<PackKernels>(TargetByName(target))
              .tile(rows_at, static_cast<ptrdiff_t>(stride), rows, depth, got.data());
          CHECK(Difference(got, want) == "");
        }
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
