// A whole attention layer with a cache: a prompt of four tokens at once, then two tokens one by
// one. The result is the same as for all six at once, bit for bit.
#include <cstdio>
#include <cstring>
#include <heed/heed.hpp>
#include <vector>

namespace {

constexpr size_t kDim = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kTokens = 6;

// Numbers in [-0.5, 0.5) for weights and inputs.
std::vector<float> numbers(size_t count, uint32_t seed) {
  std::vector<float> values(count);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) * 0x1p-24f - 0.5f;
  }
  return values;
}

heed::Result<heed::MultiHeadAttention> make_layer(heed::Context& context) {
  const size_t q_width = kHeads * kHeadDim, kv_width = kKvHeads * kHeadDim;
  const std::vector<float> q = numbers(q_width * kDim, 1), k = numbers(kv_width * kDim, 2),
                           v = numbers(kv_width * kDim, 3), o = numbers(kDim * q_width, 4);
  heed::MultiHeadAttentionWeights weights;  // [out, in], as PyTorch stores them
  weights.q.weight = {q.data(), {q_width, kDim}};
  weights.k.weight = {k.data(), {kv_width, kDim}};
  weights.v.weight = {v.data(), {kv_width, kDim}};
  weights.out.weight = {o.data(), {kDim, q_width}};
  heed::MultiHeadAttentionConfig config;
  config.d_in = kDim;
  config.num_heads = kHeads;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kHeadDim;
  config.rope = heed::RopeOptions();
  return heed::MultiHeadAttention::create(config, weights, context);  // packs: q, k, v, o may go
}

int fail(const heed::Status& status) {
  std::fprintf(stderr, "layer: %s\n", status.message());
  return 1;
}

}  // namespace

int main() {
  heed::Context context;
  const auto layer = make_layer(context);
  if (!layer.ok()) return fail(layer.status());
  auto cache = layer->create_cache(/*batch=*/1, /*capacity=*/kTokens);
  if (!cache.ok()) return fail(cache.status());

  const std::vector<float> x = numbers(kTokens * kDim, 5);
  std::vector<float> y(kTokens * kDim), whole(kTokens * kDim);
  const heed::TensorView input(x.data(), {kTokens, kDim});
  const heed::MutableTensorView output(y.data(), {kTokens, kDim});
  for (size_t begin = 0, end = 4; begin < kTokens; begin = end++) {  // prefill 4, then 1 and 1
    const heed::Status status =
        layer->forward(input.slice(0, begin, end), output.slice(0, begin, end), *cache, context);
    if (!status.ok()) return fail(status);
    std::printf("tokens %zu to %zu: y[%zu] = %.4f %.4f %.4f ...\n", begin, end - 1, end - 1,
                static_cast<double>(y[(end - 1) * kDim]),
                static_cast<double>(y[(end - 1) * kDim + 1]),
                static_cast<double>(y[(end - 1) * kDim + 2]));
  }

  const heed::Status status =
      layer->forward(input, {whole.data(), {kTokens, kDim}}, heed::ForwardOptions(), context);
  if (!status.ok()) return fail(status);
  const bool same = std::memcmp(whole.data(), y.data(), y.size() * sizeof(float)) == 0;
  std::printf("all at once: %s\n", same ? "the same bits" : "other bits");
  return same ? 0 : 1;
}
