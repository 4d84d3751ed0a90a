// Matrix products: k up to three chunks of kSumChunk, m and n around the register tiles.
#include "heed/convert.hpp"
#include "heed/matmul.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

struct Product {
  explicit Product(Run& run) : m(run.Between(0, 20)), k(run.Between(0, 60)), n(run.Between(0, 50)) {
    if (run.OneIn(8)) k = run.Between(250, 600);  // several chunks
    if (run.OneIn(3)) m = 1;
    has_bias = run.OneIn(2);
    bias = run.Normal({n});
  }

  MatmulOptions Options() const {
    MatmulOptions options;
    if (has_bias) options.bias = bias.view();
    return options;
  }

  size_t m, k, n;
  bool has_bias;
  Tensor<float> bias = Tensor<float>({0});
};

void Multiply(Run& run, const Product& p, Layout a_layout, Layout b_layout, Layout c_layout) {
  const Tensor<float> a = run.Normal({p.m, p.k}, a_layout);
  const Tensor<float> b = run.Normal({p.k, p.n}, b_layout);
  Tensor<float> c({p.m, p.n}, c_layout);
  run.Expect(matmul(a.view(), b.view(), c.mutable_view(), p.Options(), run.context));
  run.Add(c);
}

// Packed from one matrix, or from the columns of two.
template <class T>
void MultiplyPacked(Run& run) {
  const Product p(run);
  const WeightLayout layout = run.OneIn(2) ? WeightLayout::kInOut : WeightLayout::kOutIn;
  const size_t cut = run.Between(0, p.n);
  const bool out_in = layout == WeightLayout::kOutIn;
  const std::vector<size_t> shape = out_in ? std::vector{p.n, p.k} : std::vector{p.k, p.n};
  const Layout b_layout = run.AnyLayout();
  const Tensor<float> values = run.Normal(shape, b_layout);
  Tensor<T> stored(shape, b_layout);
  run.Expect(convert(values.view(), stored.mutable_view(), run.context));
  const size_t out = out_in ? 0 : 1;
  const TensorView pieces[] = {stored.view().slice(out, 0, cut),
                               stored.view().slice(out, cut, p.n)};
  const Result<PackedMatrix> b = cut % 2 == 0
                                     ? PackedMatrix::pack(stored.view(), layout, run.context)
                                     : PackedMatrix::pack(pieces, 2, layout, run.context);
  if (!run.Expect(b.status())) return;
  const Tensor<float> a = run.Normal({p.m, p.k}, run.AnyLayout());
  Tensor<float> c({p.m, p.n});
  run.Expect(matmul(a.view(), *b, c.mutable_view(), p.Options(), run.context));
  run.Add(c);
}

}  // namespace

void Matmul(Run& run) {
  for (size_t i = 0; i < 200; ++i) {
    const Product p(run);
    Multiply(run, p, Layout::kContiguous, Layout::kContiguous, Layout::kContiguous);
  }
}

void StridedMatmul(Run& run) {
  for (size_t i = 0; i < 200; ++i) {
    const Product p(run);
    const Layout a = run.AnyLayout();
    const Layout b = run.AnyLayout();
    Multiply(run, p, a, b, run.UnitStrideLayout());
  }
}

void PackedMatmul(Run& run) {
  for (size_t i = 0; i < 150; ++i) MultiplyPacked<float>(run);
}

void Packed16BitMatmul(Run& run) {
  for (size_t i = 0; i < 75; ++i) {
    MultiplyPacked<f16>(run);
    MultiplyPacked<bf16>(run);
  }
}

// Large enough to be shared by threads: rows, columns, and one row by many columns.
void LargerMatmul(Run& run) {
  const size_t shapes[][3] = {{150, 300, 70}, {33, 260, 200}, {1, 700, 1500}, {5, 520, 300}};
  for (const auto& [m, k, n] : shapes) {
    Product p(run);
    p.m = m, p.k = k, p.n = n;
    p.bias = run.Normal({n});
    Multiply(run, p, Layout::kContiguous, Layout::kContiguous, Layout::kContiguous);
  }
}

}  // namespace heed::bits
