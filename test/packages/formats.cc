// formats [FORMAT...]: heed that was built with these formats (and f32) takes them in every place
// where keys, values and weights are stored, and refuses the others by name, with nothing written.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <heed/heed.hpp>
#include <string>
#include <vector>

namespace {

using heed::DType;

int failures = 0;

void Fail(const char* what, const char* format, const char* found) {
  std::printf("%s of %s: %s\n", what, format, found);
  ++failures;
}

// A format, and whether the library has it.
struct Format {
  DType dtype;
  bool built;

  // `what` begins with the argument that a refusal names.
  void Check(const char* what, const heed::Status& status) const {
    const std::string name = std::string(what).substr(0, std::strcspn(what, " "));
    const char* of = heed::name_of(dtype);
    if (built) {
      if (!status.ok()) Fail(what, of, status.message());
      return;
    }
    const std::string text = status.message();
    if (status.code() != heed::StatusCode::kUnsupported ||
        text.find(name + ": ") == std::string::npos ||
        text.find(std::string(" ") + of + ", which this build of heed has been made without") ==
            std::string::npos) {
      Fail(what, of, status.ok() ? "taken" : status.message());
    }
  }
  bool codes() const { return dtype == DType::kInt8 || dtype == DType::kInt4; }
};

constexpr size_t kKeys = 40, kDim = 64, kIn = 64, kOut = 32;
alignas(64) float zeros[kKeys * kDim];

// Keys or values of a type, all 0, with their scales.
struct Stored {
  heed::TensorView elements, scales;

  explicit Stored(DType dtype) {
    const size_t shape[] = {kKeys, 1, dtype == DType::kInt4 ? kDim / 2 : kDim};
    elements = heed::TensorView(zeros, dtype, shape, 3);
    const size_t of_scales[] = {kKeys, 1, kDim / 32};
    if (dtype == DType::kInt8) scales = heed::TensorView(zeros, DType::kF32, of_scales, 2);
    if (dtype == DType::kInt4) scales = heed::TensorView(zeros, DType::kF16, of_scales, 3);
  }
};

void Attention(const Format& format, heed::Context& context) {
  const Stored f32(DType::kF32), stored(format.dtype);
  for (const bool keys : {true, false}) {
    for (const size_t rows : {size_t{1}, size_t{30}}) {
      for (const heed::Compute compute : {heed::Compute::kF32, heed::Compute::kInt16}) {
        if (compute == heed::Compute::kInt16 && !format.codes()) continue;
        std::vector<float> q(rows * kDim), out(q.size(), 7.0f);
        heed::AttentionOptions options;
        options.compute = compute;
        (keys ? options.k_scales : options.v_scales) = stored.scales;
        const heed::Status status = heed::attention(
            {q.data(), {rows, 1, kDim}}, keys ? stored.elements : f32.elements,
            keys ? f32.elements : stored.elements, {out.data(), {rows, 1, kDim}}, options, context);
        format.Check(keys ? "k of attention" : "v of attention", status);
        const float wanted = format.built ? 0.0f : 7.0f;
        for (const float x : out) {
          if (x == wanted) continue;
          Fail("out of attention", heed::name_of(format.dtype), "wrong");
          break;
        }
      }
    }
  }
}

template <class Cache, class Config>
void Caches(const Format& format, Config config) {
  config.num_kv_heads = 1;
  config.head_dim = config.v_head_dim = kDim;
  Config keys = config, values = config;
  keys.k_dtype = values.v_dtype = format.dtype;
  format.Check("k_dtype of a cache", Cache::create(keys).status());
  format.Check("v_dtype of a cache", Cache::create(values).status());
  format.Check("k_dtype of a cache's size", Cache::memory_bytes(keys).status());
}

// Every kernel of a format that is built: one that was left out would be called through null.
void Use(const Format& format, heed::Context& context) {
  const heed::PackOptions options = {format.dtype, format.codes() ? size_t{32} : size_t{0}};
  std::vector<float> ones(kKeys * kDim, 1.0f);
  const heed::TensorView weights(ones.data(), {kIn, kOut});
  const heed::Result<heed::PackedMatrix> matrix =
      heed::PackedMatrix::pack(weights, heed::WeightLayout::kInOut, options, context);
  for (const heed::Compute compute : {heed::Compute::kF32, heed::Compute::kInt16}) {
    if (compute == heed::Compute::kInt16 && !format.codes()) continue;
    for (const size_t rows : {size_t{1}, size_t{30}}) {
      std::vector<float> a(rows * kIn, 1.0f), c(rows * kOut), out(rows * kDim);
      heed::MatmulOptions product;
      product.compute = compute;
      format.Check("matmul", heed::matmul({a.data(), {rows, kIn}}, *matrix,
                                          {c.data(), {rows, kOut}}, product, context));
      for (const float x : c) {
        if (std::fabs(x - kIn) > 0.01f) return Fail("matmul", heed::name_of(format.dtype), "wrong");
      }
      for (const bool values_in_keys : {false, true}) {
        heed::KvCacheConfig config;
        config.num_kv_heads = 1;
        config.head_dim = config.v_head_dim = kDim;
        config.capacity = kKeys;
        config.k_dtype = config.v_dtype = format.dtype;
        config.values_in_keys = values_in_keys;
        heed::Result<heed::KvCache> cache = heed::KvCache::create(config);
        const heed::TensorView tokens(ones.data(), {1, kKeys, 1, kDim});
        format.Check("append", values_in_keys ? cache->append(tokens, context)
                                              : cache->append(tokens, tokens, context));
        heed::AttentionOptions attention;
        attention.compute = compute;
        format.Check("attention over a cache",
                     heed::attention({a.data(), {1, rows, 1, kDim}}, *cache,
                                     {out.data(), {1, rows, 1, kDim}}, attention, context));
        for (const float x : out) {
          if (std::fabs(x - 1.0f) < 0.01f) continue;
          return Fail("attention over a cache", heed::name_of(format.dtype), "wrong");
        }
      }
    }
  }
}

uint32_t Crc32c(const unsigned char* data, size_t bytes) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

// A saved matrix of another type, as far as its header says.
heed::Status Map(uint32_t type, uint32_t group, heed::Context& context) {
  const heed::Result<heed::PackedMatrix> matrix =
      heed::PackedMatrix::pack({zeros, {kIn, kOut}}, heed::WeightLayout::kInOut, context);
  std::vector<unsigned char> bytes(matrix->saved_bytes() + 64);
  unsigned char* data = bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
  if (!matrix->save(data, matrix->saved_bytes()).ok()) return heed::Status();
  std::memcpy(data + 16, &type, 4);
  std::memcpy(data + 20, &group, 4);
  const uint32_t crc = Crc32c(data, 52);
  std::memcpy(data + 52, &crc, 4);
  return heed::PackedMatrix::map(data, matrix->saved_bytes()).status();
}

void Weights(const Format& format, heed::Context& context) {
  const heed::PackOptions options = {format.dtype, format.codes() ? size_t{32} : size_t{0}};
  const heed::TensorView b(zeros, {kIn, kOut});
  format.Check("dtype of pack",
               heed::PackedMatrix::pack(b, heed::WeightLayout::kInOut, options, context).status());
  format.Check("dtype of a matrix's size",
               heed::PackedMatrix::memory_bytes(kIn, kOut, options).status());
  format.Check("dtype of storage_error",
               heed::storage_error(b, heed::WeightLayout::kInOut, options, {}, context).status());
  heed::MultiHeadAttentionConfig config;
  config.d_in = config.head_dim = kDim;
  config.num_heads = 1;
  static float weight[kDim * kDim];
  heed::MultiHeadAttentionWeights weights;
  for (heed::LinearWeights* of : {&weights.q, &weights.k, &weights.v, &weights.out}) {
    of->weight = heed::TensorView(weight, {kDim, kDim});
  }
  if (const heed::Status plain =
          heed::MultiHeadAttention::create(config, weights, context).status();
      !plain.ok()) {
    Fail("a layer", "f32", plain.message());
  }
  weights.out.storage = options;
  format.Check("dtype of a layer",
               heed::MultiHeadAttention::create(config, weights, context).status());
  weights.out.storage = {};
  config.v_cache_dtype = format.dtype;
  format.Check("config.v_cache_dtype of a layer",
               heed::MultiHeadAttention::create(config, weights, context).status());
  if (!format.codes()) {
    for (const size_t rows : {size_t{1}, size_t{8}}) {
      std::vector<float> a(rows * kIn), c(rows * kOut);
      const size_t shape[] = {kIn, kOut};
      format.Check("b of matmul", heed::matmul({a.data(), {rows, kIn}},
                                               heed::TensorView(zeros, format.dtype, shape, 2),
                                               {c.data(), {rows, kOut}}, {}, context));
      // What is converted may be of any type.
      const heed::Status converted =
          heed::PackedMatrix::pack(heed::TensorView(zeros, format.dtype, shape, 2),
                                   heed::WeightLayout::kInOut, {}, context)
              .status();
      if (!converted.ok()) Fail("b of pack", heed::name_of(format.dtype), converted.message());
    }
  } else {
    static int8_t codes[kIn * kOut];
    static float scales[kIn / 32 * kOut];
    const heed::QuantizedView quantized = {{codes, {kIn, kOut}}, {scales, {kIn / 32, kOut}}};
    format.Check("dtype of pack_quantized",
                 heed::PackedMatrix::pack_quantized(&quantized, 1, heed::WeightLayout::kInOut,
                                                    options, context)
                     .status());
    format.Check("dtype of quantize",
                 heed::quantize({zeros, {kOut, kIn}}, format.dtype, 32, {codes, {kOut, kIn}},
                                {scales, {kOut, kIn / 32}}, {}, context)
                     .status());
    const bool int4 = format.dtype == DType::kInt4;
    heed::GgufMatrix blocks;
    static const unsigned char data[kOut * kIn / 32 * 34] = {};
    blocks.blocks = data;
    blocks.type = int4 ? heed::GgufType::kQ4_0 : heed::GgufType::kQ8_0;
    blocks.out = kOut;
    blocks.in = kIn;
    blocks.bytes = kOut * kIn / 32 * (int4 ? 18u : 34u);
    format.Check("type of pack_gguf", heed::pack_gguf(blocks, context).status());
  }
  if (!format.built) {
    // As files have them.
    const uint32_t type = format.dtype == DType::kF16    ? 1
                          : format.dtype == DType::kBF16 ? 2
                          : format.dtype == DType::kInt8 ? 3
                                                         : 4;
    format.Check("data of map", Map(type, static_cast<uint32_t>(options.group), context));
  }
}

// Attention in f32, against itself in doubles.
void F32(heed::Context& context) {
  std::vector<float> q(kDim), k(kKeys * kDim), v(k.size()), out(kDim);
  for (size_t i = 0; i < k.size(); ++i) {
    q[i % kDim] = static_cast<float>(i % 7) / 8.0f;
    k[i] = static_cast<float>(i % 11) / 16.0f - 0.25f;
    v[i] = static_cast<float>(i % 13) / 4.0f;
  }
  const heed::Status status =
      heed::attention({q.data(), {1, 1, kDim}}, {k.data(), {kKeys, 1, kDim}},
                      {v.data(), {kKeys, 1, kDim}}, {out.data(), {1, 1, kDim}}, {}, context);
  if (!status.ok()) return Fail("attention", "f32", status.message());
  std::vector<double> sums(kDim);
  double total = 0.0;
  for (size_t j = 0; j < kKeys; ++j) {
    double score = 0.0;
    for (size_t c = 0; c < kDim; ++c)
      score += static_cast<double>(q[c]) * static_cast<double>(k[j * kDim + c]);
    const double weight = std::exp(score / 8.0);
    total += weight;
    for (size_t c = 0; c < kDim; ++c) sums[c] += weight * static_cast<double>(v[j * kDim + c]);
  }
  for (size_t c = 0; c < kDim; ++c) {
    if (std::fabs(sums[c] / total - static_cast<double>(out[c])) > 1e-5)
      return Fail("out of attention", "f32", "wrong");
  }
}

}  // namespace

int main(int count, char** names) {
  heed::Context context;
  F32(context);
  Use({DType::kF32, true}, context);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kInt8, DType::kInt4}) {
    Format format = {dtype, false};
    for (int i = 1; i < count; ++i)
      format.built |= std::strcmp(names[i], heed::name_of(dtype)) == 0;
    Attention(format, context);
    Caches<heed::KvCache>(format, heed::KvCacheConfig{.capacity = 64});
    Caches<heed::PagedKvCache>(format, heed::PagedKvCacheConfig{.num_blocks = 4});
    Weights(format, context);
    if (format.built) Use(format, context);
  }
  if (failures == 0) std::puts("as built");
  return failures == 0 ? 0 : 1;
}
