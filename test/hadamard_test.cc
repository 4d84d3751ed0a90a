// The Hadamard rotation: equal to its specification on every target, and what it is meant to be.
#include "heed/hadamard.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "test/spec/hadamard.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/placements.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

std::vector<float> Turned(std::vector<float> x, size_t n) {
  for (size_t i = 0; i + n <= x.size() && n > 0; i += n) spec::Hadamard(x.data() + i, n);
  return x;
}

TEST_CASE("a Hadamard rotation is the specification's, in any layout, in place too") {
  Random random(1);
  for (const size_t n :
       {1u, 2u, 3u, 4u, 6u, 8u, 16u, 20u, 32u, 64u, 80u, 96u, 128u, 192u, 256u, 576u}) {
    CAPTURE(n);
    for (const Layout layout : kUnitStrideLayouts) {
      const Tensor<float> x = Normal({2, 5, 3, n}, random, layout);
      const std::vector<float> want = Turned(x.Dense(), n);
      for (Runner& runner : Runners()) {
        INFO(runner.name);
        Tensor<float> y({2, 5, 3, n}, layout);
        RequireOk(hadamard(x.view(), y.mutable_view(), *runner.context));
        CHECK(Difference(y.Dense(), want) == "");
        CHECK(y.GapsIntact());
        y.Assign(x.Dense());
        RequireOk(hadamard(y.view(), y.mutable_view(), *runner.context));
        CHECK(Difference(y.Dense(), want) == "");
        CHECK(y.GapsIntact());
      }
    }
  }
}

TEST_CASE("the matrix of a Hadamard rotation is orthonormal, symmetric and of one magnitude") {
  constexpr size_t kN = 64;
  std::vector<float> matrix(kN * kN, 0.0f);
  for (size_t i = 0; i < kN; ++i) matrix[i * kN + i] = 1.0f;
  Context context;
  const MutableTensorView view(matrix.data(), {kN, kN});
  RequireOk(hadamard(view, view, context));
  for (size_t i = 0; i < kN; ++i) {
    for (size_t j = 0; j < kN; ++j) {
      CHECK(std::fabs(matrix[i * kN + j]) == 0.125f);
      CHECK(matrix[i * kN + j] == matrix[j * kN + i]);
      double dot = 0.0;
      for (size_t k = 0; k < kN; ++k) {
        dot += static_cast<double>(matrix[i * kN + k]) * static_cast<double>(matrix[j * kN + k]);
      }
      CHECK(dot == (i == j ? 1.0 : 0.0));
    }
  }
}

TEST_CASE("turned twice, a row is what it was, and turned queries and keys have the same scores") {
  Random random(2);
  Context context;
  for (const size_t n : {64u, 80u, 128u}) {
    const Tensor<float> q = Normal({1, 1, 1, n}, random), k = Normal({1, 9, 1, n}, random);
    Tensor<float> turned_q({1, 1, 1, n}), turned_k({1, 9, 1, n}), twice({1, 9, 1, n});
    RequireOk(hadamard(q.view(), turned_q.mutable_view(), context));
    RequireOk(hadamard(k.view(), turned_k.mutable_view(), context));
    RequireOk(hadamard(turned_k.view(), twice.mutable_view(), context));
    for (size_t i = 0; i < k.size(); ++i) {
      CHECK(twice[i] == doctest::Approx(static_cast<double>(k[i])).epsilon(1e-5).scale(1.0));
    }
    for (size_t j = 0; j < 9; ++j) {
      double plain = 0.0, turned = 0.0;
      for (size_t d = 0; d < n; ++d) {
        plain += static_cast<double>(q[d]) * static_cast<double>(k[j * n + d]);
        turned += static_cast<double>(turned_q[d]) * static_cast<double>(turned_k[j * n + d]);
      }
      CHECK(turned == doctest::Approx(plain).epsilon(1e-5).scale(1.0));
    }
  }
}

// One channel of 128 is 30 times as large as the others and sets the scale of all, or of its 32.
TEST_CASE("turned keys with outliers lose less in 8 and 4 bits") {
  constexpr size_t kKeys = 300, kDim = 128;
  Random random(4);
  const Tensor<float> q = Normal({1, 20, 2, kDim}, random), v = Normal({1, kKeys, 2, 16}, random);
  Tensor<float> k = Normal({1, kKeys, 2, kDim}, random), turned_q(q.shape()), turned_k(k.shape());
  for (size_t i = 77; i < k.size(); i += kDim) k[i] *= 30.0f;
  Context context;
  RequireOk(hadamard(q.view(), turned_q.mutable_view(), context));
  RequireOk(hadamard(k.view(), turned_k.mutable_view(), context));
  const auto attended = [&](const Tensor<float>& queries, const Tensor<float>& keys, DType dtype) {
    KvCacheConfig config;
    config.num_kv_heads = 2;
    config.head_dim = kDim;
    config.v_head_dim = 16;
    config.capacity = kKeys;
    config.k_dtype = dtype;
    Result<KvCache> cache = KvCache::create(config);
    REQUIRE(cache.ok());
    RequireOk(cache->append(keys.view(), v.view(), context));
    Tensor<float> out({1, 20, 2, 16});
    RequireOk(attention(queries.view(), *cache, out.mutable_view(), {}, context));
    return out.Dense();
  };
  const std::vector<float> exact = attended(q, k, DType::kF32);
  const auto loss = [&](const std::vector<float>& of) {
    double sum = 0.0;
    for (size_t i = 0; i < of.size(); ++i) {
      const double error = static_cast<double>(of[i]) - static_cast<double>(exact[i]);
      sum += error * error;
    }
    return std::sqrt(sum / static_cast<double>(of.size()));
  };
  const auto share = [&](DType dtype) {
    return loss(attended(turned_q, turned_k, dtype)) / loss(attended(q, k, dtype));
  };
  CHECK(share(DType::kInt8) < 0.2);
  CHECK(share(DType::kInt4) < 0.8);
}

// A float of each row lies at a guard page on either side.
struct Turn {
  Tensor<float> x;
  explicit Turn(size_t n) : x({3, n}) {
    Random random(3);
    x.FillNormal(random);
  }
  std::vector<float> Run(Context& context) const {
    Tensor<float> y(x.shape());
    RequireOk(hadamard(x.view(), y.mutable_view(), context));
    return Joined({&y});
  }
};

TEST_CASE("a Hadamard rotation touches no memory beside its rows") {
  for (const size_t n : {2u, 4u, 20u, 64u, 96u}) CheckAtGuardPages<Turn>(n);
}

TEST_CASE("a Hadamard rotation refuses what it cannot rotate, by name, and writes nothing") {
  Context context;
  Tensor<float> x({3, 8}), y({3, 8});
  x.Assign(std::vector<float>(24, 1.0f));
  const auto refused = [&](const TensorView& from, const MutableTensorView& to, const char* text) {
    const Status status = hadamard(from, to, context);
    CHECK(std::string(status.message()).find(text) != std::string::npos);
    CHECK(!status.ok());
  };
  refused(x.view(), y.mutable_view().slice(0, 0, 2),
          "y: shape is [2, 8], must be that of x, [3, 8]");
  refused(x.view().transpose(0, 1), y.mutable_view(), "y: shape");
  refused(x.view(), x.mutable_view().slice(1, 0, 4), "y: shape");
  refused(x.view().slice(1, 0, 4), x.mutable_view().slice(1, 2, 6), "y: overlaps x");
  refused(TensorView(), y.mutable_view(), "x: is missing");
  refused(x.view(), MutableTensorView(), "y: is missing");
  f16 halves[8] = {};
  refused(TensorView(halves, {8}), y.mutable_view().slice(0, 0, 1), "x: dtype is f16, must be f32");
  Tensor<float> square({4, 4});
  refused(square.view().transpose(0, 1), y.mutable_view().slice(0, 0, 3).slice(1, 0, 4),
          "y: shape");
  float column[64] = {};
  refused(TensorView(column, {4, 4}, {1, 4}), MutableTensorView(column + 32, {4, 4}),
          "x: stride of the last dimension is 4, must be 1");
  CHECK(y.AllUntouched());
  CHECK(hadamard(TensorView(column, {0, 4}), MutableTensorView(column, {0, 4}), context).ok());
  CHECK(hadamard(TensorView(column, {4, 0}), MutableTensorView(column, {4, 0}), context).ok());
}

}  // namespace
}  // namespace heed::test
