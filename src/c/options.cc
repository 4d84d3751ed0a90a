#include "src/c/options.h"

#include <cstring>

namespace heed::inline v1 {
namespace {

// Reads a struct that may be null over its defaults.
template <class T>
Status ReadOver(const char* name, const T* given, void (*init)(T*, size_t), T* options) {
  init(options, sizeof(*options));
  return given == nullptr ? Status() : ReadStruct(name, given, sizeof(*options), options);
}

template <class T>
Status ReadNeeded(const char* name, const T* given, void (*init)(T*, size_t), T* options) {
  HEED_RETURN_IF_ERROR(CheckPointer(name, given));
  return ReadOver(name, given, init, options);
}

// A number that is set with a flag beside it: setting the number alone must not go unnoticed.
template <class T>
Status ReadFlagged(const char* name, bool has, T value, std::optional<T>* to) {
  to->reset();
  if (has) {
    *to = value;
  } else if (value != T{0}) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: is %g, must be 0 where has_%s is false",
                         name, static_cast<double>(value), name);
  }
  return Status();
}

}  // namespace

Status Read(const heed_context_options* given, ContextOptions* options) {
  heed_context_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_context_options_init, &c));
  options->num_threads = c.num_threads;
  options->threading = static_cast<Threading>(c.threading);
  options->parallel_for = {c.parallel_for.run, c.parallel_for.pool};
  options->target = c.target;
  options->memory = {c.memory.data, c.memory.bytes};
  options->measure = c.measure;
  return Status();
}

Status Read(const heed_attention_options* given, AttentionOptions* options) {
  heed_attention_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_attention_options_init, &c));
  HEED_RETURN_IF_ERROR(ReadFlagged("scale", c.has_scale, c.scale, &options->scale));
  options->logits_soft_cap = c.logits_soft_cap;
  options->alibi_slopes = View(c.alibi_slopes);
  options->sinks = View(c.sinks);
  options->causal = c.causal;
  options->causal_alignment = static_cast<CausalAlignment>(c.causal_alignment);
  options->window = c.window;
  options->sink_tokens = c.sink_tokens;
  options->prefix_lens = View(c.prefix_lens);
  options->kv_lens = View(c.kv_lens);
  options->key_mask = View(c.key_mask);
  options->mask = View(c.mask);
  options->tree_mask = View(c.tree_mask);
  options->cu_seqlens_q = View(c.cu_seqlens_q);
  options->cu_seqlens_k = View(c.cu_seqlens_k);
  HEED_RETURN_IF_ERROR(Read(c.dropout, &options->dropout));
  options->lse = Output(c.lse);
  options->weights = Output(c.weights);
  options->weights_heads = View(c.weights_heads);
  options->weights_queries = View(c.weights_queries);
  options->key_scores = Output(c.key_scores);
  options->k_scales = View(c.k_scales);
  options->v_scales = View(c.v_scales);
  options->compute = static_cast<Compute>(c.compute);
  return Status();
}

Status Read(const heed_dropout_options* given, DropoutOptions* options) {
  heed_dropout_options c;
  HEED_RETURN_IF_ERROR(ReadOver("dropout", given, heed_dropout_options_init, &c));
  options->probability = c.probability;
  options->seed = c.seed;
  options->mask = View(c.mask);
  return Status();
}

Status Read(const heed_kv_cache_config* given, KvCacheConfig* config) {
  heed_kv_cache_config c;
  HEED_RETURN_IF_ERROR(ReadNeeded("config", given, heed_kv_cache_config_init, &c));
  config->batch = c.batch;
  config->num_kv_heads = c.num_kv_heads;
  config->head_dim = c.head_dim;
  config->v_head_dim = c.v_head_dim;
  config->capacity = c.capacity;
  config->window = c.window;
  config->sink_tokens = c.sink_tokens;
  config->k_dtype = static_cast<DType>(c.k_dtype);
  config->v_dtype = static_cast<DType>(c.v_dtype);
  config->values_in_keys = c.values_in_keys;
  return Status();
}

Status Read(const heed_paged_kv_cache_config* given, PagedKvCacheConfig* config) {
  heed_paged_kv_cache_config c;
  HEED_RETURN_IF_ERROR(ReadNeeded("config", given, heed_paged_kv_cache_config_init, &c));
  config->num_blocks = c.num_blocks;
  config->block_size = c.block_size;
  config->num_kv_heads = c.num_kv_heads;
  config->head_dim = c.head_dim;
  config->v_head_dim = c.v_head_dim;
  config->k_dtype = static_cast<DType>(c.k_dtype);
  config->v_dtype = static_cast<DType>(c.v_dtype);
  config->max_sequences = c.max_sequences;
  config->max_length = c.max_length;
  return Status();
}

Status Read(const heed_pack_options* given, PackOptions* options) {
  heed_pack_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_pack_options_init, &c));
  options->dtype = static_cast<DType>(c.dtype);
  options->group = c.group;
  return Status();
}

Status Read(const heed_map_options* given, MapOptions* options) {
  heed_map_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_map_options_init, &c));
  options->check_data = c.check_data;
  options->memory = {c.memory.data, c.memory.bytes};
  return Status();
}

Status Read(const heed_matmul_options* given, MatmulOptions* options) {
  heed_matmul_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_matmul_options_init, &c));
  options->bias = View(c.bias);
  options->compute = static_cast<Compute>(c.compute);
  return Status();
}

Status Read(const heed_softmax_options* given, SoftmaxOptions* options) {
  heed_softmax_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_softmax_options_init, &c));
  options->scale = c.scale;
  return Status();
}

Status Read(const heed_rope_options* given, RopeOptions* options) {
  heed_rope_options c;
  HEED_RETURN_IF_ERROR(ReadOver("rope", given, heed_rope_options_init, &c));
  options->rope_dim = c.rope_dim;
  options->theta = c.theta;
  options->interleaved = c.interleaved;
  return Read(c.scaling, &options->scaling);
}

Status Read(const heed_rope_scaling* given, RopeScaling* scaling) {
  heed_rope_scaling c;
  HEED_RETURN_IF_ERROR(ReadOver("scaling", given, heed_rope_scaling_init, &c));
  scaling->type = static_cast<RopeScalingType>(c.type);
  scaling->factor = c.factor;
  scaling->original_max_position_embeddings = c.original_max_position_embeddings;
  scaling->low_freq_factor = c.low_freq_factor;
  scaling->high_freq_factor = c.high_freq_factor;
  scaling->beta_fast = c.beta_fast;
  scaling->beta_slow = c.beta_slow;
  scaling->truncate = c.truncate;
  HEED_RETURN_IF_ERROR(ReadFlagged("attention_factor", c.has_attention_factor, c.attention_factor,
                                   &scaling->attention_factor));
  scaling->mscale = c.mscale;
  scaling->mscale_all_dim = c.mscale_all_dim;
  return Status();
}

Status Read(const heed_multi_head_attention_config* given, MultiHeadAttentionConfig* config) {
  heed_multi_head_attention_config c;
  HEED_RETURN_IF_ERROR(ReadNeeded("config", given, heed_multi_head_attention_config_init, &c));
  config->d_in = c.d_in;
  config->num_heads = c.num_heads;
  config->num_kv_heads = c.num_kv_heads;
  config->head_dim = c.head_dim;
  config->v_head_dim = c.v_head_dim;
  config->causal = c.causal;
  HEED_RETURN_IF_ERROR(ReadFlagged("scale", c.has_scale, c.scale, &config->scale));
  config->rope.reset();
  if (c.rope != nullptr) HEED_RETURN_IF_ERROR(Read(c.rope, &config->rope.emplace()));
  config->window = c.window;
  config->sink_tokens = c.sink_tokens;
  config->logits_soft_cap = c.logits_soft_cap;
  config->norm_eps = c.norm_eps;
  config->norm_weight_offset = c.norm_weight_offset;
  config->hadamard = c.hadamard;
  config->k_cache_dtype = static_cast<DType>(c.k_cache_dtype);
  config->v_cache_dtype = static_cast<DType>(c.v_cache_dtype);
  config->values_in_keys = c.values_in_keys;
  config->attention_compute = static_cast<Compute>(c.attention_compute);
  return Status();
}

Status Read(const heed_linear_weights* given, LinearWeights* weights, const char* name) {
  *weights = {};
  if (given == nullptr) return Status();
  heed_linear_weights c;
  HEED_RETURN_IF_ERROR(ReadOver(name, given, heed_linear_weights_init, &c));
  weights->weight = View(c.weight);
  weights->bias = View(c.bias);
  weights->compute = static_cast<Compute>(c.compute);
  weights->packed = Of(c.packed);
  return Read(c.storage, &weights->storage);
}

Status Read(const heed_multi_head_attention_weights* given, MultiHeadAttentionWeights* weights) {
  heed_multi_head_attention_weights c;
  HEED_RETURN_IF_ERROR(ReadNeeded("weights", given, heed_multi_head_attention_weights_init, &c));
  weights->layout = static_cast<WeightLayout>(c.layout);
  HEED_RETURN_IF_ERROR(Read(c.q, &weights->q, "q"));
  HEED_RETURN_IF_ERROR(Read(c.k, &weights->k, "k"));
  HEED_RETURN_IF_ERROR(Read(c.v, &weights->v, "v"));
  HEED_RETURN_IF_ERROR(Read(c.qkv, &weights->qkv, "qkv"));
  HEED_RETURN_IF_ERROR(Read(c.out, &weights->out, "out"));
  weights->q_norm = View(c.q_norm);
  weights->k_norm = View(c.k_norm);
  weights->sinks = View(c.sinks);
  weights->alibi_slopes = View(c.alibi_slopes);
  return Status();
}

Status Read(const heed_forward_options* given, ForwardOptions* options) {
  heed_forward_options c;
  HEED_RETURN_IF_ERROR(ReadOver("options", given, heed_forward_options_init, &c));
  options->cache = Of(c.cache);
  options->positions = View(c.positions);
  options->kv_lens = View(c.kv_lens);
  options->key_mask = View(c.key_mask);
  HEED_RETURN_IF_ERROR(Read(c.dropout, &options->dropout));
  options->lse = Output(c.lse);
  options->weights = Output(c.weights);
  options->context = Output(c.context);
  return Status();
}

Status Read(const heed_row_errors* given, RowErrors* errors) {
  heed_row_errors c;
  HEED_RETURN_IF_ERROR(ReadOver("errors", given, heed_row_errors_init, &c));
  errors->rms = Output(c.rms);
  errors->largest = Output(c.largest);
  errors->relative = Output(c.relative);
  return Status();
}

Status Read(const heed_paged_kv* given, PagedKv* kv) {
  heed_paged_kv c;
  HEED_RETURN_IF_ERROR(ReadNeeded("kv", given, heed_paged_kv_init, &c));
  kv->k = View(&c.k);
  kv->v = View(&c.v);
  kv->block_table = View(&c.block_table);
  kv->seq_lens = View(&c.seq_lens);
  kv->k_scales = View(&c.k_scales);
  kv->v_scales = View(&c.v_scales);
  return Status();
}

heed_kv_cache_config ToC(const KvCacheConfig& config) {
  heed_kv_cache_config c = {};
  c.batch = config.batch;
  c.num_kv_heads = config.num_kv_heads;
  c.head_dim = config.head_dim;
  c.v_head_dim = config.v_head_dim;
  c.capacity = config.capacity;
  c.window = config.window;
  c.sink_tokens = config.sink_tokens;
  c.k_dtype = static_cast<heed_dtype>(config.k_dtype);
  c.v_dtype = static_cast<heed_dtype>(config.v_dtype);
  c.values_in_keys = config.values_in_keys;
  return c;
}

heed_paged_kv_cache_config ToC(const PagedKvCacheConfig& config) {
  heed_paged_kv_cache_config c = {};
  c.num_blocks = config.num_blocks;
  c.block_size = config.block_size;
  c.num_kv_heads = config.num_kv_heads;
  c.head_dim = config.head_dim;
  c.v_head_dim = config.v_head_dim;
  c.k_dtype = static_cast<heed_dtype>(config.k_dtype);
  c.v_dtype = static_cast<heed_dtype>(config.v_dtype);
  c.max_sequences = config.max_sequences;
  c.max_length = config.max_length;
  return c;
}

heed_rope_scaling ToC(const RopeScaling& scaling) {
  heed_rope_scaling c = {};
  c.type = static_cast<heed_rope_scaling_type>(scaling.type);
  c.factor = scaling.factor;
  c.original_max_position_embeddings = scaling.original_max_position_embeddings;
  c.low_freq_factor = scaling.low_freq_factor;
  c.high_freq_factor = scaling.high_freq_factor;
  c.beta_fast = scaling.beta_fast;
  c.beta_slow = scaling.beta_slow;
  c.truncate = scaling.truncate;
  c.has_attention_factor = scaling.attention_factor.has_value();
  c.attention_factor = scaling.attention_factor.value_or(0.0);
  c.mscale = scaling.mscale;
  c.mscale_all_dim = scaling.mscale_all_dim;
  return c;
}

heed_rope_options ToC(const RopeOptions& options) {
  heed_rope_options c = {};
  c.rope_dim = options.rope_dim;
  c.theta = options.theta;
  c.interleaved = options.interleaved;
  return c;
}

heed_multi_head_attention_config ToC(const MultiHeadAttentionConfig& config) {
  heed_multi_head_attention_config c = {};
  c.d_in = config.d_in;
  c.num_heads = config.num_heads;
  c.num_kv_heads = config.num_kv_heads;
  c.head_dim = config.head_dim;
  c.v_head_dim = config.v_head_dim;
  c.causal = config.causal;
  c.has_scale = config.scale.has_value();
  c.scale = config.scale.value_or(0.0f);
  c.window = config.window;
  c.sink_tokens = config.sink_tokens;
  c.logits_soft_cap = config.logits_soft_cap;
  c.norm_eps = config.norm_eps;
  c.norm_weight_offset = config.norm_weight_offset;
  c.hadamard = config.hadamard;
  c.k_cache_dtype = static_cast<heed_dtype>(config.k_cache_dtype);
  c.v_cache_dtype = static_cast<heed_dtype>(config.v_cache_dtype);
  c.values_in_keys = config.values_in_keys;
  c.attention_compute = static_cast<heed_compute>(config.attention_compute);
  return c;
}

Status CheckWritten(const char* name, const void* to) {
  HEED_RETURN_IF_ERROR(CheckPointer(name, to));
  size_t size = 0;
  std::memcpy(&size, to, sizeof(size));
  return IsStructSize(size) ? Status() : WrongStructSize(name, size);
}

Status Write(const char* name, const void* from, size_t known, void* to) {
  HEED_RETURN_IF_ERROR(CheckWritten(name, to));
  size_t size = 0;
  std::memcpy(&size, to, sizeof(size));
  WriteStruct(from, known, to, size);
  return Status();
}

}  // namespace heed::inline v1

using namespace heed;  // NOLINT: the functions below are C's

void heed_context_options_init(heed_context_options* options, size_t struct_size) {
  const heed_context_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_attention_options_init(heed_attention_options* options, size_t struct_size) {
  const heed_attention_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_dropout_options_init(heed_dropout_options* options, size_t struct_size) {
  const heed_dropout_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_kv_cache_config_init(heed_kv_cache_config* config, size_t struct_size) {
  const heed_kv_cache_config c = ToC(KvCacheConfig());
  WriteStruct(&c, sizeof(c), config, struct_size);
}

void heed_paged_kv_cache_config_init(heed_paged_kv_cache_config* config, size_t struct_size) {
  const heed_paged_kv_cache_config c = ToC(PagedKvCacheConfig());
  WriteStruct(&c, sizeof(c), config, struct_size);
}

void heed_pack_options_init(heed_pack_options* options, size_t struct_size) {
  const heed_pack_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_map_options_init(heed_map_options* options, size_t struct_size) {
  heed_map_options c = {};
  c.check_data = MapOptions().check_data;
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_matmul_options_init(heed_matmul_options* options, size_t struct_size) {
  const heed_matmul_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_softmax_options_init(heed_softmax_options* options, size_t struct_size) {
  heed_softmax_options c = {};
  c.scale = SoftmaxOptions().scale;
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_rope_options_init(heed_rope_options* options, size_t struct_size) {
  const heed_rope_options c = ToC(RopeOptions());
  WriteStruct(&c, sizeof(c), options, struct_size);
}

void heed_rope_scaling_init(heed_rope_scaling* scaling, size_t struct_size) {
  const heed_rope_scaling c = ToC(RopeScaling());
  WriteStruct(&c, sizeof(c), scaling, struct_size);
}

void heed_multi_head_attention_config_init(heed_multi_head_attention_config* config,
                                           size_t struct_size) {
  const heed_multi_head_attention_config c = ToC(MultiHeadAttentionConfig());
  WriteStruct(&c, sizeof(c), config, struct_size);
}

void heed_linear_weights_init(heed_linear_weights* weights, size_t struct_size) {
  const heed_linear_weights c = {};
  WriteStruct(&c, sizeof(c), weights, struct_size);
}

void heed_multi_head_attention_weights_init(heed_multi_head_attention_weights* weights,
                                            size_t struct_size) {
  heed_multi_head_attention_weights c = {};
  c.layout = static_cast<heed_weight_layout>(MultiHeadAttentionWeights().layout);
  WriteStruct(&c, sizeof(c), weights, struct_size);
}

void heed_row_errors_init(heed_row_errors* errors, size_t struct_size) {
  const heed_row_errors c = {};
  WriteStruct(&c, sizeof(c), errors, struct_size);
}

void heed_quantization_error_init(heed_quantization_error* error, size_t struct_size) {
  const heed_quantization_error c = {};
  WriteStruct(&c, sizeof(c), error, struct_size);
}

void heed_paged_kv_init(heed_paged_kv* kv, size_t struct_size) {
  const heed_paged_kv c = {};
  WriteStruct(&c, sizeof(c), kv, struct_size);
}

void heed_forward_options_init(heed_forward_options* options, size_t struct_size) {
  const heed_forward_options c = {};
  WriteStruct(&c, sizeof(c), options, struct_size);
}
