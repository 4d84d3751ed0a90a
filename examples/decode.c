// A layer in C, as a program runs it that generates text: its weights lie in a file, packed as int8,
// and are used from where they are mapped; tokens go through a cache, one by one. They come out with
// the bits of the whole sequence at once.
#include <heed/heed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, HEADS = 4, DIM = 16, TOKENS = 5 };

static heed_error error;
static void check(heed_status status) {
  if (status == HEED_OK) return;
  fprintf(stderr, "%s: %s\n", heed_status_name(status), error.message);
  exit(1);
}

static heed_tensor matrix(const float* data, size_t rows, size_t columns) {
  heed_tensor tensor;
  heed_tensor_contiguous(&tensor, data, HEED_DTYPE_F32, 2, (size_t[]){rows, columns});
  return tensor;
}

static void fill(float* numbers, size_t count) {  // stands for trained weights and for tokens
  static unsigned state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    numbers[i] = (float)(state >> 8) / (1 << 24) - 0.5f;
  }
}

// What another program did once: packs a matrix, and writes a file of it. Returns its bytes.
static size_t save_matrix(size_t out, size_t in, heed_context* context, void* file, size_t room) {
  static float weights[3 * WIDTH * WIDTH];
  fill(weights, out * in);
  heed_pack_options options;
  heed_pack_options_init(&options, sizeof options);
  options.dtype = HEED_DTYPE_INT8;
  options.group = 32;
  const heed_tensor b = matrix(weights, out, in);
  heed_packed_matrix* packed;
  check(heed_packed_matrix_pack(&b, 1, HEED_WEIGHT_LAYOUT_OUT_IN, &options, NULL, context, &packed,
                                &error));
  check(heed_packed_matrix_save(packed, file, room, &error));
  const size_t bytes = heed_packed_matrix_saved_bytes(packed);
  heed_packed_matrix_destroy(packed);
  return bytes;
}

// Files, mapped: at the start of a page.
static _Alignas(64) char qkv_file[1 << 16], out_file[1 << 16];

int main(void) {
  heed_context* context;
  check(heed_context_create(NULL, &context, &error));
  const size_t qkv_bytes = save_matrix(3 * WIDTH, WIDTH, context, qkv_file, sizeof qkv_file);
  const size_t out_bytes = save_matrix(WIDTH, WIDTH, context, out_file, sizeof out_file);

  heed_packed_matrix *qkv_matrix, *out_matrix;
  check(heed_packed_matrix_map(qkv_file, qkv_bytes, NULL, &qkv_matrix, &error));
  check(heed_packed_matrix_map(out_file, out_bytes, NULL, &out_matrix, &error));
  heed_linear_weights qkv, out;
  heed_linear_weights_init(&qkv, sizeof qkv);
  heed_linear_weights_init(&out, sizeof out);
  qkv.packed = qkv_matrix;
  out.packed = out_matrix;
  heed_multi_head_attention_weights weights;
  heed_multi_head_attention_weights_init(&weights, sizeof weights);
  weights.qkv = &qkv;
  weights.out = &out;
  heed_rope_options rope;
  heed_rope_options_init(&rope, sizeof rope);
  heed_multi_head_attention_config config;
  heed_multi_head_attention_config_init(&config, sizeof config);
  config.d_in = WIDTH;
  config.num_heads = HEADS;
  config.head_dim = DIM;
  config.rope = &rope;
  heed_multi_head_attention* layer;
  check(heed_multi_head_attention_create(&config, &weights, NULL, context, &layer, &error));
  heed_packed_matrix_destroy(qkv_matrix);  // what they were mapped from is needed, they are not
  heed_packed_matrix_destroy(out_matrix);

  static float x[TOKENS * WIDTH], whole[TOKENS * WIDTH], decoded[TOKENS * WIDTH];
  fill(x, TOKENS * WIDTH);
  heed_tensor from = matrix(x, TOKENS, WIDTH), to = matrix(whole, TOKENS, WIDTH);
  check(heed_multi_head_attention_forward(layer, &from, &to, NULL, context, &error));

  heed_forward_options options;
  heed_forward_options_init(&options, sizeof options);
  check(heed_multi_head_attention_create_cache(layer, 1, TOKENS, &options.cache, &error));
  for (size_t token = 0; token < TOKENS; ++token) {
    from = matrix(x + token * WIDTH, 1, WIDTH);
    to = matrix(decoded + token * WIDTH, 1, WIDTH);
    check(heed_multi_head_attention_forward(layer, &from, &to, &options, context, &error));
  }
  const int same = memcmp(whole, decoded, sizeof whole) == 0;
  printf("%zu bytes of weights, %zu tokens in the cache; one by one as at once: %s\n",
         heed_multi_head_attention_bytes(layer), heed_kv_cache_length(options.cache),
         same ? "the same bits" : "other bits");
  heed_kv_cache_destroy(options.cache);
  heed_multi_head_attention_destroy(layer);
  heed_context_destroy(context);
  return !same;
}
