// Matrix products of numbers that are stored in fewer bits than they are computed in.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "heed/gguf.hpp"
#include "heed/matmul.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

// Next to a multiple of `step`, which tiles and groups of scales have.
size_t BesideAMultiple(Run& run, size_t step, size_t most) {
  const size_t multiple = step * run.Between(0, most);
  return std::max<size_t>(multiple + run.Below(3), 2) - 1;
}

// c = a b (+ bias), each of its type, by a few rows or many.
struct Product {
  explicit Product(Run& run)
      : m(run.OneIn(4) ? run.Between(18, 26) : run.Between(1, 7)),
        k(BesideAMultiple(run, 32, run.OneIn(6) ? 9 : 4)),
        n(BesideAMultiple(run, 16, 5)) {}

  // b is packed, or not.
  template <class B>
  void Multiply(Run& run, const B& b, Compute compute = Compute::kF32) const {
    const DType a_dtype = run.OneOf(kFloatTypes);
    const DType bias_dtype = run.OneOf(kFloatTypes);
    const DType c_dtype = run.OneOf(kFloatTypes);
    const Layout a_layout = run.AnyLayout();
    const Layout c_layout = run.UnitStrideLayout();
    const FloatTensor a = run.Stored(a_dtype, run.Normal({m, k}), a_layout);
    const FloatTensor bias = run.Stored(bias_dtype, run.Normal({n}));
    FloatTensor c(c_dtype, {m, n}, c_layout);
    MatmulOptions options;
    options.compute = compute;
    if (run.OneIn(2)) options.bias = bias.view();
    run.Expect(matmul(a.view(), b, c.mutable_view(), options, run.context));
    run.Add(c);
  }

  size_t m, k, n;
};

// A matrix [k, n] either way round.
struct Weights {
  Weights(Run& run, const Product& p)
      : layout(run.OneIn(2) ? WeightLayout::kInOut : WeightLayout::kOutIn), in(p.k), out(p.n) {}

  std::vector<size_t> Shape(size_t depth) const {
    return layout == WeightLayout::kOutIn ? std::vector{out, depth} : std::vector{depth, out};
  }
  size_t out_dim() const { return layout == WeightLayout::kOutIn ? 0 : 1; }

  // From one matrix, or from the columns of two.
  Result<PackedMatrix> Pack(Run& run, const PackOptions& options) const {
    const DType dtype = run.OneOf(kFloatTypes);
    const Layout b_layout = run.AnyLayout();
    const FloatTensor b = run.Stored(dtype, run.Normal(Shape(in)), b_layout);
    const size_t cut = run.Between(0, out);
    const TensorView pieces[] = {b.view().slice(out_dim(), 0, cut),
                                 b.view().slice(out_dim(), cut, out)};
    return run.OneIn(2) ? PackedMatrix::pack(b.view(), layout, options, run.context)
                        : PackedMatrix::pack(pieces, 2, layout, options, run.context);
  }

  // Of codes and scales, which may be negative.
  Result<PackedMatrix> PackQuantized(Run& run, const PackOptions& options) const {
    const Layout b_layout = run.AnyLayout();
    Tensor<int8_t> codes(Shape(in), b_layout);
    const size_t most = options.dtype == DType::kInt8 ? 127 : 7;
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] =
          static_cast<int8_t>(static_cast<int>(run.Below(2 * most + 1)) - static_cast<int>(most));
    }
    const size_t group = options.group == 0 ? in : options.group;
    const DType scale_dtype =
        options.dtype == DType::kInt4 || run.OneIn(2) ? DType::kF16 : DType::kF32;
    const Tensor<float> values =
        run.Normal(Shape((in + group - 1) / group), Layout::kContiguous, 0.1f);
    const FloatTensor scales = run.Stored(scale_dtype, values, b_layout);
    const QuantizedView b = {.codes = codes.view(), .scales = scales.view()};
    return PackedMatrix::pack_quantized(&b, 1, layout, options, run.context);
  }

  WeightLayout layout;
  size_t in, out;
};

void MultiplyQuantized(Run& run, const PackOptions& options, size_t count,
                       Compute compute = Compute::kF32) {
  for (size_t i = 0; i < count; ++i) {
    const Product p(run);
    const Weights weights(run, p);
    const Result<PackedMatrix> b =
        i % 3 == 2 ? weights.PackQuantized(run, options) : weights.Pack(run, options);
    if (run.Expect(b.status())) p.Multiply(run, *b, compute);
  }
}

// Saved, and multiplied from where the bytes lie.
void SaveAndMultiply(Run& run, const PackOptions& options) {
  const Product p(run);
  const Result<PackedMatrix> b = Weights(run, p).Pack(run, options);
  if (!run.Expect(b.status())) return;
  constexpr size_t kLine = 64;
  std::vector<uint8_t> memory(b->saved_bytes() + kLine);
  const size_t past = std::bit_cast<uintptr_t>(memory.data()) % kLine;
  const std::span<uint8_t> saved(memory.data() + (kLine - past), b->saved_bytes());
  run.Expect(b->save(saved.data(), saved.size()));
  run.Add(saved);
  const Result<PackedMatrix> mapped = PackedMatrix::map(saved.data(), saved.size());
  if (run.Expect(mapped.status())) p.Multiply(run, *mapped);
}

// Blocks of any bits but for what may not be: scales that are NaN or infinite, a code of -128.
void MultiplyGguf(Run& run, GgufType type, size_t elements, size_t bytes,
                  const std::vector<size_t>& scales_at) {
  Product p(run);
  p.k = elements * run.Between(1, elements == 32 ? 5 : 2);
  std::vector<uint8_t> blocks(p.n * p.k / elements * bytes);
  for (uint8_t& byte : blocks) {
    byte = static_cast<uint8_t>(run.Bits() >> 24);
    if (type == GgufType::kQ8_0 && byte == 0x80) byte = 0x81;
  }
  for (size_t block = 0; block < blocks.size(); block += bytes) {
    for (const size_t at : scales_at) blocks[block + at + 1] &= 0xBF;  // f16 below 2
  }
  const GgufMatrix matrix = {
      .blocks = blocks.data(), .bytes = blocks.size(), .type = type, .out = p.n, .in = p.k};
  Tensor<float> y({p.n, p.k});
  run.Expect(dequantize_gguf(matrix, y.mutable_view(), run.context));
  run.Add(y);
  const Result<PackedMatrix> b = pack_gguf(matrix, run.context);
  if (run.Expect(b.status())) p.Multiply(run, *b);
}

}  // namespace

// Unpacked matrices, and packed ones of every type.
void Matmul16BitOperands(Run& run) {
  for (size_t i = 0; i < 40; ++i) {
    const Product p(run);
    if (i % 2 == 0) {
      const DType b_dtype = run.OneOf(kFloatTypes);
      const Layout b_layout = run.AnyLayout();
      p.Multiply(run, run.Stored(b_dtype, run.Normal({p.k, p.n}), b_layout).view());
      continue;
    }
    const DType b_dtype = run.OneOf(kAllStored);
    const bool quantized = b_dtype == DType::kInt8 || b_dtype == DType::kInt4;
    const size_t group = quantized ? 32 : 0;
    const Result<PackedMatrix> b = Weights(run, p).Pack(run, {.dtype = b_dtype, .group = group});
    if (run.Expect(b.status())) p.Multiply(run, *b);
  }
}

void PackedInt8Matmul(Run& run) {
  for (const size_t group : {0u, 16u, 32u, 64u, 128u}) {
    MultiplyQuantized(run, {.dtype = DType::kInt8, .group = group}, 9);
  }
}

void PackedInt4Matmul(Run& run) {
  for (const size_t group : {16u, 32u, 64u, 128u}) {
    MultiplyQuantized(run, {.dtype = DType::kInt4, .group = group}, 12);
  }
}

void Int16Matmul(Run& run) {
  for (const size_t group : {0u, 16u, 32u, 128u}) {
    MultiplyQuantized(run, {.dtype = DType::kInt8, .group = group}, 6, Compute::kInt16);
  }
  for (const size_t group : {32u, 128u}) {
    MultiplyQuantized(run, {.dtype = DType::kInt4, .group = group}, 6, Compute::kInt16);
  }
}

void SavedMatmul(Run& run) {
  for (size_t i = 0; i < 3; ++i) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      SaveAndMultiply(run, {.dtype = dtype});
    }
    for (const size_t group : {0u, 16u, 64u}) {
      SaveAndMultiply(run, {.dtype = DType::kInt8, .group = group});
    }
    for (const size_t group : {32u, 128u}) {
      SaveAndMultiply(run, {.dtype = DType::kInt4, .group = group});
    }
  }
}

void Gguf(Run& run) {
  for (size_t i = 0; i < 4; ++i) {
    MultiplyGguf(run, GgufType::kQ8_0, 32, 34, {0});
    MultiplyGguf(run, GgufType::kQ4_0, 32, 18, {0});
    MultiplyGguf(run, GgufType::kQ6_K, 256, 210, {208});
    MultiplyGguf(run, GgufType::kQ4_K, 256, 144, {0, 2});
  }
}

}  // namespace heed::bits
