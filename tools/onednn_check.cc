#include "tools/onednn_check.h"

#ifdef HEED_HAVE_ONEDNN

#include <cstddef>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

#include "heed/matmul.hpp"
#include "heed/multi_head_attention.hpp"
#include "heed/softmax.hpp"
#include "tools/conformance/random.h"
#include "tools/difference.h"
#include "tools/onednn_layer.h"
#include "tools/onednn_operations.h"

namespace heed::tools {
namespace {

using Floats = std::vector<float>;

// Both sides round sums of about a thousand products, which costs 5e-7 of the largest result here.
// A wrong scale, mask or rotation shows at 1e-2.
constexpr double kProductBound = 1e-5;
// As heed run --check: scores that are large before softmax add up to ten times more.
constexpr double kLayerBound = 1e-4;

Floats normal(test::Random& random, size_t n, float scale = 1.0f) {
  Floats values(n);
  for (float& x : values) x = random.Normal() * scale;
  return values;
}

CrossCheck judge(const char* problem, const Floats& heed, const Floats& onednn, double bound) {
  return {problem, compare(heed, onednn).relative(), bound};
}

Result<CrossCheck> check_matmul(Context& context) {
  constexpr size_t kM = 96, kK = 1000, kN = 300;
  test::Random random(1);
  const Floats a = normal(random, kM * kK), b = normal(random, kK * kN);
  Floats c(kM * kN);
  const MutableTensorView result(c.data(), {kM, kN});
  const Status s = matmul(TensorView(a.data(), {kM, kK}), TensorView(b.data(), {kK, kN}), result,
                          MatmulOptions(), context);
  if (!s.ok()) return s;
  Floats onednn(c.size());
  onednn_gemm(false, kM, kN, kK, 1.0f, a.data(), kK, b.data(), kN, onednn.data(), kN);
  return judge("matmul, 96 x 1000 by 1000 x 300", c, onednn, kProductBound);
}

Result<CrossCheck> check_softmax(Context& context) {
  constexpr size_t kRows = 100, kColumns = 1111;
  test::Random random(2);
  const Floats x = normal(random, kRows * kColumns, 5.0f);
  Floats y(x.size());
  const Status s = softmax(TensorView(x.data(), {kRows, kColumns}),
                           MutableTensorView(y.data(), {kRows, kColumns}), {}, context);
  if (!s.ok()) return s;
  Floats onednn = x;
  onednn_softmax(kRows, kColumns, onednn.data());
  return judge("softmax, 100 rows of 1111", y, onednn, kProductBound);
}

// Grouped heads, norms, rotation, a window, a soft cap and sinks.
Result<CrossCheck> check_layer(Context& context) {
  constexpr size_t kWidth = 192, kHeads = 6, kKvHeads = 2, kDim = 48, kBatch = 2, kSeq = 150;
  constexpr size_t kQkv = (kHeads + 2 * kKvHeads) * kDim;
  test::Random random(3);
  const Floats qkv = normal(random, kWidth * kQkv, 0.1f), bias = normal(random, kQkv);
  const Floats out = normal(random, kHeads * kDim * kWidth, 0.1f);
  const Floats q_norm = normal(random, kDim), k_norm = normal(random, kDim);
  const Floats sinks = normal(random, kHeads), x = normal(random, kBatch * kSeq * kWidth);
  MultiHeadAttentionConfig config;
  config.d_in = kWidth;
  config.num_heads = kHeads;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kDim;
  config.rope = RopeOptions();
  config.window = 100;
  config.logits_soft_cap = 20.0f;
  MultiHeadAttentionWeights weights;
  weights.qkv = {TensorView(qkv.data(), {kQkv, kWidth}), TensorView(bias.data(), {kQkv})};
  weights.out.weight = TensorView(out.data(), {kWidth, kHeads * kDim});
  weights.q_norm = TensorView(q_norm.data(), {kDim});
  weights.k_norm = TensorView(k_norm.data(), {kDim});
  weights.sinks = TensorView(sinks.data(), {kHeads});
  const Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, context);
  if (!layer.ok()) return layer.status();
  Floats y(x.size());
  const Status s = layer->forward(TensorView(x.data(), {kBatch, kSeq, kWidth}),
                                  MutableTensorView(y.data(), {kBatch, kSeq, kWidth}), {}, context);
  if (!s.ok()) return s;
  const Result<Floats> onednn = onednn_forward(layer->config(), weights, x, kBatch, kSeq, 0);
  if (!onednn.ok()) return onednn.status();
  return judge("attention layer, width 192, 2 x 150 tokens", y, *onednn, kLayerBound);
}

}  // namespace

Result<std::vector<CrossCheck>> cross_check(Context& context) {
  std::vector<CrossCheck> checks;
  try {
    for (const auto check : {check_matmul, check_softmax, check_layer}) {
      Result<CrossCheck> result = check(context);
      if (!result.ok()) return result.status();
      checks.push_back(std::move(*result));
    }
  } catch (const dnnl::error& error) {
    return Status::Error(StatusCode::kUnsupported, "oneDNN: %s", error.what());
  }
  return checks;
}

}  // namespace heed::tools

#else

namespace heed::tools {

Result<std::vector<CrossCheck>> cross_check(Context&) {
  return Status::Error(StatusCode::kUnsupported, "this heed was built without oneDNN");
}

}  // namespace heed::tools

#endif
