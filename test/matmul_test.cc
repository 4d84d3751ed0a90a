// matmul and PackedMatrix against the specification and against float64.
#include "heed/matmul.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "src/base/context.h"
#include "src/matmul/matmul.h"
#include "src/matmul/packed_matrix.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/float16.h"
#include "test/support/mode.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

struct Problem {
  size_t m, k, n;
  std::vector<float> a, b, bias;
  PerFamily<std::vector<float>> plain, biased;
};

std::vector<float> NormalVector(size_t n, Random& random) {
  std::vector<float> values(n);
  for (float& value : values) value = random.Normal();
  return values;
}

std::vector<float> Product(Family family, const std::vector<float>& a, const std::vector<float>& b,
                           const float* bias, size_t m, size_t k, size_t n) {
  std::vector<float> c(m * n);
  WithSpec(family, [&](auto spec) { spec.Matmul(a.data(), b.data(), bias, c.data(), m, k, n); });
  return c;
}

Problem MakeProblem(size_t m, size_t k, size_t n, std::vector<float> a, std::vector<float> b,
                    std::vector<float> bias) {
  const auto with = [&](const float* added) {
    return PerFamily<std::vector<float>>(
        [&](Family family) { return Product(family, a, b, added, m, k, n); });
  };
  return {m, k, n, a, b, bias, with(nullptr), with(bias.data())};
}

Problem RandomProblem(size_t m, size_t k, size_t n) {
  Random random(m * 1000003 + k * 1009 + n);
  std::vector<float> a = NormalVector(m * k, random);
  std::vector<float> b = NormalVector(k * n, random);
  return MakeProblem(m, k, n, std::move(a), std::move(b), NormalVector(n, random));
}

// How a case hands its operands over.
struct Form {
  Layout a = Layout::kContiguous;
  Layout b = Layout::kContiguous;
  Layout c = Layout::kContiguous;
  bool bias = false;
  enum { kView, kPackInOut, kPackOutIn } pack = kView;
};

// One entry for every kind of layout, packing and bias.
const std::vector<Form>& Forms() {
  static const std::vector<Form> forms = {
      {},
      {.bias = true},
      {.a = Layout::kPadded, .b = Layout::kPadded, .c = Layout::kPadded},
      {.a = Layout::kLastFirst, .c = Layout::kBackwards, .bias = true},
      {.b = Layout::kLastFirst},
      {.a = Layout::kLastFirst, .b = Layout::kLastFirst, .bias = true},
      {.a = Layout::kBackwards, .b = Layout::kBackwards, .c = Layout::kBackwards},
      {.a = Layout::kScattered, .b = Layout::kScattered, .bias = true},
      {.pack = Form::kPackInOut},
      {.a = Layout::kLastFirst, .b = Layout::kScattered, .bias = true, .pack = Form::kPackInOut},
      {.a = Layout::kPadded, .c = Layout::kPadded, .bias = true, .pack = Form::kPackOutIn},
      {.b = Layout::kBackwards, .pack = Form::kPackOutIn},
  };
  return forms;
}

std::vector<float> Transposed(const std::vector<float>& x, size_t rows, size_t columns) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) y[j * rows + i] = x[i * columns + j];
  }
  return y;
}

// A problem's operands in a form, for any number of runs.
class Operands {
 public:
  Operands(const Problem& p, const Form& form)
      : p_(p),
        form_(form),
        a_({p.m, p.k}, form.a),
        b_(OutIn() ? std::vector<size_t>{p.n, p.k} : std::vector<size_t>{p.k, p.n}, form.b),
        c_({p.m, p.n}, form.c),
        bias_({p.n}) {
    a_.Assign(p.a);
    b_.Assign(OutIn() ? Transposed(p.b, p.k, p.n) : p.b);
    bias_.Assign(p.bias);
    if (form.pack == Form::kView) return;
    Context context;
    Result<PackedMatrix> packed = PackedMatrix::pack(
        b_.view(), OutIn() ? WeightLayout::kOutIn : WeightLayout::kInOut, context);
    REQUIRE(std::string(packed.status().message()) == "");
    packed_ = std::move(*packed);
  }

  // What is wrong with the product on this runner; empty: nothing.
  std::string Fault(Runner& runner) {
    MatmulOptions options;
    if (form_.bias) options.bias = bias_.view();
    c_.Reset();
    const Status status =
        form_.pack == Form::kView
            ? matmul(a_.view(), b_.view(), c_.mutable_view(), options, *runner.context)
            : matmul(a_.view(), packed_, c_.mutable_view(), options, *runner.context);
    if (!status.ok()) return status.message();
    if (!c_.GapsIntact()) return "wrote outside c";
    return Difference(c_.Dense(), (form_.bias ? p_.biased : p_.plain)[runner.family]);
  }

 private:
  bool OutIn() const { return form_.pack == Form::kPackOutIn; }

  const Problem& p_;
  const Form& form_;
  Tensor<float> a_, b_, c_, bias_;
  PackedMatrix packed_;
};

// Every form, on every runner or on one per target; with an L2 of so many bytes, or its own.
void CheckProblem(const Problem& p, bool all_runners, size_t l2_bytes = 0) {
  for (size_t i = 0; i < Forms().size(); ++i) {
    Operands operands(p, Forms()[i]);
    for (Runner& runner : Runners()) {
      if (!all_runners && !runner.first_of_target) continue;
      INFO(p.m << " x " << p.k << " x " << p.n << ", form " << i << ", " << runner.name);
      size_t& l2 = Context::Impl::Of(*runner.context)->l2_bytes;
      const size_t own = l2;
      if (l2_bytes > 0) l2 = l2_bytes;
      const std::string fault = operands.Fault(runner);
      l2 = own;
      CHECK(fault == "");
    }
  }
}

TEST_CASE("matmul equals its specification bit for bit on every target, at every edge size") {
  const std::vector<size_t> ms = {1, 2, 5, 6, 7, 8, 13};
  const std::vector<size_t> ns = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65};
  const std::vector<size_t> ks = {0, 1, 2, 16, 255, 256, 257, 600};
  size_t turn = 0;
  for (size_t m : ms) {
    for (size_t n : ns) {
      for (size_t k : ks) {
        if (Quick() && ++turn % 7 != 0) continue;
        CheckProblem(RandomProblem(m, k, n), false);
      }
    }
  }
}

// Four panels, 16 rows or 16 columns of b are read side by side; depths around those and chunks.
TEST_CASE("matmul of a few rows equals its specification at the edges of what is read together") {
  const std::vector<size_t> ns = {47, 63, 64, 79, 96, 97, 128, 130, 193};
  const std::vector<size_t> ks = {1, 3, 15, 17, 100, 255, 256, 257, 260, 271, 511, 513, 600};
  size_t turn = 0;
  for (size_t m : {1u, 2u, 3u, 4u, 5u, 6u}) {
    for (size_t n : ns) {
      for (size_t k : ks) {
        if (Quick() && ++turn % 13 != 0) continue;
        const Problem problem = RandomProblem(m, k, n);
        CheckProblem(problem, false);
        CheckProblem(problem, false, /*l2_bytes=*/4096);  // b is far
      }
    }
  }
}

TEST_CASE("matmul gives the same bits with any number of threads") {
  struct Size {
    size_t m, k, n;
  };
  std::vector<Size> sizes = {
      {1, 700, 301},   {4, 270, 301},                   // few rows
      {101, 300, 65},  {49, 520, 96}, {200, 260, 200},  // copied between tiles
      {27, 1100, 130},                                  // k in three stretches
  };
  if (!Quick()) sizes.insert(sizes.end(), {{1, 700, 3001}, {2, 513, 2048}, {257, 768, 257}});
  for (const Size& size : sizes) {
    CheckProblem(RandomProblem(size.m, size.k, size.n), true);
  }
}

TEST_CASE("tasks of small caches keep the panels of a matrix that is not packed") {
  const Tensor<float> a({200, 260}), b({260, 200});
  Tensor<float> c({200, 200});
  for (Runner& runner : Runners()) {
    if (!runner.own_pool) continue;
    INFO(runner.name);
    MatmulPlan plan;
    REQUIRE(PlanMatmul(a.view(), b.view(), c.mutable_view(), {},
                       *Context::Impl::Of(*runner.context), &plan)
                .ok());
    CHECK(plan.keeps_panels);  // so the case above has met them
  }
}

TEST_CASE(
    "matmul computes infinities, NaN, subnormals and signed zeros as the specification does") {
  constexpr float kSpecial[] = {0.0f,     -0.0f,     0x1p-149f, -0x1p-130f, 0x1p-126f,
                                0x1p127f, -0x1p127f, 1.0f,      -3.0f};
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Random random(5);
  const size_t m = 9, k = 40, n = 35;
  std::vector<float> a(m * k), b(k * n), bias(n);
  for (auto* values : {&a, &b, &bias}) {
    for (float& x : *values) x = kSpecial[random.Below(std::size(kSpecial))];
  }
  a[3 * k + 7] = kInf;
  a[5 * k + 1] = std::numeric_limits<float>::quiet_NaN();
  b[11 * n + 2] = -kInf;
  CheckProblem(MakeProblem(m, k, n, a, b, bias), true);
}

template <class T>
void CheckPacked16(uint16_t exponent_mask) {
  Random random(16);
  const size_t m = 7, k = 300, n = 45;
  std::vector<float> a = NormalVector(m * k, random);
  for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
    const bool out_in = layout == WeightLayout::kOutIn;
    Tensor<T> b(out_in ? std::vector<size_t>{n, k} : std::vector<size_t>{k, n}, Layout::kPadded);
    for (size_t i = 0; i < b.size(); ++i) {  // any finite number, subnormals included
      do {
        b[i].bits = static_cast<uint16_t>(random.Bits());
      } while ((b[i].bits & exponent_mask) == exponent_mask);
    }
    std::vector<float> wide(b.size());
    for (size_t i = 0; i < b.size(); ++i) wide[i] = Widen(b[i]);
    if (out_in) wide = Transposed(wide, n, k);
    Context context;
    const Result<PackedMatrix> packed = PackedMatrix::pack(b.view(), layout, context);
    REQUIRE(packed.ok());
    CHECK(packed->in() == k);
    CHECK(packed->out() == n);
    for (Runner& runner : Runners()) {
      INFO(runner.name);
      Tensor<float> a_view({m, k}), c({m, n});
      a_view.Assign(a);
      REQUIRE(matmul(a_view.view(), *packed, c.mutable_view(), {}, *runner.context).ok());
      CHECK(Difference(c.Dense(), Product(runner.family, a, wide, nullptr, m, k, n)) == "");
    }
  }
}

TEST_CASE("a packed f16 matrix is the exactly widened f32 matrix") { CheckPacked16<f16>(0x7C00); }
TEST_CASE("a packed bf16 matrix is the exactly widened f32 matrix") { CheckPacked16<bf16>(0x7F80); }

TEST_CASE("a packed matrix holds the same bytes whatever the threads that pack it") {
  Random random(5);
  const Tensor<float> parts[] = {Normal({70, 100}, random), Normal({70, 3}, random),
                                 Normal({70, 150}, random)};
  const TensorView views[] = {parts[0].view(), parts[1].view(), parts[2].view()};
  const auto floats = [&](Context& context) {
    const Result<PackedMatrix> packed = PackedMatrix::pack(views, 3, WeightLayout::kInOut, context);
    REQUIRE(packed.ok());
    const float* panels = PackedMatrix::Impl::Of(*packed)->panels().f32();
    return std::vector<float>(panels, panels + packed->bytes() / sizeof(float));
  };
  Context one({.num_threads = 1});
  const std::vector<float> want = floats(one);
  for (Runner& runner : Runners()) {
    INFO(runner.name);
    CHECK(Difference(floats(*runner.context), want) == "");
  }
}

TEST_CASE("matrices packed side by side multiply as each of them alone") {
  Random random(3);
  const size_t m = 5, k = 70, widths[] = {20, 1, 33};
  const Tensor<float> a = Normal({m, k}, random);
  Context context;
  for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
    std::vector<Tensor<float>> parts;
    std::vector<TensorView> views;
    for (size_t n : widths) {
      parts.push_back(layout == WeightLayout::kInOut ? Normal({k, n}, random)
                                                     : Normal({n, k}, random, Layout::kPadded));
    }
    for (const Tensor<float>& part : parts) views.push_back(part.view());
    const Result<PackedMatrix> all =
        PackedMatrix::pack(views.data(), views.size(), layout, context);
    REQUIRE(all.ok());
    REQUIRE(all->out() == 54);
    for (Runner& runner : Runners()) {
      INFO(runner.name);
      Tensor<float> c({m, 54});
      REQUIRE(matmul(a.view(), *all, c.mutable_view(), {}, *runner.context).ok());
      size_t begin = 0;
      for (size_t i = 0; i < views.size(); ++i) {
        const Result<PackedMatrix> one = PackedMatrix::pack(views[i], layout, context);
        Tensor<float> want({m, widths[i]}), got({m, widths[i]});
        REQUIRE(matmul(a.view(), *one, want.mutable_view(), {}, *runner.context).ok());
        for (size_t j = 0; j < got.size(); ++j) {
          got[j] = c[j / widths[i] * 54 + begin + j % widths[i]];
        }
        CHECK(Difference(got.Dense(), want.Dense()) == "");
        begin += widths[i];
      }
    }
  }
}

TEST_CASE("matmul of no rows or no columns writes nothing") {
  Random random(4);
  Tensor<float> a = Normal({3, 8}, random), b = Normal({8, 4}, random), c({3, 4});
  for (Runner& runner : Runners()) {
    Context& context = *runner.context;
    CHECK(matmul(a.view().slice(0, 1, 1), b.view(), c.mutable_view().slice(0, 0, 0), {}, context)
              .ok());
    CHECK(matmul(a.view(), b.view().slice(1, 2, 2), c.mutable_view().slice(1, 0, 0), {}, context)
              .ok());
  }
  CHECK(c.AllUntouched());
}

TEST_CASE("matmul is as close to float64 as a plain float loop, within a factor of two") {
  struct Size {
    size_t m, k, n;
  };
  for (const Size& size : {Size{3, 10, 17}, Size{8, 256, 20}, Size{4, 2000, 33}}) {
    const Problem p = RandomProblem(size.m, size.k, size.n);
    std::vector<double> want(p.m * p.n);
    std::vector<float> naive(p.m * p.n);
    for (size_t i = 0; i < p.m; ++i) {
      for (size_t j = 0; j < p.n; ++j) {
        float sum = 0.0f;
        double exact = 0.0;
        for (size_t l = 0; l < p.k; ++l) {
          sum += p.a[i * p.k + l] * p.b[l * p.n + j];
          exact += double{p.a[i * p.k + l]} * double{p.b[l * p.n + j]};
        }
        naive[i * p.n + j] = sum;
        want[i * p.n + j] = exact;
      }
    }
    for (Family family : Families()) {
      CHECK(WorstError(p.plain[family], want) <= 2 * WorstError(naive, want) + 1e-7);
    }
  }
}

}  // namespace
}  // namespace heed::test
