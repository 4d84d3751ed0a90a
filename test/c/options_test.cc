// Every field of C's structs arrives in C++, defaults are the same, and structs that are older or
// newer than the library are read as far as both know them.
#include "src/c/options.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <regex>
#include <string>
#include <vector>

#include "test/c/header_text.h"
#include "test/headers.h"

namespace heed::test {
namespace {

// What pointers point to.
float numbers[4];
const size_t kSizes[] = {4};
heed_tensor MakeTensor() {
  heed_tensor tensor;
  heed_tensor_contiguous(&tensor, numbers, HEED_DTYPE_F32, 1, kSizes);
  return tensor;
}
const heed_tensor kTensor = MakeTensor();
bool Is(const TensorView& view) {
  return view.data == numbers && view.rank == 1 && view.shape[0] == 4 && view.strides[0] == 1;
}

template <class T>
T Made(void (*init)(T*, size_t)) {
  T made;
  init(&made, sizeof(made));
  return made;
}

heed_dropout_options MakeDropout() {
  auto made = Made(heed_dropout_options_init);
  made.seed = 5;
  return made;
}
heed_rope_scaling MakeScaling() {
  auto made = Made(heed_rope_scaling_init);
  made.mscale = 5;
  return made;
}
heed_rope_options MakeRope() {
  auto made = Made(heed_rope_options_init);
  made.rope_dim = 6;
  return made;
}
heed_pack_options MakeStorage() {
  auto made = Made(heed_pack_options_init);
  made.group = 64;
  return made;
}
const heed_dropout_options kDropout = MakeDropout();
const heed_rope_scaling kScaling = MakeScaling();
const heed_rope_options kRope = MakeRope();
const heed_pack_options kStorage = MakeStorage();

// A field of C by name, how it is set, and whether that has arrived.
template <class C, class Cpp>
struct Field {
  const char* name;
  void (*set)(C&);
  bool (*arrived)(const Cpp&);
};
// clang-format off
#define FIELD(name, set, arrived) \
  {#name, [](auto& c) { set; }, [](const auto& o) { return arrived; }}
#define VALUE(name, value) FIELD(name, c.name = value, o.name == value)
#define TENSOR(name) FIELD(name, c.name = &kTensor, Is(o.name))
#define DTYPE(name) FIELD(name, c.name = HEED_DTYPE_INT8, o.name == DType::kInt8)
// clang-format on

// The fields of a struct, but for its size and the flags beside fields.
std::vector<std::string> FieldsOfC(const std::string& name) {
  std::vector<std::string> fields;
  for (const auto& found :
       Bodies(Code(HeadersOfC()), std::regex("typedef struct heed_(" + name + ") \\{"))) {
    for (const std::string& field : FieldsOf(found.second)) {
      if (field != "struct_size" && field.rfind("has_", 0) != 0) fields.push_back(field);
    }
  }
  return fields;
}

template <class C, class Cpp>
void CheckFields(const char* name, void (*init)(C*, size_t),
                 const std::vector<Field<C, Cpp>>& fields) {
  INFO(name);
  std::vector<std::string> names;
  for (const auto& field : fields) names.push_back(field.name);
  CHECK(names == FieldsOfC(name));
  for (const auto& field : fields) {
    INFO(field.name);
    C c = Made(init);
    CHECK(c.struct_size == sizeof(c));
    Cpp defaults, changed;
    CHECK(Read(&c, &defaults).ok());
    CHECK_FALSE(field.arrived(defaults));
    field.set(c);
    CHECK(Read(&c, &changed).ok());
    CHECK(field.arrived(changed));
  }
}

TEST_CASE("every option of C arrives") {
  CheckFields<heed_context_options, ContextOptions>(
      "context_options", heed_context_options_init,
      {VALUE(num_threads, 3),
       FIELD(threading, c.threading = HEED_THREADING_NONE, o.threading == Threading::kNone),
       FIELD(parallel_for,
             (c.parallel_for = {[](void*, size_t, void (*)(void*, size_t), void*) {}, numbers}),
             o.parallel_for.run != nullptr && o.parallel_for.pool == numbers),
       FIELD(target, c.target = "AVX2", o.target != nullptr && std::string(o.target) == "AVX2"),
       FIELD(memory, (c.memory = {numbers, 7}), o.memory.data == numbers && o.memory.bytes == 7),
       VALUE(measure, true)});
  CheckFields<heed_dropout_options, DropoutOptions>(
      "dropout_options", heed_dropout_options_init,
      {VALUE(probability, 0.5f), VALUE(seed, uint64_t{1} << 40), TENSOR(mask)});
  CheckFields<heed_attention_options, AttentionOptions>(
      "attention_options", heed_attention_options_init,
      {FIELD(scale, (c.has_scale = true, c.scale = 0.5f), o.scale == 0.5f),
       VALUE(logits_soft_cap, 3.0f),
       TENSOR(alibi_slopes),
       TENSOR(sinks),
       VALUE(causal, true),
       FIELD(causal_alignment, c.causal_alignment = HEED_CAUSAL_ALIGNMENT_TOP_LEFT,
             o.causal_alignment == CausalAlignment::kTopLeft),
       VALUE(window, 5),
       VALUE(sink_tokens, 6),
       TENSOR(prefix_lens),
       TENSOR(kv_lens),
       TENSOR(key_mask),
       TENSOR(mask),
       TENSOR(tree_mask),
       TENSOR(cu_seqlens_q),
       TENSOR(cu_seqlens_k),
       FIELD(dropout, c.dropout = &kDropout, o.dropout.seed == 5),
       TENSOR(lse),
       TENSOR(weights),
       TENSOR(weights_heads),
       TENSOR(weights_queries),
       TENSOR(key_scores),
       TENSOR(k_scales),
       TENSOR(v_scales),
       FIELD(compute, c.compute = HEED_COMPUTE_INT16, o.compute == Compute::kInt16)});
}

TEST_CASE("every option of C's caches and matrices arrives") {
  CheckFields<heed_kv_cache_config, KvCacheConfig>(
      "kv_cache_config", heed_kv_cache_config_init,
      {VALUE(batch, 2), VALUE(num_kv_heads, 3), VALUE(head_dim, 4), VALUE(v_head_dim, 5),
       VALUE(capacity, 6), VALUE(window, 7), VALUE(sink_tokens, 8), DTYPE(k_dtype), DTYPE(v_dtype),
       VALUE(values_in_keys, true)});
  CheckFields<heed_paged_kv_cache_config, PagedKvCacheConfig>(
      "paged_kv_cache_config", heed_paged_kv_cache_config_init,
      {VALUE(num_blocks, 2), VALUE(block_size, 3), VALUE(num_kv_heads, 4), VALUE(head_dim, 5),
       VALUE(v_head_dim, 6), DTYPE(k_dtype), DTYPE(v_dtype), VALUE(max_sequences, 7),
       VALUE(max_length, 8)});
  CheckFields<heed_pack_options, PackOptions>("pack_options", heed_pack_options_init,
                                              {DTYPE(dtype), VALUE(group, 32)});
  CheckFields<heed_map_options, MapOptions>(
      "map_options", heed_map_options_init,
      {VALUE(check_data, false),
       FIELD(memory, (c.memory = {numbers, 7}), o.memory.data == numbers && o.memory.bytes == 7)});
  CheckFields<heed_matmul_options, MatmulOptions>(
      "matmul_options", heed_matmul_options_init,
      {TENSOR(bias), FIELD(compute, c.compute = HEED_COMPUTE_INT16, o.compute == Compute::kInt16)});
}

TEST_CASE("every option of C's operations and layers arrives") {
  CheckFields<heed_row_errors, RowErrors>("row_errors", heed_row_errors_init,
                                          {TENSOR(rms), TENSOR(largest), TENSOR(relative)});
#define WITHIN(name) FIELD(name, c.name = kTensor, Is(o.name))
  CheckFields<heed_paged_kv, PagedKv>("paged_kv", heed_paged_kv_init,
                                      {WITHIN(k), WITHIN(v), WITHIN(block_table), WITHIN(seq_lens),
                                       WITHIN(k_scales), WITHIN(v_scales)});
#undef WITHIN
  CheckFields<heed_softmax_options, SoftmaxOptions>("softmax_options", heed_softmax_options_init,
                                                    {VALUE(scale, 2.0f)});
  CheckFields<heed_rope_scaling, RopeScaling>(
      "rope_scaling", heed_rope_scaling_init,
      {FIELD(type, c.type = HEED_ROPE_SCALING_TYPE_YARN, o.type == RopeScalingType::kYarn),
       VALUE(factor, 2), VALUE(original_max_position_embeddings, 3), VALUE(low_freq_factor, 4),
       VALUE(high_freq_factor, 5), VALUE(beta_fast, 6), VALUE(beta_slow, 7), VALUE(truncate, false),
       FIELD(attention_factor, (c.has_attention_factor = true, c.attention_factor = 8),
             o.attention_factor == 8),
       VALUE(mscale, 9), VALUE(mscale_all_dim, 10)});
  CheckFields<heed_rope_options, RopeOptions>(
      "rope_options", heed_rope_options_init,
      {VALUE(rope_dim, 2), VALUE(theta, 3), VALUE(interleaved, true),
       FIELD(scaling, c.scaling = &kScaling, o.scaling.mscale == 5)});
  CheckFields<heed_multi_head_attention_config, MultiHeadAttentionConfig>(
      "multi_head_attention_config", heed_multi_head_attention_config_init,
      {VALUE(d_in, 2), VALUE(num_heads, 3), VALUE(num_kv_heads, 4), VALUE(head_dim, 5),
       VALUE(v_head_dim, 6), VALUE(causal, false),
       FIELD(scale, (c.has_scale = true, c.scale = 0.5f), o.scale == 0.5f),
       FIELD(rope, c.rope = &kRope, o.rope && o.rope->rope_dim == 6), VALUE(window, 7),
       VALUE(sink_tokens, 8), VALUE(logits_soft_cap, 9.0f), VALUE(norm_eps, 0.25f),
       VALUE(norm_weight_offset, 1.0f), VALUE(hadamard, true), DTYPE(k_cache_dtype),
       DTYPE(v_cache_dtype), VALUE(values_in_keys, true),
       FIELD(attention_compute, c.attention_compute = HEED_COMPUTE_INT16,
             o.attention_compute == Compute::kInt16)});
  CheckFields<heed_linear_weights, LinearWeights>(
      "linear_weights", heed_linear_weights_init,
      {TENSOR(weight), TENSOR(bias), FIELD(storage, c.storage = &kStorage, o.storage.group == 64),
       FIELD(compute, c.compute = HEED_COMPUTE_INT16, o.compute == Compute::kInt16),
       FIELD(packed, c.packed = reinterpret_cast<const heed_packed_matrix*>(numbers),
             static_cast<const void*>(o.packed) == numbers)});
  static heed_linear_weights linear = Made(heed_linear_weights_init);
  linear.weight = &kTensor;
  CheckFields<heed_multi_head_attention_weights, MultiHeadAttentionWeights>(
      "multi_head_attention_weights", heed_multi_head_attention_weights_init,
      {FIELD(layout, c.layout = HEED_WEIGHT_LAYOUT_IN_OUT, o.layout == WeightLayout::kInOut),
       FIELD(q, c.q = &linear, Is(o.q.weight)), FIELD(k, c.k = &linear, Is(o.k.weight)),
       FIELD(v, c.v = &linear, Is(o.v.weight)), FIELD(qkv, c.qkv = &linear, Is(o.qkv.weight)),
       FIELD(out, c.out = &linear, Is(o.out.weight)), TENSOR(q_norm), TENSOR(k_norm), TENSOR(sinks),
       TENSOR(alibi_slopes)});
  CheckFields<heed_forward_options, ForwardOptions>(
      "forward_options", heed_forward_options_init,
      {FIELD(cache, c.cache = reinterpret_cast<heed_kv_cache*>(numbers),
             static_cast<void*>(o.cache) == numbers),
       TENSOR(positions), TENSOR(kv_lens), TENSOR(key_mask),
       FIELD(dropout, c.dropout = &kDropout, o.dropout.seed == 5), TENSOR(lse), TENSOR(weights),
       TENSOR(context)});
}

TEST_CASE("every struct of C with a size has a test of its fields") {
  size_t sized = 0;
  for (const auto& found :
       Bodies(Code(HeadersOfC()), std::regex("typedef struct heed_(\\w+) \\{"))) {
    sized += FieldsOf(found.second)[0] == "struct_size" ? 1u : 0u;
  }
  CHECK(sized == 18);  // those of the three cases above, and what is written alone
}

TEST_CASE("defaults that are not zero are those of C++") {
  CHECK(Made(heed_kv_cache_config_init).batch == KvCacheConfig().batch);
  CHECK(Made(heed_paged_kv_cache_config_init).block_size == PagedKvCacheConfig().block_size);
  CHECK(Made(heed_map_options_init).check_data);
  CHECK(Made(heed_softmax_options_init).scale == 1.0f);
  const auto scaling = Made(heed_rope_scaling_init);
  const RopeScaling cpp_scaling;
  CHECK(scaling.factor == cpp_scaling.factor);
  CHECK(scaling.low_freq_factor == cpp_scaling.low_freq_factor);
  CHECK(scaling.high_freq_factor == cpp_scaling.high_freq_factor);
  CHECK(scaling.beta_fast == cpp_scaling.beta_fast);
  CHECK(scaling.beta_slow == cpp_scaling.beta_slow);
  CHECK(scaling.truncate);
  CHECK(Made(heed_rope_options_init).theta == RopeOptions().theta);
  const auto config = Made(heed_multi_head_attention_config_init);
  CHECK(config.causal);
  CHECK(config.norm_eps == MultiHeadAttentionConfig().norm_eps);
  CHECK(Made(heed_multi_head_attention_weights_init).layout == HEED_WEIGHT_LAYOUT_OUT_IN);
}

TEST_CASE("a shorter struct of an older caller is read as far as it goes") {
  heed_softmax_options older;
  heed_softmax_options_init(&older, sizeof(size_t));
  CHECK(older.struct_size == sizeof(size_t));
  older.scale = 7.0f;  // not the caller's any more
  SoftmaxOptions read;
  CHECK(Read(&older, &read).ok());
  CHECK(read.scale == SoftmaxOptions().scale);

  heed_attention_options options = Made(heed_attention_options_init);
  options.causal = true;
  options.window = 9;
  options.struct_size = offsetof(heed_attention_options, window);
  AttentionOptions some;
  CHECK(Read(&options, &some).ok());
  CHECK(some.causal);
  CHECK(some.window == 0);
}

TEST_CASE("what is written to a struct ends where the caller's does") {
  Context context;
  const size_t sizes[] = {1, 4};
  heed_tensor x;
  heed_tensor_contiguous(&x, numbers, HEED_DTYPE_F32, 2, sizes);
  const auto total = [&](void* to) {
    return heed_storage_error(&x, HEED_WEIGHT_LAYOUT_IN_OUT, nullptr, nullptr,
                              static_cast<heed_quantization_error*>(to),
                              reinterpret_cast<heed_context*>(&context), nullptr);
  };
  heed_quantization_error shorter;
  std::memset(&shorter, 0xFF, sizeof(shorter));
  shorter.struct_size = offsetof(heed_quantization_error, relative) - sizeof(float) * 2;
  CHECK(total(&shorter) == HEED_OK);
  CHECK(std::isnan(shorter.rms));
  struct {
    heed_quantization_error known;
    size_t added;
  } longer;
  std::memset(&longer, 0xFF, sizeof(longer));
  longer.known.struct_size = sizeof(longer);
  CHECK(total(&longer) == HEED_OK);
  CHECK(longer.known.struct_size == sizeof(longer));
  CHECK(longer.known.rms == 0.0f);
  CHECK(longer.added == 0);
  longer.known.struct_size = 3;
  CHECK(total(&longer) == HEED_INVALID_ARGUMENT);
}

TEST_CASE("structs without a size are those that heed.h calls final") {
  const std::string text = HeadersOfC();
  const size_t begin = text.find("Structs without a struct_size are final: ");
  REQUIRE(begin != std::string::npos);
  const std::string list = text.substr(begin, text.find(". ", begin) - begin);
  std::vector<std::string> listed, found;
  for (const Match& name :
       Matches(list.substr(0, list.find(".\n")), std::regex("\\bheed_(\\w+)"))) {
    listed.push_back(name[1]);
  }
  for (const auto& [name, body] :
       Bodies(Code(text), std::regex("typedef struct heed_(\\w+) \\{"))) {
    if (FieldsOf(body)[0] != "struct_size") found.push_back(name);
  }
  std::sort(listed.begin(), listed.end());
  std::sort(found.begin(), found.end());
  CHECK(found == listed);
}

TEST_CASE("a longer struct of a newer caller is read where its new fields are zero") {
  struct {
    heed_softmax_options options;
    size_t added, more;
  } newer;
  std::memset(&newer, 0xFF, sizeof(newer));
  heed_softmax_options_init(&newer.options, sizeof(newer));
  CHECK(newer.options.struct_size == sizeof(newer));
  CHECK(newer.added == 0);
  CHECK(newer.more == 0);
  newer.options.scale = 7.0f;
  SoftmaxOptions read;
  CHECK(Read(&newer.options, &read).ok());
  CHECK(read.scale == 7.0f);
  newer.more = 1;
  const Status status = Read(&newer.options, &read);
  CHECK(status.code() == StatusCode::kUnsupported);
  CHECK(std::string(status.message()).find("options: ") == 0);
}

TEST_CASE("a struct_size that no version of a struct has is refused") {
  for (size_t size : {size_t{0}, size_t{1}, sizeof(size_t) - 1, sizeof(size_t) + 1, size_t{4097},
                      size_t{8192}, SIZE_MAX - 7, SIZE_MAX}) {
    INFO(size);
    heed_softmax_options options = Made(heed_softmax_options_init);
    options.struct_size = size;
    SoftmaxOptions read;
    const Status status = Read(&options, &read);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find("options: struct_size is " + std::to_string(size)) ==
          0);
    // To init with such a size makes no struct that works, and writes no more than a size.
    options.scale = 3.0f;
    heed_softmax_options_init(&options, size);
    CHECK(options.scale == 3.0f);
    CHECK_FALSE(Read(&options, &read).ok());
  }
  heed_attention_options_init(nullptr, sizeof(heed_attention_options));
}

TEST_CASE("a struct inside another is refused by its own name") {
  heed_dropout_options dropout = Made(heed_dropout_options_init);
  dropout.struct_size = 0;
  heed_attention_options options = Made(heed_attention_options_init);
  options.dropout = &dropout;
  AttentionOptions read;
  CHECK(std::string(Read(&options, &read).message()).find("dropout: struct_size is 0") == 0);
  heed_linear_weights linear = Made(heed_linear_weights_init);
  linear.struct_size = SIZE_MAX;
  auto weights = Made(heed_multi_head_attention_weights_init);
  weights.out = &linear;
  MultiHeadAttentionWeights read_weights;
  CHECK(std::string(Read(&weights, &read_weights).message()).find("out: struct_size is ") == 0);
}

TEST_CASE("a scale that is set without its flag is refused") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float scale : {0.5f, nan}) {
    heed_attention_options options = Made(heed_attention_options_init);
    options.scale = scale;
    AttentionOptions read;
    CHECK(std::string(Read(&options, &read).message()).find("scale: is ") == 0);
    auto config = Made(heed_multi_head_attention_config_init);
    config.scale = scale;
    MultiHeadAttentionConfig read_config;
    CHECK(std::string(Read(&config, &read_config).message()).find("scale: is ") == 0);
  }
  heed_rope_scaling scaling = Made(heed_rope_scaling_init);
  scaling.attention_factor = 2;
  RopeScaling read;
  CHECK(std::string(Read(&scaling, &read).message()).find("attention_factor: is 2") == 0);
}

TEST_CASE("tensors of C are made, turned and cut as views are") {
  heed_tensor tensor;
  const size_t sizes[] = {2, 3, 4};
  heed_tensor_contiguous(&tensor, numbers, HEED_DTYPE_F32, 3, sizes);
  CHECK(heed_tensor_num_elements(&tensor) == 24);
  heed_tensor_transpose(&tensor, 0, 2);
  heed_tensor_slice(&tensor, 1, 1, 3);
  const TensorView view = TensorView(numbers, {2, 3, 4}).transpose(0, 2).slice(1, 1, 3);
  CHECK(tensor.data == view.data);
  CHECK(tensor.rank == view.rank);
  CHECK(std::equal(view.shape, view.shape + 3, tensor.shape));
  CHECK(std::equal(view.strides, view.strides + 3, tensor.strides));
  const ptrdiff_t steps[] = {12, -4, 1};
  heed_tensor_strided(&tensor, numbers, HEED_DTYPE_F32, 3, sizes, steps);
  CHECK(tensor.strides[1] == -4);
  heed_tensor_slice(&tensor, 5, 0, 1);
  CHECK(tensor.rank == SIZE_MAX);
  heed_tensor_contiguous(&tensor, numbers, HEED_DTYPE_F32, 9, sizes);
  CHECK(tensor.rank == SIZE_MAX);
  heed_tensor_contiguous(&tensor, numbers, HEED_DTYPE_F32, 2, nullptr);
  CHECK(tensor.rank == SIZE_MAX);
  heed_tensor_strided(&tensor, numbers, HEED_DTYPE_F32, 2, sizes, nullptr);
  CHECK(tensor.rank == SIZE_MAX);
  heed_tensor_contiguous(nullptr, numbers, HEED_DTYPE_F32, 3, sizes);
  heed_tensor_strided(nullptr, numbers, HEED_DTYPE_F32, 3, sizes, steps);
  heed_tensor_transpose(nullptr, 0, 1);
  heed_tensor_slice(nullptr, 0, 0, 1);
  CHECK(heed_tensor_num_elements(nullptr) == 0);
}

}  // namespace
}  // namespace heed::test
