// Kernels that quantize and narrow, against src/base/quantize.h and half.h, on every target.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "src/base/half.h"
#include "src/base/quantize.h"
#include "src/base/targets.h"
#include "src/kernels/quantize.h"
#include "src/kernels/widen.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
bool SameBytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Rows whose extreme is of either sign, in any place, with what kernels may take wrongly: zeros of
// both signs, ties of the rounding and of the extreme, subnormals, numbers whose scale is too small
// or too large, and elements that are no numbers.
std::vector<float> AwkwardRow(size_t n, size_t which, Random& random) {
  std::vector<float> x(n);
  const float magnitudes[] = {1.0f,   1e-3f,    3e38f, 1e-36f, 1e-38f,
                              1e-44f, 0x1p-21f, 5e5f,  0.0f,   1.0f};
  const float magnitude = magnitudes[which % 10];
  for (float& element : x) element = std::clamp(random.Normal() / 6.0f, -1.0f, 1.0f) * magnitude;
  const size_t at = which / 10 % n;
  switch (which / 3 % 10) {
    case 0:
      x[at] = magnitude;
      break;
    case 1:
      x[at] = -magnitude;
      break;
    case 2:
      x[at] = magnitude;
      x[n - 1 - at] = -magnitude;
      break;
    case 3:
      for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 33) * 0.5f - 8.0f;
      break;
    case 4:
      for (size_t i = 0; i < n; ++i) x[i] = 63.5f - static_cast<float>(i % 255) * 0.5f;
      break;
    case 5:
      x[at] = std::bit_cast<float>(0x7FC12345u);
      break;
    case 6:
      x[at] = -kInf;
      break;
    case 7:
      std::fill(x.begin(), x.end(), -0.0f);
      break;
    case 8:
      x[at] = std::bit_cast<float>(0xFF800001u);
      break;
    default:
      break;
  }
  return x;
}

struct Wanted {
  std::vector<float> scales;
  std::vector<f16> half_scales;
  std::vector<int8_t> codes;
};

enum class Kind { kInt8, kInt4 };

Wanted Quantized(Kind kind, const std::vector<float>& x, size_t stride, size_t group) {
  const size_t n = x.size() / stride;  // of each column
  Wanted wanted;
  wanted.codes.resize(x.size());
  for (size_t begin = 0; begin < n; begin += group) {
    const size_t of_group = std::min(group, n - begin);
    for (size_t c = 0; c < stride; ++c) {
      const float* from = x.data() + begin * stride + c;
      const float extreme = Extreme(from, static_cast<ptrdiff_t>(stride), of_group);
      const f16 half = Int4Scale(extreme);
      const float scale = kind == Kind::kInt8 ? Int8Scale(extreme) : ToFloat(half);
      wanted.scales.push_back(scale);
      wanted.half_scales.push_back(half);
      for (size_t i = 0; i < of_group; ++i) {
        const float element = from[i * stride];
        wanted.codes[(begin + i) * stride + c] =
            kind == Kind::kInt8 ? Int8Code(element, scale) : Int4Code(element, scale);
      }
    }
  }
  return wanted;
}

void CheckRow(const std::vector<float>& x, size_t group) {
  const Wanted int8 = Quantized(Kind::kInt8, x, 1, group);
  const Wanted int4 = Quantized(Kind::kInt4, x, 1, group);
  for (const char* target : Targets()) {
    INFO(target);
    const auto& kernels = KernelsOf<QuantizeKernels>(TargetByName(target));
    std::vector<float> scales(int8.scales.size());
    std::vector<f16> half_scales(scales.size());
    std::vector<int8_t> codes(x.size());
    kernels.int8_row(x.data(), x.size(), group, scales.data(), codes.data());
    CHECK(SameBytes(scales, int8.scales));
    CHECK(SameBytes(codes, int8.codes));
    kernels.int4_row(x.data(), x.size(), group, half_scales.data(), codes.data());
    CHECK(SameBytes(half_scales, int4.half_scales));
    CHECK(SameBytes(codes, int4.codes));
  }
}

TEST_CASE("rows have the codes and scales of their definition, on every target") {
  Random random(1);
  for (const size_t n : {1u, 3u, 15u, 16u, 31u, 32u, 64u, 80u, 128u, 200u, 256u}) {
    for (size_t which = 0; which < (Quick() ? 60u : 600u); ++which) {
      CAPTURE(n);
      CAPTURE(which);
      const std::vector<float> x = AwkwardRow(n, which, random);
      CheckRow(x, n);
      if (n > 32) CheckRow(x, 32);
      if (which % 20 == 0) CheckRow(x, 7);
    }
  }
}

void CheckPanel(Kind kind, const std::vector<float>& panel, size_t group) {
  const size_t depth = panel.size() / kPanel;
  const Wanted wanted = Quantized(kind, panel, kPanel, group);
  const DType dtype = kind == Kind::kInt8 ? DType::kInt8 : DType::kInt4;
  std::vector<uint8_t> want(BytesOfPanel(dtype, depth));
  for (size_t i = 0; i < panel.size(); ++i) {
    if (kind == Kind::kInt8) {
      want[i] = static_cast<uint8_t>(wanted.codes[i]);
    } else {
      const size_t k = i / kPanel;
      want[k / 2 * kPanel + i % kPanel] |=
          static_cast<uint8_t>((wanted.codes[i] & 15) << (k % 2 * 4));
    }
  }
  const size_t groups = wanted.scales.size() / kPanel, group_stride = kPanel + 5;
  std::vector<float> want_scales(groups * group_stride, -3.0f);
  std::vector<f16> want_halves(want_scales.size(), f16{0x1234});
  for (size_t i = 0; i < wanted.scales.size(); ++i) {
    const size_t at = i / kPanel * group_stride + i % kPanel;
    want_scales[at] = wanted.scales[i];
    want_halves[at] = wanted.half_scales[i];
  }
  for (const char* target : Targets()) {
    INFO(target);
    const auto& kernels = KernelsOf<QuantizeKernels>(TargetByName(target));
    std::vector<uint8_t> got(want.size(), 0xAA);
    std::vector<float> scales(want_scales.size(), -3.0f);
    std::vector<f16> halves(want_halves.size(), f16{0x1234});
    PanelQuantize work = {panel.data(), depth, group, scales.data(), group_stride, got.data()};
    if (kind == Kind::kInt8) {
      kernels.int8_panel(work);
      CHECK(SameBytes(scales, want_scales));
    } else {
      work.scales = halves.data();
      kernels.int4_panel(work);
      CHECK(SameBytes(halves, want_halves));
    }
    CHECK(SameBytes(got, want));
  }
}

TEST_CASE("panels have the codes and scales of their definition, on every target") {
  Random random(2);
  for (const size_t depth : {1u, 2u, 31u, 64u, 131u}) {
    for (size_t which = 0; which < (Quick() ? 6u : 40u); ++which) {
      CAPTURE(depth);
      CAPTURE(which);
      std::vector<float> panel(depth * kPanel);
      for (size_t c = 0; c < kPanel; ++c) {
        const std::vector<float> column = AwkwardRow(depth, which * kPanel + c, random);
        for (size_t k = 0; k < depth; ++k) panel[k * kPanel + c] = column[k];
      }
      for (const size_t group : {32u, 64u, 200u}) {
        CheckPanel(Kind::kInt8, panel, group);
        CheckPanel(Kind::kInt4, panel, group);
      }
    }
  }
}

TEST_CASE("a scale is that of the extreme element, whatever its sign") {
  const float positive[] = {1.0f, -2.0f, 4.0f}, negative[] = {1.0f, -4.0f, 2.0f};
  CHECK(Extreme(positive, 1, 3) == 4.0f);
  CHECK(Extreme(negative, 1, 3) == -4.0f);
  CHECK(Int8Scale(Extreme(negative, 1, 3)) == 4.0f / 127.0f);
  CHECK(ToFloat(Int4Scale(Extreme(positive, 1, 3))) == -0.5f);
  CHECK(ToFloat(Int4Scale(Extreme(negative, 1, 3))) == 0.5f);
  CHECK(Int4Code(4.0f, -0.5f) == -8);
  CHECK(Int4Code(-4.0f, -0.5f) == 7);
  CHECK(Int4Code(-2.0f, -0.5f) == 4);
}

TEST_CASE("codes round to nearest, ties to even, and stay in their range") {
  CHECK(Int8Scale(-254.0f) == 2.0f);
  CHECK(Int8Code(5.0f, 2.0f) == 2);
  CHECK(Int8Code(7.0f, 2.0f) == 4);
  CHECK(Int8Code(-5.0f, 2.0f) == -2);
  CHECK(Int8Code(1e9f, 2.0f) == 127);
  CHECK(Int8Code(-1e9f, 2.0f) == -127);
  CHECK(Int4Code(-100.0f, 1.0f) == -8);
  CHECK(Int4Code(100.0f, 1.0f) == 7);
  CHECK(Int8Code(1.0f, 0.0f) == 0);
  CHECK(Int8Code(1.0f, NAN) == 0);
  const float bad[] = {1.0f, kInf, 2.0f, NAN, 3.0f};
  CHECK(std::isnan(Int8Scale(Extreme(bad, 1, 2))));
  CHECK(std::isnan(ToFloat(Int4Scale(Extreme(bad + 2, 1, 2)))));
  CHECK(Extreme(bad, 2, 3) == 3.0f);
  CHECK(std::isnan(ToFloat(Int4Scale(1e6f))));
  CHECK(Int4Scale(1e-8f).bits == 0);
  CHECK(Int8Scale(1e-37f) == 0.0f);
}

// All floats, or every 1009th, in threads of runs. Returns how many runs some kernel has otherwise
// than half.h.
size_t WrongRuns(uint32_t step) {
  constexpr size_t kRun = 1 << 16;
  const uint64_t runs = ((uint64_t{1} << 32) / step + kRun - 1) / kRun;
  std::atomic<uint64_t> next = 0;
  std::atomic<size_t> wrong = 0;
  const auto work = [&] {
    std::vector<float> x(kRun);
    std::vector<f16> half(kRun), got_half(kRun);
    std::vector<bf16> brain(kRun), got_brain(kRun);
    for (uint64_t run; (run = next++) < runs;) {
      for (size_t i = 0; i < kRun; ++i) {
        x[i] = std::bit_cast<float>(static_cast<uint32_t>((run * kRun + i) * step));
        half[i] = ToF16(x[i]);
        brain[i] = ToBf16(x[i]);
      }
      for (const char* target : Targets()) {
        const auto& kernels = KernelsOf<WidenKernels>(TargetByName(target));
        kernels.narrow[StoredIndex(DType::kF16)](x.data(), kRun, got_half.data());
        kernels.narrow[StoredIndex(DType::kBF16)](x.data(), kRun, got_brain.data());
        wrong += !SameBytes(got_half, half) || !SameBytes(got_brain, brain);
      }
    }
  };
  std::vector<std::thread> threads(std::max(1u, std::thread::hardware_concurrency()) - 1);
  for (std::thread& thread : threads) thread = std::thread(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return wrong;
}

TEST_CASE("kernels narrow every float as half.h does, on every target") {
  CHECK(WrongRuns(Exhaustive() ? 1 : 1009) == 0);
}

TEST_CASE("kernels narrow rows of any length, and write no further") {
  Random random(3);
  for (const char* target : Targets()) {
    INFO(target);
    const auto& kernels = KernelsOf<WidenKernels>(TargetByName(target));
    for (size_t n = 0; n < 40; ++n) {
      std::vector<float> x(n);
      std::vector<f16> half(n + 1, f16{0x1234}), want_half = half;
      std::vector<bf16> brain(n + 1, bf16{0x1234}), want_brain = brain;
      for (size_t i = 0; i < n; ++i) {
        x[i] = random.Normal();
        want_half[i] = ToF16(x[i]);
        want_brain[i] = ToBf16(x[i]);
      }
      kernels.narrow[StoredIndex(DType::kF16)](x.data(), n, half.data());
      kernels.narrow[StoredIndex(DType::kBF16)](x.data(), n, brain.data());
      CHECK(SameBytes(half, want_half));
      CHECK(SameBytes(brain, want_brain));
    }
  }
}

}  // namespace
}  // namespace heed::test
