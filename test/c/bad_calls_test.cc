// Bad input through C: what is null, no tensor, no type or no number is refused by name, and nothing
// is written.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"

namespace heed::test {
namespace {

constexpr float kUntouchedResult = 1234.5f;

heed_tensor Floats(const float* data, std::vector<size_t> sizes) {
  heed_tensor tensor;
  heed_tensor_contiguous(&tensor, data, HEED_DTYPE_F32, sizes.size(), sizes.data());
  return tensor;
}

template <class T>
T Made(void (*init)(T*, size_t)) {
  T made;
  init(&made, sizeof(made));
  return made;
}

// Valid arguments of every function, to be spoiled one by one. Sizes are 2, heads 1.
struct World {
  float inputs[64] = {};
  float results[64];
  int32_t lengths[2] = {0, 1};
  int8_t codes[4] = {1, 2, 3, 4};
  alignas(64) uint8_t saved[4096] = {};
  heed_tensor q = Floats(inputs, {1, 2, 1, 2}), k = q, v = q;
  heed_tensor out = Floats(results, {1, 2, 1, 2}), lse = Floats(results + 8, {1, 1, 2});
  heed_tensor mask = Floats(results + 16, {1, 1, 2, 2}), slopes = Floats(results, {1});
  heed_tensor a = Floats(inputs, {2, 2}), c = Floats(results, {2, 2});
  heed_tensor x = Floats(inputs, {2, 1, 2}), y = Floats(results, {2, 1, 2});
  heed_tensor positions = a, code_tensor = a, scales = Floats(results + 32, {2, 1});
  heed_quantized_view quantized;
  uint8_t blocks[68] = {};
  heed_gguf_matrix gguf = {blocks, sizeof(blocks), HEED_GGUF_TYPE_Q8_0, 2, 32};
  heed_tensor gguf_y = Floats(results, {2, 32});
  heed_attention_state state;
  heed_paged_kv view = Made(heed_paged_kv_init);
  size_t bytes = 0;
  heed_memory no_memory = {nullptr, 4096};
  heed_pack_options int8 = Made(heed_pack_options_init);
  heed_region region = {}, no_region = {};
  heed_context* context = nullptr;
  heed_kv_cache* cache = nullptr;
  heed_paged_kv_cache* pages = nullptr;
  heed_paged_sequence sequence;
  heed_packed_matrix* packed = nullptr;
  heed_multi_head_attention* layer = nullptr;
  heed_kv_cache_config cache_config = Made(heed_kv_cache_config_init);
  heed_paged_kv_cache_config pages_config = Made(heed_paged_kv_cache_config_init);
  heed_multi_head_attention_config config = Made(heed_multi_head_attention_config_init);
  heed_linear_weights linear = Made(heed_linear_weights_init);
  heed_multi_head_attention_weights weights = Made(heed_multi_head_attention_weights_init);

  World() {
    std::fill(std::begin(results), std::end(results), kUntouchedResult);
    const size_t two[] = {2}, square[] = {2, 2};
    heed_tensor_contiguous(&positions, lengths, HEED_DTYPE_I32, 1, two);
    heed_tensor_contiguous(&code_tensor, codes, HEED_DTYPE_INT8, 2, square);
    quantized = {code_tensor, Floats(inputs, {1, 2})};
    state = {Floats(results, {1, 1, 1, 2}), Floats(results + 2, {1, 1, 1, 2}),
             Floats(results + 4, {1, 1, 2, 1, 2})};
    int8.dtype = HEED_DTYPE_INT8;
    pages_config.max_sequences = 2;
    cache_config.num_kv_heads = pages_config.num_kv_heads = 1;
    cache_config.head_dim = pages_config.head_dim = 2;
    cache_config.capacity = pages_config.num_blocks = 4;
    config.d_in = config.head_dim = 2;
    config.num_heads = 1;
    linear.weight = &a;
    weights.q = weights.k = weights.v = &linear;
    heed_error error = {};
    heed_context_create(nullptr, &context, &error);
    heed_kv_cache_create(&cache_config, nullptr, &cache, &error);
    heed_kv_cache_append(cache, &k, &v, context, &error);
    heed_paged_kv_cache_create(&pages_config, nullptr, &pages, &error);
    heed_paged_kv_cache_add(pages, &sequence, &error);
    heed_paged_kv_cache_append(pages, &sequence, 1, &k, &v, context, &error);
    heed_paged_kv_cache_view(pages, &sequence, 1, &view, &error);
    heed_packed_matrix_pack(&a, 1, HEED_WEIGHT_LAYOUT_IN_OUT, nullptr, nullptr, context, &packed,
                            &error);
    heed_packed_matrix_save(packed, saved, sizeof(saved), &error);
    heed_multi_head_attention_create(&config, &weights, nullptr, context, &layer, &error);
    REQUIRE(std::string(error.message).empty());
  }
  ~World() {
    heed_multi_head_attention_destroy(layer);
    heed_packed_matrix_destroy(packed);
    heed_paged_kv_cache_destroy(pages);
    heed_kv_cache_destroy(cache);
    heed_context_destroy(context);
  }

  bool Untouched() const {
    return std::all_of(std::begin(results), std::end(results),
                       [](float result) { return result == kUntouchedResult; }) &&
           heed_kv_cache_length(cache) == 2 && heed_paged_kv_cache_num_sequences(pages) == 1;
  }
};

struct BadCall {
  const char* function;
  const char* argument;  // with which the message begins
  heed_status (*run)(World& w, heed_error* error);
};

// clang-format off
#define CALL(function, argument, ...) \
  {#function, argument, []([[maybe_unused]] World& w, heed_error* e) { return function(__VA_ARGS__, e); }}
const BadCall kNulls[] = {
    CALL(heed_context_create, "context", nullptr, nullptr),
    CALL(heed_attention, "q", nullptr, &w.k, &w.v, &w.out, nullptr, w.context),
    CALL(heed_attention, "k", &w.q, nullptr, &w.v, &w.out, nullptr, w.context),
    CALL(heed_attention, "v", &w.q, &w.k, nullptr, &w.out, nullptr, w.context),
    CALL(heed_attention, "out", &w.q, &w.k, &w.v, nullptr, nullptr, w.context),
    CALL(heed_attention, "context", &w.q, &w.k, &w.v, &w.out, nullptr, nullptr),
    CALL(heed_attention_cache, "q", nullptr, w.cache, &w.out, nullptr, w.context),
    CALL(heed_attention_cache, "cache", &w.q, nullptr, &w.out, nullptr, w.context),
    CALL(heed_attention_cache, "out", &w.q, w.cache, nullptr, nullptr, w.context),
    CALL(heed_attention_cache, "context", &w.q, w.cache, &w.out, nullptr, nullptr),
    CALL(heed_attention_paged, "q", nullptr, &w.view, &w.out, nullptr, w.context),
    CALL(heed_attention_paged, "kv", &w.q, nullptr, &w.out, nullptr, w.context),
    CALL(heed_attention_paged, "out", &w.q, &w.view, nullptr, nullptr, w.context),
    CALL(heed_attention_paged, "context", &w.q, &w.view, &w.out, nullptr, nullptr),
    CALL(heed_alibi_slopes, "slopes", nullptr),
    CALL(heed_dropout_mask, "mask", 0.5f, 1, nullptr),
    CALL(heed_attention_partial, "q", nullptr, &w.k, &w.v, 0, 2, &w.state, nullptr, w.context),
    CALL(heed_attention_partial, "k", &w.q, nullptr, &w.v, 0, 2, &w.state, nullptr, w.context),
    CALL(heed_attention_partial, "v", &w.q, &w.k, nullptr, 0, 2, &w.state, nullptr, w.context),
    CALL(heed_attention_partial, "state", &w.q, &w.k, &w.v, 0, 2, nullptr, nullptr, w.context),
    CALL(heed_attention_partial, "context", &w.q, &w.k, &w.v, 0, 2, &w.state, nullptr, nullptr),
    CALL(heed_merge_attention, "parts", nullptr, 1, nullptr, &w.out, nullptr, w.context),
    CALL(heed_merge_attention, "out", nullptr, 0, nullptr, nullptr, nullptr, w.context),
    CALL(heed_merge_attention, "context", nullptr, 0, nullptr, &w.out, nullptr, nullptr),
    CALL(heed_merge_attention_results, "out_a", nullptr, &w.lse, &w.q, &w.lse, &w.out, nullptr, w.context),
    CALL(heed_merge_attention_results, "lse_a", &w.q, nullptr, &w.q, &w.lse, &w.out, nullptr, w.context),
    CALL(heed_merge_attention_results, "out_b", &w.q, &w.lse, nullptr, &w.lse, &w.out, nullptr, w.context),
    CALL(heed_merge_attention_results, "lse_b", &w.q, &w.lse, &w.q, nullptr, &w.out, nullptr, w.context),
    CALL(heed_merge_attention_results, "out", &w.q, &w.lse, &w.q, &w.lse, nullptr, nullptr, w.context),
    CALL(heed_merge_attention_results, "context", &w.q, &w.lse, &w.q, &w.lse, &w.out, nullptr, nullptr),
    CALL(heed_kv_cache_create, "config", nullptr, nullptr, &w.cache),
    CALL(heed_kv_cache_create, "cache", &w.cache_config, nullptr, nullptr),
    CALL(heed_kv_cache_memory_bytes, "config", nullptr, &w.bytes),
    CALL(heed_kv_cache_memory_bytes, "bytes", &w.cache_config, nullptr),
    CALL(heed_kv_cache_create_without_data, "config", nullptr, 1, &w.cache),
    CALL(heed_kv_cache_create_without_data, "cache", &w.cache_config, 1, nullptr),
    CALL(heed_kv_cache_create, "memory", &w.cache_config, &w.no_memory, &w.cache),
    CALL(heed_paged_kv_cache_memory_bytes, "config", nullptr, &w.bytes),
    CALL(heed_paged_kv_cache_memory_bytes, "bytes", &w.pages_config, nullptr),
    CALL(heed_paged_kv_cache_create, "memory", &w.pages_config, &w.no_memory, &w.pages),
    CALL(heed_packed_matrix_memory_bytes, "bytes", 2, 2, nullptr, nullptr),
    CALL(heed_packed_matrix_pack, "memory", &w.a, 1, 0, nullptr, &w.no_memory, w.context, &w.packed),
    CALL(heed_packed_matrix_pack_quantized, "memory", &w.quantized, 1, 0, &w.int8, &w.no_memory, w.context, &w.packed),
    CALL(heed_region_attention, "q", nullptr, &w.k, &w.v, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention, "k", &w.q, nullptr, &w.v, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention, "v", &w.q, &w.k, nullptr, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention, "out", &w.q, &w.k, &w.v, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention, "context", &w.q, &w.k, &w.v, &w.out, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_attention, "region", &w.q, &w.k, &w.v, &w.out, nullptr, 1, w.context, nullptr),
    CALL(heed_region_attention_cache, "q", nullptr, w.cache, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_cache, "cache", &w.q, nullptr, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_cache, "out", &w.q, w.cache, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_cache, "context", &w.q, w.cache, &w.out, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_attention_cache, "region", &w.q, w.cache, &w.out, nullptr, 1, w.context, nullptr),
    CALL(heed_region_attention_paged, "q", nullptr, &w.view, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_paged, "kv", &w.q, nullptr, &w.out, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_paged, "out", &w.q, &w.view, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_attention_paged, "context", &w.q, &w.view, &w.out, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_attention_paged, "region", &w.q, &w.view, &w.out, nullptr, 1, w.context, nullptr),
    CALL(heed_region_matmul, "a", nullptr, &w.a, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul, "b", &w.a, nullptr, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul, "c", &w.a, &w.a, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul, "context", &w.a, &w.a, &w.c, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_matmul, "region", &w.a, &w.a, &w.c, nullptr, 1, w.context, nullptr),
    CALL(heed_region_matmul_packed, "a", nullptr, w.packed, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul_packed, "b", &w.a, nullptr, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul_packed, "c", &w.a, w.packed, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_matmul_packed, "context", &w.a, w.packed, &w.c, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_matmul_packed, "region", &w.a, w.packed, &w.c, nullptr, 1, w.context, nullptr),
    CALL(heed_region_run, "region", nullptr, 0, 0, 1, 0),
    CALL(heed_region_run, "region.plan", &w.no_region, 0, 0, 1, 0),
    CALL(heed_kv_cache_get_config, "cache", nullptr, &w.cache_config),
    CALL(heed_kv_cache_get_config, "config", w.cache, nullptr),
    CALL(heed_kv_cache_append, "cache", nullptr, &w.k, &w.v, w.context),
    CALL(heed_kv_cache_append, "k", w.cache, nullptr, &w.v, w.context),
    CALL(heed_kv_cache_append, "v", w.cache, &w.k, nullptr, w.context),
    CALL(heed_kv_cache_append, "context", w.cache, &w.k, &w.v, nullptr),
    CALL(heed_kv_cache_truncate, "cache", nullptr, 0),
    CALL(heed_paged_kv_cache_create, "config", nullptr, nullptr, &w.pages),
    CALL(heed_paged_kv_cache_create, "cache", &w.pages_config, nullptr, nullptr),
    CALL(heed_paged_kv_cache_get_config, "cache", nullptr, &w.pages_config),
    CALL(heed_paged_kv_cache_get_config, "config", w.pages, nullptr),
    CALL(heed_paged_kv_cache_add, "cache", nullptr, &w.sequence),
    CALL(heed_paged_kv_cache_add, "sequence", w.pages, nullptr),
    CALL(heed_paged_kv_cache_fork, "cache", nullptr, &w.sequence, 1, &w.sequence),
    CALL(heed_paged_kv_cache_fork, "parent", w.pages, nullptr, 1, &w.sequence),
    CALL(heed_paged_kv_cache_fork, "sequence", w.pages, &w.sequence, 1, nullptr),
    CALL(heed_paged_kv_cache_free, "cache", nullptr, &w.sequence),
    CALL(heed_paged_kv_cache_free, "sequence", w.pages, nullptr),
    CALL(heed_paged_kv_cache_length, "cache", nullptr, &w.sequence, &w.cache_config.capacity),
    CALL(heed_paged_kv_cache_length, "sequence", w.pages, nullptr, &w.cache_config.capacity),
    CALL(heed_paged_kv_cache_length, "length", w.pages, &w.sequence, nullptr),
    CALL(heed_paged_kv_cache_append, "cache", nullptr, &w.sequence, 1, &w.k, &w.v, w.context),
    CALL(heed_paged_kv_cache_append, "sequences", w.pages, nullptr, 1, &w.k, &w.v, w.context),
    CALL(heed_paged_kv_cache_append, "k", w.pages, &w.sequence, 1, nullptr, &w.v, w.context),
    CALL(heed_paged_kv_cache_append, "v", w.pages, &w.sequence, 1, &w.k, nullptr, w.context),
    CALL(heed_paged_kv_cache_append, "context", w.pages, &w.sequence, 1, &w.k, &w.v, nullptr),
    CALL(heed_paged_kv_cache_truncate, "cache", nullptr, &w.sequence, 1),
    CALL(heed_paged_kv_cache_truncate, "sequence", w.pages, nullptr, 1),
    CALL(heed_paged_kv_cache_view, "cache", nullptr, &w.sequence, 1, &w.view),
    CALL(heed_paged_kv_cache_view, "sequences", w.pages, nullptr, 1, &w.view),
    CALL(heed_paged_kv_cache_view, "view", w.pages, &w.sequence, 1, nullptr),
    CALL(heed_matmul, "a", nullptr, &w.a, &w.c, nullptr, w.context),
    CALL(heed_matmul, "b", &w.a, nullptr, &w.c, nullptr, w.context),
    CALL(heed_matmul, "c", &w.a, &w.a, nullptr, nullptr, w.context),
    CALL(heed_matmul, "context", &w.a, &w.a, &w.c, nullptr, nullptr),
    CALL(heed_matmul_packed, "a", nullptr, w.packed, &w.c, nullptr, w.context),
    CALL(heed_matmul_packed, "b", &w.a, nullptr, &w.c, nullptr, w.context),
    CALL(heed_matmul_packed, "c", &w.a, w.packed, nullptr, nullptr, w.context),
    CALL(heed_matmul_packed, "context", &w.a, w.packed, &w.c, nullptr, nullptr),
    CALL(heed_packed_matrix_pack, "b", nullptr, 1, 0, nullptr, nullptr, w.context, &w.packed),
    CALL(heed_packed_matrix_pack, "b", nullptr, 0, 0, nullptr, nullptr, w.context, &w.packed),
    CALL(heed_packed_matrix_pack, "context", &w.a, 1, 0, nullptr, nullptr, nullptr, &w.packed),
    CALL(heed_packed_matrix_pack, "matrix", &w.a, 1, 0, nullptr, nullptr, w.context, nullptr),
    CALL(heed_packed_matrix_pack_quantized, "b", nullptr, 1, 0, nullptr, nullptr, w.context, &w.packed),
    CALL(heed_packed_matrix_pack_quantized, "b", nullptr, 0, 0, &w.int8, nullptr, w.context, &w.packed),
    CALL(heed_packed_matrix_pack_quantized, "context", &w.quantized, 1, 0, nullptr, nullptr, nullptr, &w.packed),
    CALL(heed_packed_matrix_pack_quantized, "matrix", &w.quantized, 1, 0, nullptr, nullptr, w.context, nullptr),
    CALL(heed_packed_matrix_save, "matrix", nullptr, w.saved, sizeof(w.saved)),
    CALL(heed_packed_matrix_save, "data", w.packed, nullptr, sizeof(w.saved)),
    CALL(heed_packed_matrix_map, "data", nullptr, sizeof(w.saved), nullptr, &w.packed),
    CALL(heed_packed_matrix_map, "matrix", w.saved, sizeof(w.saved), nullptr, nullptr),
    CALL(heed_pack_gguf, "matrices", nullptr, 1, nullptr, w.context, &w.packed),
    CALL(heed_pack_gguf, "matrices", nullptr, 0, nullptr, w.context, &w.packed),
    CALL(heed_pack_gguf, "context", &w.gguf, 1, nullptr, nullptr, &w.packed),
    CALL(heed_pack_gguf, "matrix", &w.gguf, 1, nullptr, w.context, nullptr),
    CALL(heed_dequantize_gguf, "matrix", nullptr, &w.gguf_y, w.context),
    CALL(heed_dequantize_gguf, "y", &w.gguf, nullptr, w.context),
    CALL(heed_dequantize_gguf, "context", &w.gguf, &w.gguf_y, nullptr),
    CALL(heed_softmax, "x", nullptr, &w.c, nullptr, w.context),
    CALL(heed_softmax, "y", &w.a, nullptr, nullptr, w.context),
    CALL(heed_softmax, "context", &w.a, &w.c, nullptr, nullptr),
    CALL(heed_rope, "x", nullptr, &w.positions, &w.y, nullptr, w.context),
    CALL(heed_rope, "positions", &w.x, nullptr, &w.y, nullptr, w.context),
    CALL(heed_rope, "y", &w.x, &w.positions, nullptr, nullptr, w.context),
    CALL(heed_rope, "context", &w.x, &w.positions, &w.y, nullptr, nullptr),
    CALL(heed_hadamard, "x", nullptr, &w.c, w.context),
    CALL(heed_hadamard, "y", &w.a, nullptr, w.context),
    CALL(heed_hadamard, "context", &w.a, &w.c, nullptr),
    CALL(heed_convert, "from", nullptr, &w.c, w.context),
    CALL(heed_convert, "to", &w.a, nullptr, w.context),
    CALL(heed_convert, "context", &w.a, &w.c, nullptr),
    CALL(heed_quantize, "x", nullptr, HEED_DTYPE_INT8, 0, &w.code_tensor, &w.scales, nullptr, nullptr, w.context),
    CALL(heed_quantize, "codes", &w.a, HEED_DTYPE_INT8, 0, nullptr, &w.scales, nullptr, nullptr, w.context),
    CALL(heed_quantize, "scales", &w.a, HEED_DTYPE_INT8, 0, &w.code_tensor, nullptr, nullptr, nullptr, w.context),
    CALL(heed_quantize, "context", &w.a, HEED_DTYPE_INT8, 0, &w.code_tensor, &w.scales, nullptr, nullptr, nullptr),
    CALL(heed_dequantize, "codes", nullptr, &w.scales, 0, &w.c, w.context),
    CALL(heed_dequantize, "scales", &w.code_tensor, nullptr, 0, &w.c, w.context),
    CALL(heed_dequantize, "y", &w.code_tensor, &w.scales, 0, nullptr, w.context),
    CALL(heed_dequantize, "context", &w.code_tensor, &w.scales, 0, &w.c, nullptr),
    CALL(heed_storage_error, "b", nullptr, 0, nullptr, nullptr, nullptr, w.context),
    CALL(heed_storage_error, "context", &w.a, 0, nullptr, nullptr, nullptr, nullptr),
    CALL(heed_multi_head_attention_create, "config", nullptr, &w.weights, nullptr, w.context, &w.layer),
    CALL(heed_multi_head_attention_create, "weights", &w.config, nullptr, nullptr, w.context, &w.layer),
    CALL(heed_multi_head_attention_create, "context", &w.config, &w.weights, nullptr, nullptr, &w.layer),
    CALL(heed_multi_head_attention_create, "layer", &w.config, &w.weights, nullptr, w.context, nullptr),
    CALL(heed_multi_head_attention_create, "memory", &w.config, &w.weights, &w.no_memory, w.context, &w.layer),
    CALL(heed_multi_head_attention_memory_bytes, "config", nullptr, &w.weights, w.context, &w.bytes),
    CALL(heed_multi_head_attention_memory_bytes, "weights", &w.config, nullptr, w.context, &w.bytes),
    CALL(heed_multi_head_attention_memory_bytes, "context", &w.config, &w.weights, nullptr, &w.bytes),
    CALL(heed_multi_head_attention_memory_bytes, "bytes", &w.config, &w.weights, w.context, nullptr),
    CALL(heed_region_forward, "layer", nullptr, &w.a, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_forward, "x", w.layer, nullptr, &w.c, nullptr, 1, w.context, &w.region),
    CALL(heed_region_forward, "y", w.layer, &w.a, nullptr, nullptr, 1, w.context, &w.region),
    CALL(heed_region_forward, "context", w.layer, &w.a, &w.c, nullptr, 1, nullptr, &w.region),
    CALL(heed_region_forward, "region", w.layer, &w.a, &w.c, nullptr, 1, w.context, nullptr),
    CALL(heed_multi_head_attention_forward, "layer", nullptr, &w.a, &w.c, nullptr, w.context),
    CALL(heed_multi_head_attention_forward, "x", w.layer, nullptr, &w.c, nullptr, w.context),
    CALL(heed_multi_head_attention_forward, "y", w.layer, &w.a, nullptr, nullptr, w.context),
    CALL(heed_multi_head_attention_forward, "context", w.layer, &w.a, &w.c, nullptr, nullptr),
    CALL(heed_multi_head_attention_create_cache, "layer", nullptr, 1, 2, &w.cache),
    CALL(heed_multi_head_attention_create_cache, "cache", w.layer, 1, 2, nullptr),
    CALL(heed_multi_head_attention_cache_config, "layer", nullptr, 1, 2, &w.cache_config),
    CALL(heed_multi_head_attention_cache_config, "config", w.layer, 1, 2, nullptr),
    CALL(heed_multi_head_attention_get_config, "layer", nullptr, &w.config),
    CALL(heed_multi_head_attention_get_config, "config", w.layer, nullptr),
};
// clang-format on

bool Begins(const heed_error& error, const char* argument) {
  const size_t n = std::strlen(argument);
  return std::strncmp(error.message, argument, n) == 0 && error.message[n] == ':';
}

// A handle that a refused call makes is null: the world keeps its own.
struct Handles {
  explicit Handles(World& world) : w(world) {}
  ~Handles() {
    w.cache = cache;
    w.pages = pages;
    w.packed = packed;
    w.layer = layer;
  }
  World& w;
  heed_kv_cache* cache = w.cache;
  heed_paged_kv_cache* pages = w.pages;
  heed_packed_matrix* packed = w.packed;
  heed_multi_head_attention* layer = w.layer;
};

TEST_CASE("every null pointer is refused by name, and nothing is written") {
  World w;
  for (const BadCall& call : kNulls) {
    INFO(call.function << ", " << call.argument);
    heed_error error = {};
    {
      const Handles handles(w);
      CHECK(call.run(w, &error) == HEED_INVALID_ARGUMENT);
      CHECK(call.run(w, nullptr) == HEED_INVALID_ARGUMENT);
    }
    INFO(error.message);
    CHECK(error.code == HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, call.argument));
    CHECK(w.Untouched());
  }
}

TEST_CASE("a handle that could not be made is null") {
  heed_error error;
  auto* context = reinterpret_cast<heed_context*>(&error);
  heed_context_options options = Made(heed_context_options_init);
  options.target = "PDP-11";
  CHECK(heed_context_create(&options, &context, &error) == HEED_INVALID_ARGUMENT);
  CHECK(std::string(error.message).find("PDP-11") != std::string::npos);
  CHECK(context == nullptr);
  auto* cache = reinterpret_cast<heed_kv_cache*>(&error);
  heed_kv_cache_config config = Made(heed_kv_cache_config_init);
  CHECK(heed_kv_cache_create(&config, nullptr, &cache, &error) == HEED_INVALID_ARGUMENT);
  CHECK(cache == nullptr);
}

TEST_CASE("null handles have no numbers, and may be destroyed") {
  heed_context_destroy(nullptr);
  heed_kv_cache_destroy(nullptr);
  heed_paged_kv_cache_destroy(nullptr);
  heed_packed_matrix_destroy(nullptr);
  heed_multi_head_attention_destroy(nullptr);
  CHECK(heed_context_num_threads(nullptr) == 0);
  CHECK(heed_context_target(nullptr) == nullptr);
  CHECK(heed_context_workspace_bytes(nullptr) == 0);
  const heed_region no_call = {};
  for (const heed_region* region : {static_cast<const heed_region*>(nullptr), &no_call}) {
    CHECK(heed_region_phases(region) == 0);
    CHECK(heed_region_tasks(region, 0) == 0);
    CHECK(heed_region_workers(region, 0) == 0);
  }
  CHECK(heed_kv_cache_length(nullptr) == 0);
  CHECK(heed_kv_cache_bytes(nullptr) == 0);
  CHECK(heed_kv_cache_first_held(nullptr) == 0);
  CHECK(heed_kv_cache_room(nullptr) == 0);
  CHECK(heed_paged_kv_cache_bytes(nullptr) == 0);
  CHECK(heed_paged_kv_cache_free_blocks(nullptr) == 0);
  CHECK(heed_paged_kv_cache_num_sequences(nullptr) == 0);
  CHECK(heed_paged_kv_cache_references(nullptr, 0) == 0);
  CHECK(heed_packed_matrix_saved_bytes(nullptr) == 0);
  CHECK(heed_packed_matrix_in(nullptr) == 0);
  CHECK(heed_packed_matrix_out(nullptr) == 0);
  CHECK(heed_packed_matrix_dtype(nullptr) == HEED_DTYPE_F32);
  CHECK(heed_packed_matrix_group(nullptr) == 0);
  CHECK(heed_packed_matrix_bytes(nullptr) == 0);
  CHECK(heed_multi_head_attention_d_out(nullptr) == 0);
  CHECK(heed_multi_head_attention_bytes(nullptr) == 0);
}

// What a tensor may not be, in the place of one that is right.
TEST_CASE("tensors that are none are refused by name") {
  World w;
  const auto refuse = [&w](const char* what, heed_tensor bad) {
    INFO(what);
    heed_error error = {};
    CHECK(heed_attention(&w.q, &bad, &w.v, &w.out, nullptr, w.context, &error) != HEED_OK);
    CHECK(Begins(error, "k"));
    CHECK(heed_matmul(&bad, &w.a, &w.c, nullptr, w.context, &error) != HEED_OK);
    CHECK(Begins(error, "a"));
    CHECK(heed_convert(&w.a, &bad, w.context, &error) != HEED_OK);
    CHECK(Begins(error, "to"));
    CHECK(heed_kv_cache_append(w.cache, &bad, &w.v, w.context, &error) != HEED_OK);
    CHECK(Begins(error, "k"));
    CHECK(heed_multi_head_attention_forward(w.layer, &bad, &w.c, nullptr, w.context, &error) !=
          HEED_OK);
    CHECK(Begins(error, "x"));
    heed_packed_matrix* packed = nullptr;
    CHECK(heed_packed_matrix_pack(&bad, 1, HEED_WEIGHT_LAYOUT_IN_OUT, nullptr, nullptr, w.context,
                                  &packed, &error) != HEED_OK);
    CHECK(Begins(error, "b"));
    CHECK(w.Untouched());
  };
  for (heed_dtype dtype : {7, 77, 255, 256, 262, -1, INT32_MIN, INT32_MAX}) {
    heed_tensor bad = w.a;
    bad.dtype = dtype;
    refuse("dtype", bad);
  }
  for (size_t rank : {size_t{0}, size_t{6}, size_t{9}, SIZE_MAX - 1, SIZE_MAX}) {
    heed_tensor bad = w.a;
    bad.rank = rank;
    refuse("rank", bad);
  }
  heed_tensor null_data = w.a, huge = w.a, far = w.a;
  null_data.data = nullptr;
  refuse("null data", null_data);
  huge.shape[0] = SIZE_MAX;
  refuse("a size beyond memory", huge);
  far.strides[0] = PTRDIFF_MIN;
  refuse("a stride beyond memory", far);
}

TEST_CASE("constants that do not exist are refused, and no larger number is cut to one that does") {
  World w;
  for (int32_t none : {77, 256, 257, -1, INT32_MIN, INT32_MAX}) {
    INFO(none);
    heed_error error = {};
    heed_attention_options attention = Made(heed_attention_options_init);
    attention.causal = true;
    attention.causal_alignment = none;
    CHECK(heed_attention(&w.q, &w.k, &w.v, &w.out, &attention, w.context, &error) ==
          HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "causal_alignment"));
    heed_matmul_options matmul = Made(heed_matmul_options_init);
    matmul.compute = none;
    CHECK(heed_matmul_packed(&w.a, w.packed, &w.c, &matmul, w.context, &error) ==
          HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "compute"));
    heed_rope_scaling scaling = Made(heed_rope_scaling_init);
    scaling.type = none;
    heed_rope_options rope = Made(heed_rope_options_init);
    rope.scaling = &scaling;
    CHECK(heed_rope(&w.x, &w.positions, &w.y, &rope, w.context, &error) == HEED_UNSUPPORTED);
    CHECK(Begins(error, "scaling.type"));
    heed_packed_matrix* packed = nullptr;
    CHECK(heed_packed_matrix_pack(&w.a, 1, none, nullptr, nullptr, w.context, &packed, &error) ==
          HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "layout"));
    CHECK(heed_packed_matrix_pack_quantized(&w.quantized, 1, none, nullptr, nullptr, w.context,
                                            &packed, &error) != HEED_OK);
    CHECK(heed_storage_error(&w.a, none, nullptr, nullptr, nullptr, w.context, &error) ==
          HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "layout"));
    heed_multi_head_attention_weights weights = w.weights;
    weights.layout = none;
    heed_multi_head_attention* layer = nullptr;
    CHECK(heed_multi_head_attention_create(&w.config, &weights, nullptr, w.context, &layer,
                                           &error) == HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "layout"));
    heed_pack_options pack = Made(heed_pack_options_init);
    pack.dtype = none;
    CHECK(heed_packed_matrix_pack(&w.a, 1, 0, &pack, nullptr, w.context, &packed, &error) ==
          HEED_UNSUPPORTED);
    CHECK(heed_quantize(&w.a, none, 0, &w.code_tensor, &w.scales, nullptr, nullptr, w.context,
                        &error) == HEED_UNSUPPORTED);
    CHECK(Begins(error, "dtype"));
    heed_kv_cache_config cache_config = w.cache_config;
    cache_config.k_dtype = none;
    heed_kv_cache* cache = nullptr;
    CHECK(heed_kv_cache_create(&cache_config, nullptr, &cache, &error) == HEED_UNSUPPORTED);
    CHECK(Begins(error, "k_dtype"));
    heed_gguf_matrix gguf = w.gguf;
    gguf.type = none;
    CHECK(heed_dequantize_gguf(&gguf, &w.gguf_y, w.context, &error) == HEED_UNSUPPORTED);
    heed_context_options context_options = Made(heed_context_options_init);
    context_options.threading = none;
    heed_context* context = nullptr;
    CHECK(heed_context_create(&context_options, &context, &error) == HEED_INVALID_ARGUMENT);
    CHECK(context == nullptr);
    CHECK(w.Untouched());
  }
}

TEST_CASE("numbers that are none are refused by name") {
  World w;
  heed_error error = {};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  heed_attention_options options = Made(heed_attention_options_init);
  options.has_scale = true;
  options.scale = nan;
  CHECK(heed_attention(&w.q, &w.k, &w.v, &w.out, &options, w.context, &error) ==
        HEED_INVALID_ARGUMENT);
  CHECK(Begins(error, "scale"));
  heed_softmax_options softmax = Made(heed_softmax_options_init);
  softmax.scale = nan;
  CHECK(heed_softmax(&w.a, &w.c, &softmax, w.context, &error) == HEED_INVALID_ARGUMENT);
  CHECK(Begins(error, "scale"));
  CHECK(heed_dropout_mask(nan, 0, &w.mask, &error) == HEED_INVALID_ARGUMENT);
  CHECK(Begins(error, "dropout.probability"));
  heed_kv_cache_config config = Made(heed_kv_cache_config_init);
  config.num_kv_heads = config.head_dim = SIZE_MAX;
  config.capacity = SIZE_MAX;
  heed_kv_cache* cache = nullptr;
  CHECK(heed_kv_cache_create(&config, nullptr, &cache, &error) == HEED_INVALID_ARGUMENT);
  CHECK(w.Untouched());
}

TEST_CASE("a config is written as far as its struct_size says") {
  World w;
  heed_error error = {};
  heed_kv_cache_config config;
  std::memset(&config, 0xFF, sizeof(config));
  config.struct_size = offsetof(heed_kv_cache_config, capacity);
  CHECK(heed_kv_cache_get_config(w.cache, &config, &error) == HEED_OK);
  CHECK(config.struct_size == offsetof(heed_kv_cache_config, capacity));
  CHECK(config.v_head_dim == 2);
  CHECK(config.capacity == SIZE_MAX);
  for (size_t size : {size_t{0}, size_t{3}, SIZE_MAX}) {
    config.struct_size = size;
    config.head_dim = 99;
    CHECK(heed_kv_cache_get_config(w.cache, &config, &error) == HEED_INVALID_ARGUMENT);
    CHECK(Begins(error, "config"));
    CHECK(config.head_dim == 99);
  }
  auto pages = Made(heed_paged_kv_cache_config_init);
  CHECK(heed_paged_kv_cache_get_config(w.pages, &pages, &error) == HEED_OK);
  CHECK(pages.num_blocks == 4);
  CHECK(pages.v_head_dim == 2);
}

TEST_CASE("a layer's config can be read, with the rope that the layer keeps") {
  World w;
  heed_error error = {};
  auto rope = Made(heed_rope_options_init);
  auto scaling = Made(heed_rope_scaling_init);
  scaling.type = HEED_ROPE_SCALING_TYPE_LINEAR;
  scaling.factor = 8;
  rope.scaling = &scaling;
  w.config.rope = &rope;
  w.config.v_cache_dtype = HEED_DTYPE_INT8;
  w.config.attention_compute = HEED_COMPUTE_INT16;
  heed_multi_head_attention* layer = nullptr;
  REQUIRE(heed_multi_head_attention_create(&w.config, &w.weights, nullptr, w.context, &layer,
                                           &error) == HEED_OK);
  rope.theta = scaling.factor = 77;  // the caller's own, and not looked at any more
  auto config = Made(heed_multi_head_attention_config_init);
  CHECK(heed_multi_head_attention_get_config(layer, &config, &error) == HEED_OK);
  CHECK(config.num_kv_heads == 1);
  REQUIRE(config.rope != nullptr);
  CHECK(config.rope->theta == 10000.0);
  REQUIRE(config.rope->scaling != nullptr);
  CHECK(config.rope->scaling->factor == 8);
  CHECK(config.v_cache_dtype == HEED_DTYPE_INT8);
  CHECK(config.attention_compute == HEED_COMPUTE_INT16);
  // It is a config to make another layer with.
  heed_multi_head_attention* same = nullptr;
  CHECK(heed_multi_head_attention_create(&config, &w.weights, nullptr, w.context, &same, &error) ==
        HEED_OK);
  heed_multi_head_attention_destroy(same);
  heed_multi_head_attention_destroy(layer);
}

}  // namespace
}  // namespace heed::test
