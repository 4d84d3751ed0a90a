// One call of attention: two queries look at three keys, the last query being the last key's token.
#include <cstdio>
#include <heed/heed.hpp>

int main() {
  const float q[] = {1, 0, /**/ 0, 1};                      // [q_len 2, heads 1, head_dim 2]
  const float k[] = {1, 0, /**/ 0, 1, /**/ 1, 1};           // [kv_len 3, heads 1, head_dim 2]
  const float v[] = {1, 2, 3, /**/ 4, 5, 6, /**/ 7, 8, 9};  // [kv_len 3, heads 1, v_head_dim 3]
  float out[6];                                             // [q_len 2, heads 1, v_head_dim 3]
  heed::Context context;
  heed::AttentionOptions options;
  options.causal = true;
  heed::Status status = heed::attention({q, {2, 1, 2}}, {k, {3, 1, 2}}, {v, {3, 1, 3}},
                                        {out, {2, 1, 3}}, options, context);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message()), 1;
  for (int i = 0; i < 2; ++i) {
    std::printf("%.4f %.4f %.4f\n", out[3 * i], out[3 * i + 1], out[3 * i + 2]);
  }
}
