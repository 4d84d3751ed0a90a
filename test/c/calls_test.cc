// What C computes has the bits of what C++ computes, function by function.
#include "test/c/calls.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

using Floats = std::vector<float>;

template <class T, size_t n>
void Fill(Random& random, T (&numbers)[n]) {
  for (T& x : numbers) x = random.Normal();
}

// Blocks of Q8_0: an f16 scale of 0.25 to 0.5, and 32 codes.
void FillBlocks(Random& random, Inputs* in) {
  for (size_t i = 0; i < sizeof(in->blocks); ++i) {
    in->blocks[i] = static_cast<uint8_t>(i % 34 == 1 ? 0x34 : random.Below(127));
  }
}

std::unique_ptr<Inputs> MakeInputs() {
  auto in = std::make_unique<Inputs>();
  Random random(11);
  Fill(random, in->q);
  Fill(random, in->k);
  Fill(random, in->v);
  Fill(random, in->mask);
  Fill(random, in->slopes);
  Fill(random, in->sinks);
  Fill(random, in->long_k);
  Fill(random, in->long_v);
  Fill(random, in->a);
  Fill(random, in->b);
  Fill(random, in->bias);
  Fill(random, in->scales);
  FillBlocks(random, in.get());
  for (int8_t& code : in->codes)
    code = static_cast<int8_t>(static_cast<int>(random.Below(255)) - 127);
  std::copy_n(std::begin({2, 0}), BATCH, in->prefix_lens);
  std::copy_n(std::begin({5, 4}), BATCH, in->kv_lens);
  std::fill(std::begin(in->key_mask), std::end(in->key_mask), uint8_t{1});
  in->key_mask[1] = 0;
  const uint8_t tree[] = {1, 0, 0, 1, 1, 0, 1, 0, 1};
  std::copy_n(tree, Q_LEN * Q_LEN, in->tree_mask);
  std::copy_n(std::begin({3, 700, 100000}), Q_LEN, in->positions);
  REQUIRE(heed_context_create(nullptr, &in->context, &in->error) == HEED_OK);
  return in;
}

// One comparison: the inputs, a context of C++, and buffers for both results.
struct Problem {
  std::unique_ptr<Inputs> in = MakeInputs();
  Context context;

  ~Problem() { heed_context_destroy(in->context); }

  TensorView q() const { return {in->q, {BATCH, Q_LEN, HEADS, DIM}}; }
  TensorView k() const { return {in->k, {BATCH, KV_LEN, KV_HEADS, DIM}}; }
  TensorView v() const { return {in->v, {BATCH, KV_LEN, KV_HEADS, DIM}}; }
  TensorView one_q() const { return {in->q, {1, Q_LEN, HEADS, DIM}}; }
  TensorView long_k() const { return {in->long_k, {1, LONG_LEN, KV_HEADS, DIM}}; }
  TensorView long_v() const { return {in->long_v, {1, LONG_LEN, KV_HEADS, DIM}}; }
  TensorView a() const { return {in->a, {ROWS, IN}}; }

  void CheckC(heed_status status) const {
    INFO(in->error.message);
    CHECK(status == HEED_OK);
    CHECK(in->error.code == HEED_OK);
    CHECK(std::string(in->error.message).empty());
  }
};

void CheckOk(const Status& status) { CHECK(std::string(status.message()).empty()); }

template <class A, class B>
void CheckSame(const A& a, const B& b, size_t bytes) {
  const auto* first = reinterpret_cast<const unsigned char*>(&a[0]);
  CHECK(std::memcmp(first, &b[0], bytes) == 0);
  CHECK(std::any_of(first, first + bytes, [](unsigned char byte) { return byte != 0; }));
}
void CheckSame(const Floats& a, const Floats& b) {
  REQUIRE(a.size() == b.size());
  CheckSame(a, b, a.size() * sizeof(float));
}

MutableTensorView Queries(Floats& data) { return {data.data(), {BATCH, Q_LEN, HEADS, DIM}}; }

TEST_CASE("attention with its options has the same bits from C") {
  Problem p;
  AttentionResults c, cpp;
  p.CheckC(CallAttention(p.in.get(), &c));
  AttentionOptions o;
  o.scale = 0.5f;
  o.logits_soft_cap = 3.0f;
  o.alibi_slopes = {p.in->slopes, {HEADS}};
  o.sinks = {p.in->sinks, {HEADS}};
  o.causal = true;
  o.window = 3;
  o.sink_tokens = 1;
  o.prefix_lens = {p.in->prefix_lens, {BATCH}};
  o.kv_lens = {p.in->kv_lens, {BATCH}};
  o.key_mask = {p.in->key_mask, {BATCH, KV_LEN}};
  o.mask = {p.in->mask, {HEADS, Q_LEN, KV_LEN}};
  o.dropout.probability = 0.25f;
  o.dropout.seed = 1234567890123;
  o.lse = {cpp.lse, {BATCH, HEADS, Q_LEN}};
  o.weights = {cpp.weights, {BATCH, HEADS, Q_LEN, KV_LEN}};
  o.key_scores = {cpp.key_scores, {BATCH, HEADS, KV_LEN}};
  CheckOk(attention(p.q(), p.k(), p.v(), {cpp.out, {BATCH, Q_LEN, HEADS, DIM}}, o, p.context));
  CheckSame(c.out, cpp.out, sizeof(c.out));
  CheckSame(c.lse, cpp.lse, sizeof(c.lse));
  CheckSame(c.weights, cpp.weights, sizeof(c.weights));
  CheckSame(c.key_scores, cpp.key_scores, sizeof(c.key_scores));
}

TEST_CASE("attention under a tree mask, packed, and of quantized keys has the same bits from C") {
  Problem p;
  Floats c(QUERIES), cpp(QUERIES);
  AttentionOptions o;
  o.causal = true;
  SUBCASE("tree") {
    p.CheckC(CallTree(p.in.get(), c.data()));
    o.tree_mask = {p.in->tree_mask, {Q_LEN, Q_LEN}};
    CheckOk(attention(p.q(), p.k(), p.v(), Queries(cpp), o, p.context));
  }
  SUBCASE("packed") {
    p.CheckC(CallPacked(p.in.get(), c.data()));
    const int32_t q_at[] = {0, 2, BATCH * Q_LEN}, k_at[] = {0, 3, BATCH * KV_LEN};
    o.cu_seqlens_q = {q_at, {3}};
    o.cu_seqlens_k = {k_at, {3}};
    CheckOk(attention({p.in->q, {BATCH * Q_LEN, HEADS, DIM}},
                      {p.in->k, {BATCH * KV_LEN, KV_HEADS, DIM}},
                      {p.in->v, {BATCH * KV_LEN, KV_HEADS, DIM}},
                      {cpp.data(), {BATCH * Q_LEN, HEADS, DIM}}, o, p.context));
  }
  SUBCASE("quantized keys") {
    p.CheckC(CallQuantizedKeys(p.in.get(), c.data()));
    std::vector<int8_t> codes(KEYS);
    Floats scales(KEYS / DIM);
    CheckOk(quantize(p.k(), DType::kInt8, 0, {codes.data(), {BATCH, KV_LEN, KV_HEADS, DIM}},
                     {scales.data(), {BATCH, KV_LEN, KV_HEADS, 1}}, {}, p.context)
                .status());
    o.k_scales = {scales.data(), {BATCH, KV_LEN, KV_HEADS}};
    CheckOk(attention(p.q(), {codes.data(), {BATCH, KV_LEN, KV_HEADS, DIM}}, p.v(), Queries(cpp), o,
                      p.context));
  }
  CheckSame(c, cpp);
}

TEST_CASE("decoding through a ring has the same bits from C") {
  Problem p;
  Floats c(QUERIES), cpp(QUERIES);
  p.CheckC(CallCache(p.in.get(), c.data()));
  KvCacheConfig config;
  config.batch = BATCH;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.capacity = 130;
  config.window = 4;
  config.k_dtype = DType::kBF16;
  config.v_dtype = DType::kInt8;
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(cache.ok());
  AttentionOptions o;
  o.causal = true;
  o.window = 4;
  for (size_t token = 0; token < Q_LEN; ++token) {
    CheckOk(cache->append(p.k().slice(1, token, token + 1), p.v().slice(1, token, token + 1),
                          p.context));
    CheckOk(attention(p.q().slice(1, token, token + 1), *cache,
                      Queries(cpp).slice(1, token, token + 1), o, p.context));
  }
  CheckSame(c, cpp);
}

TEST_CASE("attention over pages has the same bits from C") {
  Problem p;
  Floats c(QUERIES), cpp(QUERIES);
  p.CheckC(CallPaged(p.in.get(), c.data()));
  PagedKvCacheConfig config;
  config.num_blocks = 12;
  config.block_size = 2;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.v_dtype = DType::kF16;
  Result<PagedKvCache> cache = PagedKvCache::create(config);
  REQUIRE(cache.ok());
  PagedSequence sequences[BATCH];
  sequences[0] = *cache->add();
  CheckOk(cache->append(sequences[0], p.k().slice(0, 0, 1), p.v().slice(0, 0, 1), p.context));
  sequences[1] = *cache->fork(sequences[0], 3);
  CheckOk(cache->append(sequences, p.k(), p.v(), p.context));
  CheckOk(cache->truncate(sequences[0], 9));
  AttentionOptions o;
  o.causal = true;
  CheckOk(attention(p.q(), *cache->view(sequences), Queries(cpp), o, p.context));
  CheckSame(c, cpp);
}

TEST_CASE("parts of the keys and results that are merged have the same bits from C") {
  Problem p;
  constexpr size_t kOut = HEADS * Q_LEN * DIM, kLse = HEADS * Q_LEN;
  Floats c(kOut), c_lse(kLse), cpp(kOut), cpp_lse(kLse);
  const MutableTensorView out(cpp.data(), {1, Q_LEN, HEADS, DIM});
  const MutableTensorView lse(cpp_lse.data(), {1, HEADS, Q_LEN});
  SUBCASE("parts") {
    p.CheckC(CallParts(p.in.get(), c.data(), c_lse.data()));
    AttentionOptions o;
    o.causal = true;
    o.sinks = {p.in->sinks, {HEADS}};
    o.lse = lse;
    CheckOk(attention(p.one_q(), p.long_k(), p.long_v(), out, o, p.context));
  }
  SUBCASE("results") {
    p.CheckC(CallMergeResults(p.in.get(), c.data(), c_lse.data()));
    Floats outs[2] = {Floats(kOut), Floats(kOut)}, lses[2] = {Floats(kLse), Floats(kLse)};
    for (size_t part = 0; part < 2; ++part) {
      AttentionOptions o;
      o.lse = {lses[part].data(), {1, HEADS, Q_LEN}};
      CheckOk(attention(p.one_q(), p.long_k().slice(1, part * 500, part * 500 + 400),
                        p.long_v().slice(1, part * 500, part * 500 + 400),
                        {outs[part].data(), {1, Q_LEN, HEADS, DIM}}, o, p.context));
    }
    CheckOk(merge_attention({outs[0].data(), {1, Q_LEN, HEADS, DIM}},
                            {lses[0].data(), {1, HEADS, Q_LEN}},
                            {outs[1].data(), {1, Q_LEN, HEADS, DIM}},
                            {lses[1].data(), {1, HEADS, Q_LEN}}, out, lse, p.context));
  }
  CheckSame(c, cpp);
  CheckSame(c_lse, cpp_lse);
}

TEST_CASE("ALiBi's slopes and dropout's mask are the same from C") {
  Problem p;
  Floats slopes(HEADS), dropped(LSE * KV_LEN), cpp_slopes(HEADS), cpp_dropped(LSE * KV_LEN);
  p.CheckC(CallMasks(p.in.get(), slopes.data(), dropped.data()));
  CheckOk(alibi_slopes({cpp_slopes.data(), {HEADS}}));
  CheckOk(dropout_mask(0.5f, 77, {cpp_dropped.data(), {BATCH, HEADS, Q_LEN, KV_LEN}}));
  CheckSame(slopes, cpp_slopes);
  CheckSame(dropped, cpp_dropped);
}

TEST_CASE("matrix products have the same bits from C") {
  Problem p;
  Floats c(ROWS * 2 * OUT), cpp(ROWS * 2 * OUT);
  const TensorView b(p.in->b, {OUT, IN});
  SUBCASE("plain") {
    p.CheckC(CallMatmul(p.in.get(), c.data()));
    MatmulOptions o;
    o.bias = {p.in->bias, {OUT}};
    CheckOk(matmul(p.a(), b.transpose(0, 1), {cpp.data(), {ROWS, OUT}}, o, p.context));
  }
  SUBCASE("packed as int4, saved and mapped") {
    p.CheckC(CallPackedMatrix(p.in.get(), c.data()));
    const TensorView two[] = {b, b};
    const auto packed =
        PackedMatrix::pack(two, 2, WeightLayout::kOutIn, {DType::kInt4, 32}, p.context);
    REQUIRE(packed.ok());
    CheckOk(matmul(p.a(), *packed, {cpp.data(), {ROWS, 2 * OUT}}, {}, p.context));
  }
  SUBCASE("quantized already, in int16") {
    p.CheckC(CallQuantizedMatrix(p.in.get(), c.data()));
    const QuantizedView quantized = {{p.in->codes, {IN, OUT}}, {p.in->scales, {IN / 32, OUT}}};
    const auto packed = PackedMatrix::pack_quantized(&quantized, 1, WeightLayout::kInOut,
                                                     {DType::kInt8, 32}, p.context);
    REQUIRE(packed.ok());
    MatmulOptions o;
    o.compute = Compute::kInt16;
    CheckOk(matmul(p.a(), *packed, {cpp.data(), {ROWS, OUT}}, o, p.context));
  }
  SUBCASE("of GGUF") {
    Floats y(OUT * IN), cpp_y(OUT * IN);
    p.CheckC(CallGguf(p.in.get(), c.data(), y.data()));
    const GgufMatrix matrix = {p.in->blocks, sizeof(p.in->blocks), GgufType::kQ8_0, OUT, IN};
    CheckOk(dequantize_gguf(matrix, {cpp_y.data(), {OUT, IN}}, p.context));
    CheckSame(y, cpp_y);
    const auto packed = pack_gguf(matrix, p.context);
    REQUIRE(packed.ok());
    CheckOk(matmul(p.a(), *packed, {cpp.data(), {ROWS, OUT}}, {}, p.context));
  }
  CheckSame(c, cpp);
}

TEST_CASE("regions, and calls all of whose memory is the host's, have the same bits from C") {
  Problem p;
  Floats c_out(QUERIES), out(QUERIES), c_product(ROWS * OUT), product(ROWS * OUT);
  SUBCASE("regions") { p.CheckC(CallRegions(p.in.get(), c_out.data(), c_product.data())); }
  SUBCASE("memory") { p.CheckC(CallInMemory(p.in.get(), c_out.data(), c_product.data())); }
  AttentionOptions o;
  o.causal = true;
  CheckOk(attention(p.q(), p.k(), p.v(), Queries(out), o, p.context));
  CheckOk(
      matmul(p.a(), TensorView(p.in->b, {IN, OUT}), {product.data(), {ROWS, OUT}}, {}, p.context));
  CheckSame(c_out, out);
  CheckSame(c_product, product);
}

TEST_CASE("softmax, rope and hadamard have the same bits from C") {
  Problem p;
  Floats c(ROWS * IN), cpp(ROWS * IN);
  const MutableTensorView y(cpp.data(), {ROWS, IN});
  SUBCASE("softmax") {
    p.CheckC(CallSoftmax(p.in.get(), c.data()));
    CheckOk(softmax(p.a(), y, {2.5f}, p.context));
  }
  SUBCASE("rope") {
    p.CheckC(CallRope(p.in.get(), c.data()));
    RopeOptions o;
    o.rope_dim = 6;
    o.theta = 5000;
    o.interleaved = true;
    o.scaling.type = RopeScalingType::kYarn;
    o.scaling.factor = 4;
    o.scaling.original_max_position_embeddings = 512;
    o.scaling.attention_factor = 1.25;
    CheckOk(rope(p.q(), {p.in->positions, {Q_LEN}}, Queries(cpp), o, p.context));
  }
  SUBCASE("hadamard") {
    p.CheckC(CallHadamard(p.in.get(), c.data()));
    CheckOk(hadamard(p.a(), y, p.context));
  }
  CheckSame(c, cpp);
}

TEST_CASE("conversions and quantization have the same bits from C") {
  Problem p;
  std::vector<bf16> halves(ROWS * IN);
  std::vector<uint16_t> c_halves(ROWS * IN);
  p.CheckC(CallConvert(p.in.get(), c_halves.data()));
  CheckOk(convert(p.a(), {halves.data(), {ROWS, IN}}, p.context));
  CheckSame(c_halves, halves, sizeof(bf16) * halves.size());

  std::vector<int8_t> c_codes(ROWS * IN), codes(ROWS * IN);
  Floats c_scales(ROWS * IN / 32), scales(ROWS * IN / 32), c_rms(ROWS), rms(ROWS);
  Floats c_y(ROWS * IN), y(ROWS * IN);
  heed_quantization_error totals[2] = {};
  p.CheckC(
      CallQuantize(p.in.get(), c_codes.data(), c_scales.data(), c_rms.data(), c_y.data(), totals));
  RowErrors errors;
  errors.rms = {rms.data(), {ROWS}};
  const auto total = quantize(p.a(), DType::kInt8, 32, {codes.data(), {ROWS, IN}},
                              {scales.data(), {ROWS, IN / 32}}, errors, p.context);
  CheckOk(total.status());
  CheckOk(dequantize({codes.data(), {ROWS, IN}}, {scales.data(), {ROWS, IN / 32}}, 32,
                     {y.data(), {ROWS, IN}}, p.context));
  CheckSame(c_codes, codes, codes.size());
  CheckSame(c_scales, scales);
  CheckSame(c_rms, rms);
  CheckSame(c_y, y);
  const auto stored =
      storage_error({p.in->b, {OUT, IN}}, WeightLayout::kOutIn, {DType::kInt4, 64}, {}, p.context);
  CheckOk(stored.status());
  CheckSame(&totals[0].rms, &*total, sizeof(*total));
  CheckSame(&totals[1].rms, &*stored, sizeof(*stored));
}

TEST_CASE(
    "a layer in memory of the host's, whole, in tasks and by token, has the same bits from C") {
  Problem p;
  LayerResults c;
  p.CheckC(CallLayer(p.in.get(), &c));
  MultiHeadAttentionConfig config;
  config.d_in = IN;
  config.num_heads = HEADS;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.rope.emplace().theta = 5000;
  config.window = 2;
  MultiHeadAttentionWeights weights;
  weights.q.weight = {p.in->long_k, {HEADS * DIM, IN}};
  weights.q.bias = {p.in->bias, {HEADS * DIM}};
  weights.k.weight = {p.in->long_v, {KV_HEADS * DIM, IN}};
  weights.v = weights.k;
  weights.out.weight = {p.in->long_v, {IN, HEADS * DIM}};
  weights.out.storage.dtype = DType::kInt8;
  weights.k_norm = {p.in->a, {DIM}};
  const auto layer = MultiHeadAttention::create(config, weights, p.context);
  REQUIRE(layer.ok());
  Floats y(Q_LEN * IN), lse(HEADS * Q_LEN);
  ForwardOptions o;
  o.lse = {lse.data(), {1, HEADS, Q_LEN}};
  CheckOk(layer->forward({p.in->a, {1, Q_LEN, IN}}, {y.data(), {1, Q_LEN, IN}}, o, p.context));
  CheckSame(c.whole, y, sizeof(c.whole));
  CheckSame(c.region, y, sizeof(c.region));
  CheckSame(c.tokens, y, sizeof(c.tokens));
  CheckSame(c.lse, lse, sizeof(c.lse));
  CHECK(c.length == Q_LEN);
  CHECK(c.bytes == layer->bytes());
  CHECK(c.d_out == layer->d_out());
}

TEST_CASE("C knows what build and which machine it runs on") {
  CHECK(std::string(heed_version()) == version());
  char of_headers[32];
  std::snprintf(of_headers, sizeof(of_headers), "%d.%d.%d", HEED_VERSION / 10000,
                HEED_VERSION / 100 % 100, HEED_VERSION % 100);
  CHECK(std::string(heed_version()) == of_headers);
  CHECK(heed_numerics_version() == kNumericsVersion);
  CHECK(numerics_version() == kNumericsVersion);
  const char* c[16] = {};
  const char* cpp[16] = {};
  REQUIRE(heed_supported_targets(c, 16) == supported_targets(cpp, 16));
  CHECK(std::equal(std::begin(c), std::end(c), cpp));
  CHECK(heed_supported_targets(nullptr, 16) == supported_targets(cpp, 16));
  CHECK(heed_compiled_targets(nullptr, 16) == compiled_targets(cpp, 16));
  REQUIRE(heed_compiled_targets(c, 1) == compiled_targets(cpp, 1));
  CHECK(c[0] == cpp[0]);
  CHECK(heed_family_of(nullptr) == static_cast<heed_family>(family()));
  CHECK(heed_family_of("SSE2") == HEED_FAMILY_MULTIPLY_ADD);
  CHECK(std::string(heed_family_name(HEED_FAMILY_FMA)) == "fma");
  CHECK(std::string(heed_status_name(HEED_CAPACITY_EXCEEDED)) == "capacity exceeded");
  CHECK(std::string(heed_status_name(77)) == "unknown status");
  CHECK(std::string(name_of(StatusCode::kMeasured)) == "measured");
  CHECK(heed_dtype_size(HEED_DTYPE_BF16) == 2);
  CHECK(heed_dtype_size(77) == 0);
  CHECK(std::string(heed_dtype_name(HEED_DTYPE_INT4)) == "int4");
}

TEST_CASE("a context of C has the options that it was given") {
  heed_context_options options;
  heed_context_options_init(&options, sizeof(options));
  const char* target = nullptr;
  heed_supported_targets(&target, 1);
  options.target = target;
  options.num_threads = 3;
  options.parallel_for.run = [](void* pool, size_t workers, void (*body)(void*, size_t),
                                void* arg) {
    ++*static_cast<int*>(pool);
    for (size_t worker = 0; worker < workers; ++worker) body(arg, worker);
  };
  int runs = 0;
  options.parallel_for.pool = &runs;
  heed_context* context = nullptr;
  REQUIRE(heed_context_create(&options, &context, nullptr) == HEED_OK);
  CHECK(std::string(heed_context_target(context)) == target);
  CHECK(heed_context_num_threads(context) == 3);
  const Floats x(512 * 512, 1.0f);
  Floats y(512 * 512);
  heed_tensor from, to;
  const size_t sizes[] = {512, 512};
  heed_tensor_contiguous(&from, x.data(), HEED_DTYPE_F32, 2, sizes);
  heed_tensor_contiguous(&to, y.data(), HEED_DTYPE_F32, 2, sizes);
  CHECK(heed_matmul(&from, &from, &to, nullptr, context, nullptr) == HEED_OK);
  CHECK(runs > 0);
  CHECK(heed_context_workspace_bytes(context) > 0);
  heed_context_destroy(context);
}

}  // namespace
}  // namespace heed::test
