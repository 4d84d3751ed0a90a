#include "test/c/calls.h"

// A tensor of contiguous memory.
static heed_tensor Of(const void* data, heed_dtype dtype, size_t rank, const size_t* sizes) {
  heed_tensor tensor;
  heed_tensor_contiguous(&tensor, data, dtype, rank, sizes);
  return tensor;
}
#define SIZES(...) \
  (size_t[]) { __VA_ARGS__ }
#define F32(data, rank, ...) Of(data, HEED_DTYPE_F32, rank, SIZES(__VA_ARGS__))
#define RETURN_IF_ERROR(call)               \
  do {                                      \
    const heed_status status_ = (call);     \
    if (status_ != HEED_OK) return status_; \
  } while (0)

static heed_tensor Queries(const void* data) { return F32(data, 4, BATCH, Q_LEN, HEADS, DIM); }
static heed_tensor Keys(const void* data) { return F32(data, 4, BATCH, KV_LEN, KV_HEADS, DIM); }

static heed_attention_options Causal(void) {
  heed_attention_options options;
  heed_attention_options_init(&options, sizeof options);
  options.causal = true;
  return options;
}

heed_status CallAttention(Inputs* in, AttentionResults* results) {
  const heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v),
                    out = Queries(results->out);
  const heed_tensor slopes = F32(in->slopes, 1, HEADS), sinks = F32(in->sinks, 1, HEADS);
  const heed_tensor prefix = Of(in->prefix_lens, HEED_DTYPE_I32, 1, SIZES(BATCH));
  const heed_tensor lens = Of(in->kv_lens, HEED_DTYPE_I32, 1, SIZES(BATCH));
  const heed_tensor key_mask = Of(in->key_mask, HEED_DTYPE_U8, 2, SIZES(BATCH, KV_LEN));
  const heed_tensor mask = F32(in->mask, 3, HEADS, Q_LEN, KV_LEN);
  const heed_tensor lse = F32(results->lse, 3, BATCH, HEADS, Q_LEN);
  const heed_tensor weights = F32(results->weights, 4, BATCH, HEADS, Q_LEN, KV_LEN);
  const heed_tensor key_scores = F32(results->key_scores, 3, BATCH, HEADS, KV_LEN);
  heed_dropout_options dropout;
  heed_dropout_options_init(&dropout, sizeof dropout);
  dropout.probability = 0.25f;
  dropout.seed = 1234567890123;
  heed_attention_options options = Causal();
  options.has_scale = true;
  options.scale = 0.5f;
  options.logits_soft_cap = 3.0f;
  options.alibi_slopes = &slopes;
  options.sinks = &sinks;
  options.causal_alignment = HEED_CAUSAL_ALIGNMENT_BOTTOM_RIGHT;
  options.window = 3;
  options.sink_tokens = 1;
  options.prefix_lens = &prefix;
  options.kv_lens = &lens;
  options.key_mask = &key_mask;
  options.mask = &mask;
  options.dropout = &dropout;
  options.lse = &lse;
  options.weights = &weights;
  options.key_scores = &key_scores;
  return heed_attention(&q, &k, &v, &out, &options, in->context, &in->error);
}

heed_status CallTree(Inputs* in, float* out_data) {
  const heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v), out = Queries(out_data);
  const heed_tensor tree = Of(in->tree_mask, HEED_DTYPE_U8, 2, SIZES(Q_LEN, Q_LEN));
  heed_attention_options options = Causal();
  options.tree_mask = &tree;
  return heed_attention(&q, &k, &v, &out, &options, in->context, &in->error);
}

heed_status CallPacked(Inputs* in, float* out_data) {
  const heed_tensor q = F32(in->q, 3, BATCH * Q_LEN, HEADS, DIM);
  const heed_tensor k = F32(in->k, 3, BATCH * KV_LEN, KV_HEADS, DIM);
  const heed_tensor v = F32(in->v, 3, BATCH * KV_LEN, KV_HEADS, DIM);
  const heed_tensor out = F32(out_data, 3, BATCH * Q_LEN, HEADS, DIM);
  const int32_t q_at[] = {0, 2, BATCH * Q_LEN}, k_at[] = {0, 3, BATCH * KV_LEN};
  const heed_tensor at_q = Of(q_at, HEED_DTYPE_I32, 1, SIZES(3));
  const heed_tensor at_k = Of(k_at, HEED_DTYPE_I32, 1, SIZES(3));
  heed_attention_options options = Causal();
  options.cu_seqlens_q = &at_q;
  options.cu_seqlens_k = &at_k;
  return heed_attention(&q, &k, &v, &out, &options, in->context, &in->error);
}

heed_status CallQuantizedKeys(Inputs* in, float* out_data) {
  int8_t codes[KEYS];
  float scales[KEYS / DIM];
  const heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v), out = Queries(out_data);
  const heed_tensor k_codes = Of(codes, HEED_DTYPE_INT8, 4, SIZES(BATCH, KV_LEN, KV_HEADS, DIM));
  const heed_tensor made = F32(scales, 4, BATCH, KV_LEN, KV_HEADS, 1);
  const heed_tensor k_scales = F32(scales, 3, BATCH, KV_LEN, KV_HEADS);
  RETURN_IF_ERROR(
      heed_quantize(&k, HEED_DTYPE_INT8, 0, &k_codes, &made, NULL, NULL, in->context, &in->error));
  heed_attention_options options = Causal();
  options.k_scales = &k_scales;
  return heed_attention(&q, &k_codes, &v, &out, &options, in->context, &in->error);
}

static heed_status DecodeThroughRing(Inputs* in, heed_kv_cache* cache, float* out_data) {
  heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v), out = Queries(out_data);
  heed_attention_options options = Causal();
  options.window = 4;
  for (size_t token = 0; token < Q_LEN; ++token) {
    heed_tensor one_q = q, one_k = k, one_v = v, one_out = out;
    heed_tensor_slice(&one_q, 1, token, token + 1);
    heed_tensor_slice(&one_k, 1, token, token + 1);
    heed_tensor_slice(&one_v, 1, token, token + 1);
    heed_tensor_slice(&one_out, 1, token, token + 1);
    RETURN_IF_ERROR(heed_kv_cache_append(cache, &one_k, &one_v, in->context, &in->error));
    RETURN_IF_ERROR(
        heed_kv_cache_append(cache, &one_k, &one_v, in->context, &in->error));  // a draft
    RETURN_IF_ERROR(heed_kv_cache_truncate(cache, heed_kv_cache_length(cache) - 1, &in->error));
    RETURN_IF_ERROR(
        heed_attention_cache(&one_q, cache, &one_out, &options, in->context, &in->error));
  }
  return HEED_OK;
}

heed_status CallCache(Inputs* in, float* out_data) {
  heed_kv_cache_config config;
  heed_kv_cache_config_init(&config, sizeof config);
  config.batch = BATCH;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.capacity = 130;
  config.window = 4;
  config.k_dtype = HEED_DTYPE_BF16;
  config.v_dtype = HEED_DTYPE_INT8;
  heed_kv_cache* cache;
  RETURN_IF_ERROR(heed_kv_cache_create(&config, NULL, &cache, &in->error));
  const heed_status status = DecodeThroughRing(in, cache, out_data);
  heed_kv_cache_destroy(cache);
  return status;
}

static heed_status AttendPages(Inputs* in, heed_paged_kv_cache* cache, float* out_data) {
  heed_tensor k = F32(in->k, 4, BATCH, KV_LEN, KV_HEADS, DIM), v = Keys(in->v);
  heed_tensor first_k = k, first_v = v;
  heed_tensor_slice(&first_k, 0, 0, 1);
  heed_tensor_slice(&first_v, 0, 0, 1);
  heed_paged_sequence sequences[BATCH];
  RETURN_IF_ERROR(heed_paged_kv_cache_add(cache, &sequences[0], &in->error));
  RETURN_IF_ERROR(
      heed_paged_kv_cache_append(cache, sequences, 1, &first_k, &first_v, in->context, &in->error));
  RETURN_IF_ERROR(heed_paged_kv_cache_fork(cache, &sequences[0], 3, &sequences[1], &in->error));
  RETURN_IF_ERROR(
      heed_paged_kv_cache_append(cache, sequences, BATCH, &k, &v, in->context, &in->error));
  RETURN_IF_ERROR(heed_paged_kv_cache_truncate(cache, &sequences[0], 9, &in->error));
  heed_paged_kv view;
  heed_paged_kv_init(&view, sizeof view);
  RETURN_IF_ERROR(heed_paged_kv_cache_view(cache, sequences, BATCH, &view, &in->error));
  const heed_tensor q = Queries(in->q), out = Queries(out_data);
  const heed_attention_options options = Causal();
  RETURN_IF_ERROR(heed_attention_paged(&q, &view, &out, &options, in->context, &in->error));
  size_t length = 0;
  RETURN_IF_ERROR(heed_paged_kv_cache_length(cache, &sequences[1], &length, &in->error));
  if (length != 8 || heed_paged_kv_cache_num_sequences(cache) != 2) return HEED_INVALID_ARGUMENT;
  RETURN_IF_ERROR(heed_paged_kv_cache_free(cache, &sequences[0], &in->error));
  return heed_paged_kv_cache_free(cache, &sequences[1], &in->error);
}

heed_status CallPaged(Inputs* in, float* out_data) {
  heed_paged_kv_cache_config config;
  heed_paged_kv_cache_config_init(&config, sizeof config);
  config.num_blocks = 12;
  config.block_size = 2;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.v_dtype = HEED_DTYPE_F16;
  heed_paged_kv_cache* cache;
  RETURN_IF_ERROR(heed_paged_kv_cache_create(&config, NULL, &cache, &in->error));
  const heed_status status = AttendPages(in, cache, out_data);
  const bool all_free = heed_paged_kv_cache_free_blocks(cache) == config.num_blocks;
  heed_paged_kv_cache_destroy(cache);
  return status == HEED_OK && !all_free ? HEED_INVALID_ARGUMENT : status;
}

// Keys of a long sequence, [begin, end) of them.
static heed_tensor LongKeys(const float* data, size_t begin, size_t end) {
  heed_tensor keys = F32(data, 4, 1, LONG_LEN, KV_HEADS, DIM);
  heed_tensor_slice(&keys, 1, begin, end);
  return keys;
}

heed_status CallParts(Inputs* in, float* out_data, float* lse_data) {
  float max[2][HEADS * Q_LEN], sum[2][HEADS * Q_LEN], acc[2][HEADS * Q_LEN * DIM];
  const heed_tensor q = F32(in->q, 4, 1, Q_LEN, HEADS, DIM);
  const heed_tensor sinks = F32(in->sinks, 1, HEADS);
  heed_attention_options options = Causal();
  heed_attention_state parts[2];
  for (size_t part = 0; part < 2; ++part) {
    const size_t begin = part * HEED_SEGMENT_KEYS, end = part == 0 ? HEED_SEGMENT_KEYS : LONG_LEN;
    const heed_tensor k = LongKeys(in->long_k, begin, end), v = LongKeys(in->long_v, begin, end);
    parts[part].max = F32(max[part], 4, 1, 1, HEADS, Q_LEN);
    parts[part].sum = F32(sum[part], 4, 1, 1, HEADS, Q_LEN);
    parts[part].acc = F32(acc[part], 5, 1, 1, Q_LEN, HEADS, DIM);
    RETURN_IF_ERROR(heed_attention_partial(&q, &k, &v, begin, LONG_LEN, &parts[part], &options,
                                           in->context, &in->error));
  }
  const heed_tensor out = F32(out_data, 4, 1, Q_LEN, HEADS, DIM);
  const heed_tensor lse = F32(lse_data, 3, 1, HEADS, Q_LEN);
  return heed_merge_attention(parts, 2, &sinks, &out, &lse, in->context, &in->error);
}

heed_status CallMergeResults(Inputs* in, float* out_data, float* lse_data) {
  float outs[2][HEADS * Q_LEN * DIM], lses[2][HEADS * Q_LEN];
  heed_tensor out[2], lse[2];
  const heed_tensor q = F32(in->q, 4, 1, Q_LEN, HEADS, DIM);
  for (size_t part = 0; part < 2; ++part) {
    const heed_tensor k = LongKeys(in->long_k, part * 500, part * 500 + 400);
    const heed_tensor v = LongKeys(in->long_v, part * 500, part * 500 + 400);
    out[part] = F32(outs[part], 4, 1, Q_LEN, HEADS, DIM);
    lse[part] = F32(lses[part], 3, 1, HEADS, Q_LEN);
    heed_attention_options options;
    heed_attention_options_init(&options, sizeof options);
    options.lse = &lse[part];
    RETURN_IF_ERROR(heed_attention(&q, &k, &v, &out[part], &options, in->context, &in->error));
  }
  const heed_tensor merged = F32(out_data, 4, 1, Q_LEN, HEADS, DIM);
  const heed_tensor merged_lse = F32(lse_data, 3, 1, HEADS, Q_LEN);
  return heed_merge_attention_results(&out[0], &lse[0], &out[1], &lse[1], &merged, &merged_lse,
                                      in->context, &in->error);
}

heed_status CallMasks(Inputs* in, float* slopes_data, float* dropped_data) {
  const heed_tensor slopes = F32(slopes_data, 1, HEADS);
  const heed_tensor dropped = F32(dropped_data, 4, BATCH, HEADS, Q_LEN, KV_LEN);
  RETURN_IF_ERROR(heed_alibi_slopes(&slopes, &in->error));
  return heed_dropout_mask(0.5f, 77, &dropped, &in->error);
}

heed_status CallMatmul(Inputs* in, float* c_data) {
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, OUT);
  heed_tensor b = F32(in->b, 2, OUT, IN);
  heed_tensor_transpose(&b, 0, 1);
  const heed_tensor bias = F32(in->bias, 1, OUT);
  heed_matmul_options options;
  heed_matmul_options_init(&options, sizeof options);
  options.bias = &bias;
  return heed_matmul(&a, &b, &c, &options, in->context, &in->error);
}

static _Alignas(HEED_MEMORY_ALIGNMENT) unsigned char memory_of_context[1 << 20],
    memory_of_cache[1 << 16], memory_of_matrix[1 << 16];

static heed_status SaveAndMap(Inputs* in, const heed_packed_matrix* packed, const heed_tensor* a,
                              const heed_tensor* c) {
  const size_t bytes = heed_packed_matrix_saved_bytes(packed);
  if (bytes > sizeof memory_of_matrix) return HEED_OUT_OF_MEMORY;
  RETURN_IF_ERROR(heed_packed_matrix_save(packed, memory_of_matrix, bytes, &in->error));
  heed_packed_matrix* mapped;
  RETURN_IF_ERROR(heed_packed_matrix_map(memory_of_matrix, bytes, NULL, &mapped, &in->error));
  const heed_status status = heed_matmul_packed(a, mapped, c, NULL, in->context, &in->error);
  heed_packed_matrix_destroy(mapped);
  return status;
}

heed_status CallPackedMatrix(Inputs* in, float* c_data) {
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, 2 * OUT);
  const heed_tensor two[] = {F32(in->b, 2, OUT, IN), F32(in->b, 2, OUT, IN)};
  heed_pack_options options;
  heed_pack_options_init(&options, sizeof options);
  options.dtype = HEED_DTYPE_INT4;
  options.group = 32;
  heed_packed_matrix* packed;
  RETURN_IF_ERROR(heed_packed_matrix_pack(two, 2, HEED_WEIGHT_LAYOUT_OUT_IN, &options, NULL,
                                          in->context, &packed, &in->error));
  const heed_status status = SaveAndMap(in, packed, &a, &c);
  heed_packed_matrix_destroy(packed);
  return status;
}

heed_status CallQuantizedMatrix(Inputs* in, float* c_data) {
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, OUT);
  const heed_quantized_view b = {Of(in->codes, HEED_DTYPE_INT8, 2, SIZES(IN, OUT)),
                                 F32(in->scales, 2, IN / 32, OUT)};
  heed_pack_options options;
  heed_pack_options_init(&options, sizeof options);
  options.dtype = HEED_DTYPE_INT8;
  options.group = 32;
  heed_matmul_options in_int16;
  heed_matmul_options_init(&in_int16, sizeof in_int16);
  in_int16.compute = HEED_COMPUTE_INT16;
  heed_packed_matrix* packed;
  RETURN_IF_ERROR(heed_packed_matrix_pack_quantized(&b, 1, HEED_WEIGHT_LAYOUT_IN_OUT, &options,
                                                    NULL, in->context, &packed, &in->error));
  const heed_status status = heed_matmul_packed(&a, packed, &c, &in_int16, in->context, &in->error);
  heed_packed_matrix_destroy(packed);
  return status;
}

heed_status CallGguf(Inputs* in, float* c_data, float* y_data) {
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, OUT);
  const heed_tensor y = F32(y_data, 2, OUT, IN);
  const heed_gguf_matrix matrix = {in->blocks, sizeof in->blocks, HEED_GGUF_TYPE_Q8_0, OUT, IN};
  RETURN_IF_ERROR(heed_dequantize_gguf(&matrix, &y, in->context, &in->error));
  heed_packed_matrix* packed;
  RETURN_IF_ERROR(heed_pack_gguf(&matrix, 1, NULL, in->context, &packed, &in->error));
  const heed_status status = heed_matmul_packed(&a, packed, &c, NULL, in->context, &in->error);
  heed_packed_matrix_destroy(packed);
  return status;
}

heed_status CallSoftmax(Inputs* in, float* y_data) {
  const heed_tensor x = F32(in->a, 2, ROWS, IN), y = F32(y_data, 2, ROWS, IN);
  heed_softmax_options options;
  heed_softmax_options_init(&options, sizeof options);
  options.scale = 2.5f;
  return heed_softmax(&x, &y, &options, in->context, &in->error);
}

heed_status CallRope(Inputs* in, float* y_data) {
  const heed_tensor x = Queries(in->q), y = Queries(y_data);
  const heed_tensor positions = Of(in->positions, HEED_DTYPE_I32, 1, SIZES(Q_LEN));
  heed_rope_scaling scaling;
  heed_rope_scaling_init(&scaling, sizeof scaling);
  scaling.type = HEED_ROPE_SCALING_TYPE_YARN;
  scaling.factor = 4;
  scaling.original_max_position_embeddings = 512;
  scaling.has_attention_factor = true;
  scaling.attention_factor = 1.25;
  heed_rope_options options;
  heed_rope_options_init(&options, sizeof options);
  options.rope_dim = 6;
  options.theta = 5000;
  options.interleaved = true;
  options.scaling = &scaling;
  return heed_rope(&x, &positions, &y, &options, in->context, &in->error);
}

heed_status CallHadamard(Inputs* in, float* y_data) {
  const heed_tensor x = F32(in->a, 2, ROWS, IN), y = F32(y_data, 2, ROWS, IN);
  return heed_hadamard(&x, &y, in->context, &in->error);
}

heed_status CallConvert(Inputs* in, uint16_t* y_data) {
  const heed_tensor x = F32(in->a, 2, ROWS, IN);
  const heed_tensor y = Of(y_data, HEED_DTYPE_BF16, 2, SIZES(ROWS, IN));
  return heed_convert(&x, &y, in->context, &in->error);
}

heed_status CallQuantize(Inputs* in, int8_t* codes_data, float* scales_data, float* rms_data,
                         float* y_data, heed_quantization_error* totals) {
  const heed_tensor x = F32(in->a, 2, ROWS, IN), y = F32(y_data, 2, ROWS, IN);
  const heed_tensor codes = Of(codes_data, HEED_DTYPE_INT8, 2, SIZES(ROWS, IN));
  const heed_tensor scales = F32(scales_data, 2, ROWS, IN / 32), rms = F32(rms_data, 1, ROWS);
  heed_row_errors errors;
  heed_row_errors_init(&errors, sizeof errors);
  errors.rms = &rms;
  for (int i = 0; i < 2; ++i) heed_quantization_error_init(&totals[i], sizeof totals[i]);
  RETURN_IF_ERROR(heed_quantize(&x, HEED_DTYPE_INT8, 32, &codes, &scales, &errors, &totals[0],
                                in->context, &in->error));
  RETURN_IF_ERROR(heed_dequantize(&codes, &scales, 32, &y, in->context, &in->error));
  const heed_tensor b = F32(in->b, 2, OUT, IN);
  heed_pack_options options;
  heed_pack_options_init(&options, sizeof options);
  options.dtype = HEED_DTYPE_INT4;
  options.group = 64;
  return heed_storage_error(&b, HEED_WEIGHT_LAYOUT_OUT_IN, &options, NULL, &totals[1], in->context,
                            &in->error);
}

// The host's threads, one after another: tasks in pieces of 3.
static heed_status RunTasks(Inputs* in, const heed_region* region) {
  for (size_t phase = 0; phase < heed_region_phases(region); ++phase) {
    const size_t tasks = heed_region_tasks(region, phase);
    const size_t workers = heed_region_workers(region, phase);
    for (size_t begin = 0; begin < tasks; begin += 3) {
      const size_t end = begin + 3 < tasks ? begin + 3 : tasks;
      RETURN_IF_ERROR(heed_region_run(region, phase, begin, end, begin / 3 % workers, &in->error));
    }
  }
  return HEED_OK;
}

static heed_status AttendByRegion(Inputs* in, float* out_data) {
  const heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v), out = Queries(out_data);
  const heed_attention_options options = Causal();
  heed_region region;
  RETURN_IF_ERROR(
      heed_region_attention(&q, &k, &v, &out, &options, 2, in->context, &region, &in->error));
  return RunTasks(in, &region);
}

static heed_status MultiplyByRegion(Inputs* in, const heed_packed_matrix* b, float* c_data) {
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, OUT);
  heed_region region;
  RETURN_IF_ERROR(heed_region_matmul_packed(&a, b, &c, NULL, 2, in->context, &region, &in->error));
  return RunTasks(in, &region);
}

heed_status CallRegions(Inputs* in, float* out_data, float* c_data) {
  RETURN_IF_ERROR(AttendByRegion(in, out_data));
  const heed_tensor b = F32(in->b, 2, IN, OUT);
  heed_packed_matrix* packed;
  RETURN_IF_ERROR(heed_packed_matrix_pack(&b, 1, HEED_WEIGHT_LAYOUT_IN_OUT, NULL, NULL, in->context,
                                          &packed, &in->error));
  const heed_status status = MultiplyByRegion(in, packed, c_data);
  heed_packed_matrix_destroy(packed);
  return status;
}

// What a call with these tensors needs.
static heed_status Measure(Inputs* in, const heed_kv_cache_config* config,
                           const heed_packed_matrix* matrix, size_t* bytes) {
  heed_context_options options;
  heed_context_options_init(&options, sizeof options);
  options.measure = true;
  options.threading = HEED_THREADING_NONE;
  heed_context* context;
  heed_kv_cache* cache;
  RETURN_IF_ERROR(heed_context_create(&options, &context, &in->error));
  RETURN_IF_ERROR(heed_kv_cache_create_without_data(config, KV_LEN, &cache, &in->error));
  const heed_tensor q = Queries(NULL), out = Queries(NULL), k = Keys(NULL), v = Keys(NULL);
  const heed_tensor a = F32(NULL, 2, ROWS, IN), c = F32(NULL, 2, ROWS, OUT);
  const heed_attention_options causal = Causal();
  const heed_status measured[] = {heed_kv_cache_append(cache, &k, &v, context, NULL),
                                  heed_attention_cache(&q, cache, &out, &causal, context, NULL),
                                  heed_matmul_packed(&a, matrix, &c, NULL, context, NULL)};
  *bytes = heed_context_memory_bytes(heed_context_workspace_bytes(context));
  heed_kv_cache_destroy(cache);
  heed_context_destroy(context);
  for (size_t i = 0; i < 3; ++i)
    if (measured[i] != HEED_MEASURED) return measured[i];
  return HEED_OK;
}

heed_status CallInMemory(Inputs* in, float* out_data, float* c_data) {
  heed_kv_cache_config config;
  heed_kv_cache_config_init(&config, sizeof config);
  config.batch = BATCH;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.capacity = 2 * KV_LEN;  // a call that measures appends to what there is
  const heed_tensor matrix = F32(in->b, 2, IN, OUT);
  heed_memory in_cache = {memory_of_cache, 0}, in_matrix = {memory_of_matrix, 0};
  RETURN_IF_ERROR(heed_kv_cache_memory_bytes(&config, &in_cache.bytes, &in->error));
  RETURN_IF_ERROR(heed_packed_matrix_memory_bytes(IN, OUT, NULL, &in_matrix.bytes, &in->error));
  if (in_cache.bytes > sizeof memory_of_cache || in_matrix.bytes > sizeof memory_of_matrix)
    return HEED_OUT_OF_MEMORY;
  heed_kv_cache* cache;
  heed_packed_matrix* packed;
  RETURN_IF_ERROR(heed_kv_cache_create(&config, &in_cache, &cache, &in->error));
  RETURN_IF_ERROR(heed_packed_matrix_pack(&matrix, 1, HEED_WEIGHT_LAYOUT_IN_OUT, NULL, &in_matrix,
                                          in->context, &packed, &in->error));
  heed_context_options options;
  heed_context_options_init(&options, sizeof options);
  options.threading = HEED_THREADING_NONE;
  options.memory.data = memory_of_context;
  RETURN_IF_ERROR(Measure(in, &config, packed, &options.memory.bytes));
  if (options.memory.bytes > sizeof memory_of_context) return HEED_OUT_OF_MEMORY;
  heed_context* context;
  RETURN_IF_ERROR(heed_context_create(&options, &context, &in->error));
  const heed_tensor q = Queries(in->q), k = Keys(in->k), v = Keys(in->v), out = Queries(out_data);
  const heed_tensor a = F32(in->a, 2, ROWS, IN), c = F32(c_data, 2, ROWS, OUT);
  const heed_attention_options causal = Causal();
  RETURN_IF_ERROR(heed_kv_cache_append(cache, &k, &v, context, &in->error));
  RETURN_IF_ERROR(heed_attention_cache(&q, cache, &out, &causal, context, &in->error));
  RETURN_IF_ERROR(heed_matmul_packed(&a, packed, &c, NULL, context, &in->error));
  heed_packed_matrix_destroy(packed);
  heed_kv_cache_destroy(cache);
  heed_context_destroy(context);
  return HEED_OK;
}

static heed_status Forward(Inputs* in, const heed_multi_head_attention* layer, heed_kv_cache* cache,
                           LayerResults* results) {
  heed_tensor x = F32(in->a, 3, 1, Q_LEN, IN), tokens = F32(results->tokens, 3, 1, Q_LEN, IN);
  const heed_tensor whole = F32(results->whole, 3, 1, Q_LEN, IN);
  const heed_tensor lse = F32(results->lse, 3, 1, HEADS, Q_LEN);
  heed_forward_options options;
  heed_forward_options_init(&options, sizeof options);
  options.lse = &lse;
  RETURN_IF_ERROR(
      heed_multi_head_attention_forward(layer, &x, &whole, &options, in->context, &in->error));
  options.lse = NULL;
  const heed_tensor by_region = F32(results->region, 3, 1, Q_LEN, IN);
  heed_region region;
  RETURN_IF_ERROR(
      heed_region_forward(layer, &x, &by_region, &options, 2, in->context, &region, &in->error));
  RETURN_IF_ERROR(RunTasks(in, &region));
  options.cache = cache;
  for (size_t token = 0; token < Q_LEN; ++token) {
    heed_tensor one = x, one_y = tokens;
    heed_tensor_slice(&one, 1, token, token + 1);
    heed_tensor_slice(&one_y, 1, token, token + 1);
    RETURN_IF_ERROR(
        heed_multi_head_attention_forward(layer, &one, &one_y, &options, in->context, &in->error));
  }
  results->length = heed_kv_cache_length(cache);
  results->bytes = heed_multi_head_attention_bytes(layer);
  results->d_out = heed_multi_head_attention_d_out(layer);
  return HEED_OK;
}

heed_status CallLayer(Inputs* in, LayerResults* results) {
  heed_rope_options rope;
  heed_rope_options_init(&rope, sizeof rope);
  rope.theta = 5000;
  heed_multi_head_attention_config config;
  heed_multi_head_attention_config_init(&config, sizeof config);
  config.d_in = IN;
  config.num_heads = HEADS;
  config.num_kv_heads = KV_HEADS;
  config.head_dim = DIM;
  config.rope = &rope;
  config.window = 2;
  // Any numbers will do as weights.
  const heed_tensor matrix_q = F32(in->long_k, 2, HEADS * DIM, IN);
  const heed_tensor matrix_kv = F32(in->long_v, 2, KV_HEADS * DIM, IN);
  const heed_tensor matrix_out = F32(in->long_v, 2, IN, HEADS * DIM);
  const heed_tensor bias = F32(in->bias, 1, HEADS * DIM), norm = F32(in->a, 1, DIM);
  heed_pack_options storage;
  heed_pack_options_init(&storage, sizeof storage);
  storage.dtype = HEED_DTYPE_INT8;
  heed_linear_weights q, kv, out;
  heed_linear_weights_init(&q, sizeof q);
  heed_linear_weights_init(&kv, sizeof kv);
  heed_linear_weights_init(&out, sizeof out);
  q.weight = &matrix_q;
  q.bias = &bias;
  kv.weight = &matrix_kv;
  out.weight = &matrix_out;
  out.storage = &storage;
  heed_multi_head_attention_weights weights;
  heed_multi_head_attention_weights_init(&weights, sizeof weights);
  weights.q = &q;
  weights.k = &kv;
  weights.v = &kv;
  weights.out = &out;
  weights.k_norm = &norm;
  heed_memory memory = {memory_of_matrix, 0};
  RETURN_IF_ERROR(heed_multi_head_attention_memory_bytes(&config, &weights, in->context,
                                                         &memory.bytes, &in->error));
  if (memory.bytes > sizeof memory_of_matrix) return HEED_OUT_OF_MEMORY;
  heed_multi_head_attention* layer;
  RETURN_IF_ERROR(heed_multi_head_attention_create(&config, &weights, &memory, in->context, &layer,
                                                   &in->error));
  heed_kv_cache* cache = NULL;
  heed_kv_cache_config of_cache;
  heed_kv_cache_config_init(&of_cache, sizeof of_cache);
  heed_status status =
      heed_multi_head_attention_cache_config(layer, 1, Q_LEN, &of_cache, &in->error);
  if (status == HEED_OK) status = heed_kv_cache_create(&of_cache, NULL, &cache, &in->error);
  if (status == HEED_OK) status = Forward(in, layer, cache, results);
  heed_kv_cache_destroy(cache);
  heed_multi_head_attention_destroy(layer);
  return status;
}
