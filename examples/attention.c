// One call of attention from C: what attention.cc does, with the same output.
#include <heed/heed.h>
#include <stdio.h>

int main(void) {
  const float queries[] = {1, 0, /**/ 0, 1};          // [q_len 2, heads 1, head_dim 2]
  const float keys[] = {1, 0, /**/ 0, 1, /**/ 1, 1};  // [kv_len 3, heads 1, head_dim 2]
  const float values[] = {1, 2,      3, /**/ 4, 5,
                          6, /**/ 7, 8, 9};  // [kv_len 3, heads 1, v_head_dim 3]
  float result[6];                           // [q_len 2, heads 1, v_head_dim 3]
  heed_tensor q, k, v, out;
  heed_tensor_contiguous(&q, queries, HEED_DTYPE_F32, 3, (size_t[]){2, 1, 2});
  heed_tensor_contiguous(&k, keys, HEED_DTYPE_F32, 3, (size_t[]){3, 1, 2});
  heed_tensor_contiguous(&v, values, HEED_DTYPE_F32, 3, (size_t[]){3, 1, 3});
  heed_tensor_contiguous(&out, result, HEED_DTYPE_F32, 3, (size_t[]){2, 1, 3});
  heed_context* context;
  heed_error error;
  heed_status status = heed_context_create(NULL, &context, &error);
  heed_attention_options options;
  heed_attention_options_init(&options, sizeof options);
  options.causal = true;
  if (status == HEED_OK) status = heed_attention(&q, &k, &v, &out, &options, context, &error);
  if (status != HEED_OK) return fprintf(stderr, "%s\n", error.message), 1;
  for (int i = 0; i < 2; ++i)
    printf("%.4f %.4f %.4f\n", result[3 * i], result[3 * i + 1], result[3 * i + 2]);
  heed_context_destroy(context);
}
