/* What app.cc does, from C: it prints the same digest. */
#include <heed/heed.h>
#include <inttypes.h>
#include <stdio.h>

static uint32_t state = 1;
static uint64_t digest = 14695981039346656037u;
static heed_error error;

static void Draw(float* numbers, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    numbers[i] = (float)((int32_t)(state >> 20) - 2048) / 1024.0f;
  }
}

static void Take(const float* results, size_t count) {
  const unsigned char* bytes = (const unsigned char*)results;
  for (size_t i = 0; i < count * sizeof(float); ++i) {
    digest = (digest ^ bytes[i]) * 1099511628211u;
  }
}

static heed_tensor Tensor(const float* data, size_t rank, const size_t* sizes) {
  heed_tensor tensor;
  heed_tensor_contiguous(&tensor, data, HEED_DTYPE_F32, rank, sizes);
  return tensor;
}

static float q[5 * 4 * 32], k[300 * 2 * 32], v[300 * 2 * 32], out[5 * 4 * 32], weights[96 * 128],
    product[5 * 96];

static heed_status Run(heed_context* context) {
  Draw(q, sizeof q / sizeof *q);
  Draw(k, sizeof k / sizeof *k);
  Draw(v, sizeof v / sizeof *v);
  heed_attention_options options;
  heed_attention_options_init(&options, sizeof options);
  options.causal = true;
  options.logits_soft_cap = 20.0f;
  const heed_tensor queries = Tensor(q, 4, (size_t[]){1, 5, 4, 32}),
                    keys = Tensor(k, 4, (size_t[]){1, 300, 2, 32}),
                    values = Tensor(v, 4, (size_t[]){1, 300, 2, 32}),
                    results = Tensor(out, 4, (size_t[]){1, 5, 4, 32});
  heed_status status =
      heed_attention(&queries, &keys, &values, &results, &options, context, &error);
  if (status != HEED_OK) return status;
  Take(out, sizeof out / sizeof *out);

  heed_kv_cache_config config;
  heed_kv_cache_config_init(&config, sizeof config);
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.capacity = 300;
  config.k_dtype = HEED_DTYPE_INT8;
  config.v_dtype = HEED_DTYPE_BF16;
  heed_kv_cache* cache;
  status = heed_kv_cache_create(&config, NULL, &cache, &error);
  if (status == HEED_OK) status = heed_kv_cache_append(cache, &keys, &values, context, &error);
  if (status == HEED_OK) {
    status = heed_attention_cache(&queries, cache, &results, &options, context, &error);
  }
  heed_kv_cache_destroy(cache);
  if (status != HEED_OK) return status;
  Take(out, sizeof out / sizeof *out);

  Draw(weights, sizeof weights / sizeof *weights);
  heed_pack_options storage;
  heed_pack_options_init(&storage, sizeof storage);
  storage.dtype = HEED_DTYPE_INT4;
  storage.group = 32;
  const heed_tensor b = Tensor(weights, 2, (size_t[]){96, 128}),
                    a = Tensor(q, 2, (size_t[]){5, 128}), c = Tensor(product, 2, (size_t[]){5, 96});
  heed_packed_matrix* packed;
  status = heed_packed_matrix_pack(&b, 1, HEED_WEIGHT_LAYOUT_OUT_IN, &storage, NULL, context,
                                   &packed, &error);
  if (status == HEED_OK) status = heed_matmul_packed(&a, packed, &c, NULL, context, &error);
  heed_packed_matrix_destroy(packed);
  if (status != HEED_OK) return status;
  Take(product, sizeof product / sizeof *product);

  /* What is refused says so. */
  return heed_attention(&queries, &keys, &values, &b, &options, context, &error) ==
                 HEED_INVALID_ARGUMENT
             ? HEED_OK
             : HEED_UNSUPPORTED;
}

int main(void) {
  heed_context* context;
  heed_status status = heed_context_create(NULL, &context, &error);
  if (status == HEED_OK) status = Run(context);
  heed_context_destroy(context);
  if (status != HEED_OK) return fprintf(stderr, "%s\n", error.message), 1;
  printf("%016" PRIx64 "\n", digest);
  return 0;
}
