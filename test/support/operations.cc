#include "test/support/operations.h"

#include <limits>
#include <span>
#include <utility>

#include "src/base/check.h"

namespace heed::test {

Operations::Operations() {
  for (Tensor<float>* tensor : {&q_, &k_, &v_, &x_, &weight_}) tensor->FillNormal(random_);
  for (size_t i = 0; i < x_.size(); i += 3) x_[i] *= 1e-39f;
  for (size_t i = 0; i < v_.size(); i += 5) v_[i] *= 1e-40f;
  for (size_t i = 0; i < 40; ++i) positions_[i] = static_cast<int32_t>(i * 1000);
  AddAttention();
  AddCaches();
  AddPacked();
  AddOthers();
}

void Operations::Add(const char* name, size_t floats,
                     std::function<Status(Context&, float* out)> call) {
  outputs_.push_back(std::make_unique<std::vector<float>>(floats));
  std::vector<float>* out = outputs_.back().get();
  all_.push_back({name, [out, call](Context& c) { return call(c, out->data()); }, out});
}

void Operations::AddAttention() {
  Add("attention", 40 * 4 * 16 + 4 * 40, [this](Context& c, float* out) {
    AttentionOptions options;
    options.causal = true;
    options.lse = MutableTensorView(out + 40 * 4 * 16, {1, 4, 40});
    options.dropout.probability = 0.3f;
    return attention(q_.view(), k_.view(), v_.view(), MutableTensorView(out, {1, 40, 4, 16}),
                     options, c);
  });
  Add("attention of one query", 4 * 16 + 4 * kKeys, [this](Context& c, float* out) {
    AttentionOptions options;
    options.key_scores = MutableTensorView(out + 4 * 16, {1, 4, kKeys});
    return attention(q_.view().slice(1, 0, 1), k_.view(), v_.view(),
                     MutableTensorView(out, {1, 1, 4, 16}), options, c);
  });
  Add("attention of 16 bits", 4 * 40 * 16, [this](Context& c, float* out) {
    std::vector<f16> q(q_.size());
    std::vector<bf16> k(k_.size()), v(v_.size()), narrow(q_.size());
    const MutableTensorView qs(q.data(), {1, 40, 4, 16}), ks(k.data(), {1, kKeys, 2, 16}),
        vs(v.data(), {1, kKeys, 2, 16}), result(narrow.data(), {1, 40, 4, 16});
    HEED_RETURN_IF_ERROR(convert(q_.view(), qs, c));
    HEED_RETURN_IF_ERROR(convert(k_.view(), ks, c));
    HEED_RETURN_IF_ERROR(convert(v_.view(), vs, c));
    HEED_RETURN_IF_ERROR(attention(qs, ks, vs, result, {}, c));
    return convert(result, MutableTensorView(out, {1, 40, 4, 16}), c);
  });
  Add("attention_partial, merge_attention", 2 * 4 * 18 + 4 * 16, [this](Context& c, float* out) {
    AttentionState state;
    state.max = MutableTensorView(out, {2, 1, 4, 1});
    state.sum = MutableTensorView(out + 8, {2, 1, 4, 1});
    state.acc = MutableTensorView(out + 16, {2, 1, 1, 4, 16});
    const MutableTensorView merged(out + 2 * 4 * 18, {1, 1, 4, 16});
    HEED_RETURN_IF_ERROR(
        attention_partial(q_.view().slice(1, 0, 1), k_.view(), v_.view(), 0, kKeys, state, {}, c));
    return merge_attention(&state, 1, {}, merged, {}, c);
  });
  Add("merge_attention of two", 40 * 4 * 16, [this](Context& c, float* out) {
    const TensorView sums(static_cast<const float*>(weight_.view().data), {1, 4, 40});
    return merge_attention(q_.view(), sums, q_.view(), sums, MutableTensorView(out, {1, 40, 4, 16}),
                           {}, c);
  });
}

Status Operations::Product(const Result<PackedMatrix>& packed, float* out, Context& context) {
  HEED_RETURN_IF_ERROR(packed.status());
  return matmul(x_.view(), *packed, MutableTensorView(out, {40, 64}), {}, context);
}

void Operations::AddCaches() {
  const auto kv_cache = [this](DType keys, DType values, Context& c, float* out) {
    KvCacheConfig config;
    config.num_kv_heads = 2;
    config.head_dim = config.v_head_dim = 16;
    config.capacity = kKeys;
    config.k_dtype = keys;
    config.v_dtype = values;
    Result<KvCache> cache = KvCache::create(config);
    HEED_RETURN_IF_ERROR(cache.status());
    HEED_RETURN_IF_ERROR(cache->append(k_.view(), v_.view(), c));
    return attention(q_.view().slice(1, 0, 1), *cache, MutableTensorView(out, {1, 1, 4, 16}), {},
                     c);
  };
  Add("KvCache", 4 * 16,
      [=](Context& c, float* out) { return kv_cache(DType::kF32, DType::kF32, c, out); });
  Add("KvCache of int8 keys and int4 values", 4 * 16,
      [=](Context& c, float* out) { return kv_cache(DType::kInt8, DType::kInt4, c, out); });
  const auto paged = [this](DType dtype, Context& c, float* out) {
    PagedKvCacheConfig config;
    config.num_kv_heads = 2;
    config.head_dim = config.v_head_dim = 16;
    config.block_size = 100;
    config.num_blocks = kKeys / config.block_size;
    config.k_dtype = config.v_dtype = dtype;
    Result<PagedKvCache> cache = PagedKvCache::create(config);
    HEED_RETURN_IF_ERROR(cache.status());
    const Result<PagedSequence> sequence = cache->add();
    HEED_RETURN_IF_ERROR(sequence.status());
    HEED_RETURN_IF_ERROR(cache->append(*sequence, k_.view(), v_.view(), c));
    const Result<PagedKv> view = cache->view(std::span(&*sequence, 1));
    HEED_RETURN_IF_ERROR(view.status());
    return attention(q_.view().slice(1, 0, 1), *view, MutableTensorView(out, {1, 1, 4, 16}), {}, c);
  };
  Add("PagedKvCache", 4 * 16, [=](Context& c, float* out) { return paged(DType::kF32, c, out); });
  Add("PagedKvCache of int8", 4 * 16,
      [=](Context& c, float* out) { return paged(DType::kInt8, c, out); });
}

void Operations::AddPacked() {
  Add("PackedMatrix", 40 * 64, [this](Context& c, float* out) {
    f16 halves[64 * 64] = {};
    const MutableTensorView narrow(halves, {64, 64});
    HEED_RETURN_IF_ERROR(convert(weight_.view(), narrow, c));
    HEED_RETURN_IF_ERROR(convert(x_.view(), narrow.slice(0, 0, 40), c));
    return Product(PackedMatrix::pack(narrow, WeightLayout::kInOut, c), out, c);
  });
  for (const PackOptions& options : {PackOptions{DType::kInt8, 0}, PackOptions{DType::kInt4, 32}}) {
    const char* name =
        options.dtype == DType::kInt8 ? "PackedMatrix of int8" : "PackedMatrix of int4";
    Add(name, 40 * 64, [this, options](Context& c, float* out) {
      return Product(PackedMatrix::pack(weight_.view(), WeightLayout::kInOut, options, c), out, c);
    });
  }
  Add("matmul in int16", 40 * 64, [this](Context& c, float* out) {
    const Result<PackedMatrix> packed =
        PackedMatrix::pack(weight_.view(), WeightLayout::kInOut, {DType::kInt8, 32}, c);
    HEED_RETURN_IF_ERROR(packed.status());
    return matmul(x_.view(), *packed, MutableTensorView(out, {40, 64}),
                  {.compute = Compute::kInt16}, c);
  });
  Add("pack_quantized", 40 * 64, [this](Context& c, float* out) {
    int8_t codes[64 * 64];
    for (size_t i = 0; i < 64 * 64; ++i) {
      codes[i] = static_cast<int8_t>(static_cast<int>(i * 7 % 255) - 127);
    }
    const QuantizedView b = {TensorView(codes, {64, 64}), weight_.view().slice(0, 0, 2)};
    return Product(PackedMatrix::pack_quantized(&b, 1, WeightLayout::kInOut, {DType::kInt8, 32}, c),
                   out, c);
  });
  Add("dequantize_gguf, pack_gguf", 64 * 64 + 40 * 64, [this](Context& c, float* out) {
    uint8_t blocks[64 * 2][34];  // of Q8_0: an f16, subnormal in some, and 32 codes
    for (size_t i = 0; i < 64 * 2; ++i) {
      blocks[i][0] = 1;
      blocks[i][1] = static_cast<uint8_t>(i % 60);
      for (size_t j = 0; j < 32; ++j) blocks[i][2 + j] = static_cast<uint8_t>((i + j) % 128);
    }
    const GgufMatrix matrix = {blocks, sizeof(blocks), GgufType::kQ8_0, 64, 64};
    HEED_RETURN_IF_ERROR(dequantize_gguf(matrix, MutableTensorView(out, {64, 64}), c));
    return Product(pack_gguf(matrix, c), out + 64 * 64, c);
  });
}

void Operations::AddOthers() {
  Add("softmax", 400 * 64, [this](Context& c, float* out) {
    SoftmaxOptions options;
    options.scale = 15.0f;
    const TensorView repeated(static_cast<const float*>(x_.view().data), {10, 40, 64}, {0, 64, 1});
    return softmax(repeated, MutableTensorView(out, {10, 40, 64}), options, c);
  });
  Add("matmul", 40 * 64, [this](Context& c, float* out) {
    return matmul(x_.view(), weight_.view(), MutableTensorView(out, {40, 64}), {}, c);
  });
  Add("matmul of one row", 640, [this](Context& c, float* out) {
    const TensorView wide(static_cast<const float*>(weight_.view().data), {64, 640}, {4, 1});
    return matmul(x_.view().slice(0, 3, 4), wide, MutableTensorView(out, {1, 640}), {}, c);
  });
  Add("rope", 40 * 4 * 16, [this](Context& c, float* out) {
    return rope(q_.view(), TensorView(positions_, {40}), MutableTensorView(out, {1, 40, 4, 16}), {},
                c);
  });
  Add("quantize, dequantize", 40 * 64 + 40 * 2 + 3, [this](Context& c, float* out) {
    int8_t codes[40 * 64] = {};
    float* error = out + 40 * 64 + 40 * 2;
    const MutableTensorView code(codes, {40, 64}), scales(out + 40 * 64, {40, 2});
    const auto cost = quantize(x_.view(), DType::kInt4, 32, code, scales, {}, c);
    HEED_RETURN_IF_ERROR(cost.status());
    error[0] = cost->rms, error[1] = cost->largest, error[2] = cost->relative;
    return dequantize(code, scales, 32, MutableTensorView(out, {40, 64}), c);
  });
  Add("storage_error", 2, [this](Context& c, float* out) {
    const auto cost = storage_error(x_.view(), WeightLayout::kOutIn, {DType::kF16, 0}, {}, c);
    HEED_RETURN_IF_ERROR(cost.status());
    out[0] = cost->rms, out[1] = cost->relative;
    return Status();
  });
  Add("hadamard", 40 * 64, [this](Context& c, float* out) {
    return hadamard(x_.view(), MutableTensorView(out, {40, 64}), c);
  });
  Add("alibi_slopes", 12,
      [](Context&, float* out) { return alibi_slopes(MutableTensorView(out, {12})); });
  Add("dropout_mask", 40 * 40, [](Context&, float* out) {
    return dropout_mask(0.3f, 7, MutableTensorView(out, {1, 1, 40, 40}));
  });
  Add("MultiHeadAttention", 40 * 64, [this](Context& c, float* out) {
    MultiHeadAttentionConfig config;
    config.d_in = 64;
    config.num_heads = config.num_kv_heads = 4;
    config.head_dim = config.v_head_dim = 16;
    config.causal = true;
    config.rope = RopeOptions();
    MultiHeadAttentionWeights weights;
    weights.q.weight = weights.k.weight = weights.v.weight = weights.out.weight = weight_.view();
    weights.q_norm = weights.k_norm = TensorView(static_cast<const float*>(x_.view().data), {16});
    const Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, c);
    HEED_RETURN_IF_ERROR(layer.status());
    return layer->forward(x_.view(), MutableTensorView(out, {40, 64}), {}, c);
  });
  Add("calls that are refused", 0, [this](Context& c, float*) {
    float mask = 0;
    SoftmaxOptions options;
    options.scale = std::numeric_limits<float>::infinity();
    const bool refused = !softmax(x_.view(), x_.mutable_view(), options, c).ok() &&
                         !dropout_mask(2.0f, 1, MutableTensorView(&mask, {1, 1, 1, 1})).ok();
    return refused ? Status() : Status::Error(StatusCode::kUnsupported, "not refused");
  });
}

}  // namespace heed::test
