// Operations whose operands and results lie at pages that can't be touched: heed reads and writes
// nothing outside the caller's memory. Attention and the layer are in guard_page_attention_test.cc.
#include <doctest/doctest.h>
#include <unistd.h>

#include <iterator>
#include <vector>

#include "heed/attention.hpp"
#include "heed/convert.hpp"
#include "heed/matmul.hpp"
#include "heed/rope.hpp"
#include "heed/softmax.hpp"
#include "src/matmul/packed_matrix.h"
#include "test/support/mode.h"
#include "test/support/placements.h"

namespace heed::test {
namespace {

TEST_CASE("memory at a guard page can be read up to the page and no further") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  // The kernel refuses to read what we could not.
  const auto readable = [&](const char* at) { return write(ends[1], at, 1) == 1; };
  for (Placement placement : kAtGuardPages) {
    const Place place(placement);
    for (size_t n : Sizes{1, 3, 1000, 5000}) {
      const PlacedVector<float> x(n, 1.0f);
      const char* begin = reinterpret_cast<const char*>(x.data());
      const char* end = begin + n * sizeof(float);
      CHECK(readable(begin));
      CHECK(readable(end - 1));
      CHECK(readable(end) == (placement != Placement::kEndsAtGuard));
      CHECK(readable(begin - 1) == (placement != Placement::kBeginsAfterGuard));
    }
  }
  close(ends[0]);
  close(ends[1]);
}

struct MatmulForm {
  Layout a = Layout::kContiguous, b = Layout::kContiguous, c = Layout::kContiguous;
  bool bias = false, packed = false, int16 = false;
};

constexpr MatmulForm kMatmulForms[] = {
    {.bias = true},
    {.a = Layout::kPadded, .b = Layout::kPadded, .c = Layout::kPadded},
    {.a = Layout::kLastFirst, .b = Layout::kLastFirst, .c = Layout::kBackwards, .bias = true},
    {.a = Layout::kScattered, .b = Layout::kScattered},
    {.a = Layout::kBackwards, .b = Layout::kBackwards},
    {.bias = true, .packed = true},
    {.a = Layout::kLastFirst, .c = Layout::kPadded, .packed = true},
    {.bias = true, .packed = true, .int16 = true},
    {.a = Layout::kLastFirst, .c = Layout::kPadded, .packed = true, .int16 = true},
};

struct MatmulProblem {
  MatmulProblem(size_t m, size_t k, size_t n, const MatmulForm& f)
      : form(f), a({m, k}, f.a), b({k, n}, f.b), bias({n}), c_shape{m, n} {
    Random random(m * 1009 + k * 31 + n);
    for (Tensor<float>* t : {&a, &b, &bias}) t->FillNormal(random);
  }
  std::vector<float> Run(Context& context) const {
    Tensor<float> c(c_shape, form.c);
    MatmulOptions options;
    if (form.bias) options.bias = bias.view();
    if (form.packed) {
      if (form.int16) options.compute = Compute::kInt16;
      const PackOptions storage = {form.int16 ? DType::kInt8 : DType::kF32};
      const Result<PackedMatrix> packed =
          PackedMatrix::pack(b.view(), WeightLayout::kInOut, storage, context);
      RequireOk(packed.status());
      RequireOk(matmul(a.view(), *packed, c.mutable_view(), options, context));
    } else {
      RequireOk(matmul(a.view(), b.view(), c.mutable_view(), options, context));
    }
    return Joined({&c});
  }
  MatmulForm form;
  Tensor<float> a, b, bias;
  std::vector<size_t> c_shape;
};

TEST_CASE("matmul keeps within its operands, in any layout, packed or not") {
  size_t turn = 0;
  for (size_t m : kAwkwardSizes) {
    for (size_t n : kAwkwardSizes) {
      const size_t k = kAwkwardSizes[turn++ % std::size(kAwkwardSizes)];
      for (size_t form = 0; form < std::size(kMatmulForms); ++form) {
        if (Quick() && (turn + form) % 3 != 0) continue;
        INFO("m " << m << ", k " << k << ", n " << n << ", form " << form);
        CheckAtGuardPages<MatmulProblem>(m, k, n, kMatmulForms[form]);
      }
    }
  }
  for (size_t k : Sizes{255, 257, 600}) {  // more than a chunk, on one row and on several
    for (const MatmulForm& form : kMatmulForms) {
      INFO("k " << k << ", form " << (&form - kMatmulForms));
      CheckAtGuardPages<MatmulProblem>(size_t{1}, k, size_t{129}, form);
      CheckAtGuardPages<MatmulProblem>(size_t{7}, k, size_t{33}, form);
    }
  }
}

// A few rows times a matrix of 16-bit numbers, which is read as it is.
template <class T>
struct HalvesProblem {
  HalvesProblem(size_t m, size_t k, size_t n, Layout layout) : a({m, k}), b({k, n}, layout) {
    Random random(m * 1009 + k * 31 + n);
    a.FillNormal(random);
    for (size_t i = 0; i < b.size(); ++i) {
      b[i].bits = static_cast<uint16_t>(random.Bits() & 0xBFFF);  // finite
    }
  }
  std::vector<float> Run(Context& context) const {
    Tensor<float> c({a.shape()[0], b.shape()[1]});
    RequireOk(matmul(a.view(), b.view(), c.mutable_view(), {}, context));
    return Joined({&c});
  }
  Tensor<float> a;
  Tensor<T> b;
};

TEST_CASE("matmul of a few rows keeps within a matrix of 16-bit numbers") {
  size_t turn = 0;
  for (size_t n : kAwkwardSizes) {
    for (size_t m : {1u, 5u}) {
      const size_t k = turn % 5 == 4 ? 300 : kAwkwardSizes[turn % std::size(kAwkwardSizes)];
      ++turn;
      for (Layout layout : {Layout::kContiguous, Layout::kPadded, Layout::kLastFirst}) {
        INFO("m " << m << ", k " << k << ", n " << n << ", layout " << static_cast<int>(layout));
        CheckAtGuardPages<HalvesProblem<f16>>(m, k, n, layout);
        CheckAtGuardPages<HalvesProblem<bf16>>(m, k, n, layout);
      }
    }
  }
}

template <class T>
struct PackProblem {
  PackProblem(size_t rows, size_t columns, Layout layout) : b({rows, columns}, layout) {
    Random random(rows * 1009 + columns);
    for (size_t i = 0; i < b.size(); ++i) {
      const auto bits = static_cast<uint16_t>(random.Bits() & 0xBFFF);  // finite
      if constexpr (sizeof(T) == 4) {
        b[i] = bits;
      } else {
        b[i].bits = bits;
      }
    }
  }
  std::vector<float> Run(Context& context) const {
    std::vector<float> all;
    for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
      const TensorView twice[] = {b.view(), b.view()};
      const Result<PackedMatrix> packed = PackedMatrix::pack(twice, 2, layout, context);
      RequireOk(packed.status());
      const float* panels = PackedMatrix::Impl::Of(*packed)->panels().f32();
      all.insert(all.end(), panels, panels + packed->bytes() / sizeof(float));
    }
    return all;
  }
  Tensor<T> b;
};

TEST_CASE("packing keeps within the matrix, in every type and layout") {
  size_t turn = 0;
  for (size_t rows : kAwkwardSizes) {
    for (size_t columns : kAwkwardSizes) {
      const Layout layout = kAllLayouts[turn++ % std::size(kAllLayouts)];
      INFO("[" << rows << ", " << columns << "], layout " << static_cast<int>(layout));
      CheckAtGuardPages<PackProblem<float>>(rows, columns, layout);
      CheckAtGuardPages<PackProblem<f16>>(rows, columns, layout);
      CheckAtGuardPages<PackProblem<bf16>>(rows, columns, layout);
    }
  }
}

// A matrix that was saved, so that its last byte is the last of a page. It begins at a line.
struct MappedProblem {
  MappedProblem(size_t in, size_t out, const PackOptions& options) {
    Random random(in * 1009 + out);
    std::vector<float> b(in * out);
    for (float& x : b) x = random.Normal();
    for (size_t i = 0; i < 9 * in; ++i) a.push_back(random.Normal());
    Context context;
    const Result<PackedMatrix> packed =
        PackedMatrix::pack(TensorView(b.data(), {in, out}), WeightLayout::kInOut, options, context);
    RequireOk(packed.status());
    REQUIRE(packed->saved_bytes() % sizeof(Line) == 0);
    lines = PlacedVector<Line>(packed->saved_bytes() / sizeof(Line));
    RequireOk(packed->save(lines.data(), packed->saved_bytes()));
  }
  std::vector<float> Run(Context& context) const {
    std::vector<float> all;
    for (const bool check_data : {true, false}) {
      const Result<PackedMatrix> b =
          PackedMatrix::map(lines.data(), lines.size() * sizeof(Line), {.check_data = check_data});
      RequireOk(b.status());
      for (size_t m : Sizes{1, 3, 9}) {
        for (const Compute compute : {Compute::kF32, Compute::kInt16}) {
          if (compute == Compute::kInt16 && !HasScales(b->dtype())) continue;
          std::vector<float> c(m * b->out());
          RequireOk(matmul(TensorView(a.data(), {m, b->in()}), *b,
                           MutableTensorView(c.data(), {m, b->out()}), {.compute = compute},
                           context));
          all.insert(all.end(), c.begin(), c.end());
        }
      }
    }
    return all;
  }
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  PlacedVector<Line> lines;
  std::vector<float> a;
};

TEST_CASE("a saved matrix is mapped and multiplied within its bytes, in every type") {
  const PackOptions all[] = {{DType::kF32},      {DType::kF16},      {DType::kBF16},
                             {DType::kInt8},     {DType::kInt8, 32}, {DType::kInt4, 16},
                             {DType::kInt4, 128}};
  struct Size {
    size_t in, out;  // in panels of which all take whole lines, in each type
  };
  for (const Size& size : {Size{4, 1}, Size{1, 33}, Size{33, 50}, Size{257, 100}, Size{300, 17}}) {
    for (const PackOptions& options : all) {
      INFO(size.in << " x " << size.out << ", " << name_of(options.dtype) << ", group "
                   << options.group);
      CheckAtGuardPages<MappedProblem>(size.in, size.out, options);
    }
  }
}

struct SoftmaxProblem {
  SoftmaxProblem(size_t rows, size_t n, Layout layout) : x({rows, n}, layout), y_layout(layout) {
    Random random(n);
    x.FillNormal(random, 3.0f);
  }
  std::vector<float> Run(Context& context) const {
    Tensor<float> y(x.shape(), y_layout), in_place(x.shape(), y_layout);
    in_place.Assign(x.Dense());
    RequireOk(softmax(x.view(), y.mutable_view(), {}, context));
    RequireOk(softmax(in_place.view(), in_place.mutable_view(), {.scale = 0.3f}, context));
    return Joined({&y, &in_place});
  }
  Tensor<float> x;
  Layout y_layout;
};

TEST_CASE("softmax keeps within x and y") {
  for (size_t n : kAwkwardSizes) {
    for (Layout layout : kUnitStrideLayouts) {
      INFO("length " << n << ", layout " << static_cast<int>(layout));
      CheckAtGuardPages<SoftmaxProblem>(size_t{3}, n, layout);
    }
  }
}

struct RopeProblem {
  RopeProblem(size_t head_dim, const RopeOptions& o, Layout layout)
      : options(o), x({2, 3, 2, head_dim}, layout), positions({2, 3}, layout), y_layout(layout) {
    Random random(head_dim);
    x.FillNormal(random);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i * 1000);
  }
  std::vector<float> Run(Context& context) const {
    Tensor<float> y(x.shape(), y_layout), in_place(x.shape(), y_layout);
    in_place.Assign(x.Dense());
    RequireOk(rope(x.view(), positions.view(), y.mutable_view(), options, context));
    RequireOk(rope(in_place.view(), positions.view(), in_place.mutable_view(), options, context));
    return Joined({&y, &in_place});
  }
  RopeOptions options;
  Tensor<float> x;
  Tensor<int32_t> positions;
  Layout y_layout;
};

TEST_CASE("rope keeps within x, y and the positions") {
  for (size_t head_dim : Sizes{2, 3, 6, 17, 33, 34, 66, 128, 129, 130}) {
    for (bool interleaved : {false, true}) {
      for (Layout layout : kUnitStrideLayouts) {
        const size_t all = head_dim / 2 * 2, half = head_dim / 4 * 2;
        for (size_t rope_dim : {all, half == 0 ? all : half}) {
          INFO("head_dim " << head_dim << ", rope_dim " << rope_dim << ", interleaved "
                           << interleaved << ", layout " << static_cast<int>(layout));
          RopeOptions options;
          options.rope_dim = rope_dim;
          options.interleaved = interleaved;
          CheckAtGuardPages<RopeProblem>(head_dim, options, layout);
        }
      }
    }
  }
}

struct ConvertProblem {
  ConvertProblem(size_t n, Layout from, Layout to) : x({2, n}, from), layout(to) {
    Random random(n);
    x.FillNormal(random);
  }
  std::vector<float> Run(Context& context) const {
    Tensor<f16> half(x.shape(), layout);
    Tensor<bf16> brain(x.shape(), layout);
    Tensor<float> from_half(x.shape(), layout), from_brain(x.shape(), layout);
    RequireOk(convert(x.view(), half.mutable_view(), context));
    RequireOk(convert(half.view(), brain.mutable_view(), context));
    RequireOk(convert(half.view(), from_half.mutable_view(), context));
    RequireOk(convert(brain.view(), from_brain.mutable_view(), context));
    return Joined({&from_half, &from_brain});
  }
  Tensor<float> x;
  Layout layout;
};

TEST_CASE("conversions keep within both tensors") {
  for (size_t n : kAwkwardSizes) {
    for (Layout from : kAllLayouts) {
      INFO("length " << n << ", layout " << static_cast<int>(from));
      CheckAtGuardPages<ConvertProblem>(n, from, Layout::kContiguous);
      CheckAtGuardPages<ConvertProblem>(n, Layout::kContiguous, from);
    }
  }
}

struct TableProblem {
  explicit TableProblem(size_t size) : n(size) {}
  std::vector<float> Run(Context&) const {
    Tensor<float> slopes({n}), mask({1, 2, 3, n});
    RequireOk(alibi_slopes(slopes.mutable_view()));
    RequireOk(dropout_mask(0.5f, n, mask.mutable_view()));
    return Joined({&slopes, &mask});
  }
  size_t n;
};

TEST_CASE("ALiBi's slopes and dropout masks are written to their end and no further") {
  for (size_t n : kAwkwardSizes) CheckAtGuardPages<TableProblem>(n);
}

}  // namespace
}  // namespace heed::test
