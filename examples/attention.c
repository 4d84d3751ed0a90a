// One call of attention from C: what attention.cc does, with the same output.
#include <heed/heed.h>
#include <stdio.h>

int main(void) {
  const float q[] = {1, 0, /**/ 0, 1};                      // [q_len 2, heads 1, head_dim 2]
  const float k[] = {1, 0, /**/ 0, 1, /**/ 1, 1};           // [kv_len 3, heads 1, head_dim 2]
  const float v[] = {1, 2, 3, /**/ 4, 5, 6, /**/ 7, 8, 9};  // [kv_len 3, heads 1, v_head_dim 3]
  float out[6];                                             // [q_len 2, heads 1, v_head_dim 3]
  heed_tensor tensors[4];
  heed_tensor_contiguous(&tensors[0], q, HEED_DTYPE_F32, 3, (size_t[]){2, 1, 2});
  heed_tensor_contiguous(&tensors[1], k, HEED_DTYPE_F32, 3, (size_t[]){3, 1, 2});
  heed_tensor_contiguous(&tensors[2], v, HEED_DTYPE_F32, 3, (size_t[]){3, 1, 3});
  heed_tensor_contiguous(&tensors[3], out, HEED_DTYPE_F32, 3, (size_t[]){2, 1, 3});
  heed_attention_options options;
  heed_attention_options_init(&options, sizeof options);
  options.causal = true;
  heed_error error;
  heed_context* context;
  if (heed_context_create(NULL, &context, &error) != HEED_OK ||
      heed_attention(&tensors[0], &tensors[1], &tensors[2], &tensors[3], &options, context,
                     &error) != HEED_OK)
    return fprintf(stderr, "%s\n", error.message), 1;
  for (int i = 0; i < 2; ++i)
    printf("%.4f %.4f %.4f\n", out[3 * i], out[3 * i + 1], out[3 * i + 2]);
  heed_context_destroy(context);
}
