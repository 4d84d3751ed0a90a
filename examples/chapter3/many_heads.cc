// Section 3.6 of "Build a Large Language Model (From Scratch)" and its bonus material, through
// heed's public functions. Names in quotes are tensors of test/data/chapter3.safetensors.
#include <limits>

#include "examples/chapter3/lab.h"

namespace chapter3 {
namespace {

using heed::MultiHeadAttentionWeights;
using heed::TensorView;

Array stacked_wrapper(Lab& lab, const std::string& prefix) {
  const Array batch = lab.input("3.5.3/batch");
  const Projections head0(lab, prefix + "heads.0.");
  const Projections head1(lab, prefix + "heads.1.");
  return lab.stacked_heads({head0.weights(), head1.weights()}, batch);
}

void section_3_6_1(Lab& lab) {
  lab.section("3.6.1 Stacking multiple single-head attention layers");
  lab.result("3.6.1/wrapper.context", "two heads side by side",
             stacked_wrapper(lab, "3.6.1/wrapper."));
}

void exercise_3_2(Lab& lab) {
  lab.section("Exercise 3.2 Returning two-dimensional embedding vectors");
  lab.result("exercise-3.2/wrapper.context", "two heads of width 1",
             stacked_wrapper(lab, "exercise-3.2/wrapper."));
  // The published solution takes the softmax over the queries instead of the keys: columns of the
  // scores, which are rows of their transpose. Both texts of the batch are the same.
  const Array x = lab.input("3.3.1/inputs");
  Array wrong = Array::zeros({2, 6, 2});
  for (size_t h = 0; h < 2; ++h) {
    const Projections p(lab, "exercise-3.2/wrapper.heads." + std::to_string(h) + ".");
    const Array q = lab.matmul(x.view(), p.q.view().transpose(0, 1));
    const Array k = lab.matmul(x.view(), p.k.view().transpose(0, 1));
    const Array v = lab.matmul(x.view(), p.v.view().transpose(0, 1));
    Array scores = lab.matmul(k.view(), q.view().transpose(0, 1));  // [key, query]
    for (size_t j = 0; j < 6; ++j) {
      for (size_t i = 0; i < j; ++i) {
        scores.values[j * 6 + i] = -std::numeric_limits<float>::infinity();
      }
    }
    const Array weights = lab.softmax(scores, 1.0f);
    const Array context = lab.matmul(weights.view().transpose(0, 1), v.view());
    for (size_t i = 0; i < 12; ++i) wrong.values[i * 2 + h] = context.values[i % 6];
  }
  lab.result("exercise-3.2/wrapper.context_wrong_softmax_axis",
             "the numbers of the published solution, whose softmax runs over the queries", wrong);
}

void section_3_6_2(Lab& lab) {
  lab.section("3.6.2 Implementing multi-head attention with weight splits");
  const Array batch = lab.input("3.5.3/batch");
  const Projections p(lab, "3.6.2/multi_head.");
  const Array out_weight = lab.input("3.6.2/multi_head.out_proj.weight");
  const Array out_bias = lab.input("3.6.2/multi_head.out_proj.bias");
  MultiHeadAttentionWeights weights = p.weights();
  weights.out = {out_weight.view(), out_bias.view()};
  const Attended heads = lab.layer(layer_config(3, 2, 1, true), weights, batch);
  lab.result("3.6.2/multi_head.attn_weights", "weights of each head", heads.weights);
  lab.result("3.6.2/multi_head.pre_projection", "heads joined", heads.context);
  lab.result("3.6.2/multi_head.context", "after the output projection", heads.y);

  const Array a = lab.input("3.6.2/batched_matmul.a");
  Array product{{1, 2, 3, 3}, {}};
  for (size_t h = 0; h < 2; ++h) {
    const TensorView head(a.values.data() + h * 12, {3, 4});
    const Array c = lab.matmul(head, head.transpose(0, 1));
    product.values.insert(product.values.end(), c.values.begin(), c.values.end());
  }
  lab.result("3.6.2/batched_matmul.result", "a matrix product for each head", product);
}

void exercise_3_3(Lab& lab) {
  lab.section("Exercise 3.3 Initializing GPT-2 size attention modules");
  const Array sizes = lab.input("exercise-3.3/d_in_d_out_heads_context");
  const auto d_in = static_cast<size_t>(sizes.values[0]);
  const auto d_out = static_cast<size_t>(sizes.values[1]);
  const auto num_heads = static_cast<size_t>(sizes.values[2]);
  const Array projection = Array::zeros({d_out, d_in});
  const Array out = Array::zeros({d_out, d_out});
  const Array bias = Array::zeros({d_out});
  MultiHeadAttentionWeights weights;
  weights.q.weight = weights.k.weight = weights.v.weight = projection.view();
  weights.out = {out.view(), bias.view()};
  Array x = Array::zeros({1, 1, d_in});
  const Attended y = lab.layer(layer_config(d_in, num_heads, d_out / num_heads, true), weights, x);
  lab.show("width of the output of a layer of that size",
           {{}, {static_cast<float>(y.y.shape.back())}});
  const size_t parameters = 3 * projection.values.size() + out.values.size() + bias.values.size();
  lab.result("exercise-3.3/num_parameters", "parameters", {{}, {static_cast<float>(parameters)}});
}

void bonus_buffers(Lab& lab) {
  lab.section("Bonus: understanding buffers");
  const Array batch = lab.input("3.5.3/batch");
  const Projections p(lab, "bonus.buffers/causal_attention.");
  lab.result("bonus.buffers/causal_attention.context", "a second causal layer",
             lab.layer(layer_config(3, 1, 2, true), p.weights(), batch).y);
}

void bonus_variants(Lab& lab) {
  lab.section("Bonus: variants of multi-head attention");
  const std::string prefix = "bonus.variants/";
  const Array x = lab.input(prefix + "x");
  const Projections p(lab, prefix);
  const Array b_query = lab.input(prefix + "b_query");
  const Array b_key = lab.input(prefix + "b_key");
  const Array b_value = lab.input(prefix + "b_value");
  const Array out_weight = lab.input(prefix + "out_proj.weight");
  const Array out_bias = lab.input(prefix + "out_proj.bias");
  const heed::MultiHeadAttentionConfig three_heads = layer_config(24, 3, 8, true);

  MultiHeadAttentionWeights plain = p.weights();
  plain.out = {out_weight.view(), out_bias.view()};
  MultiHeadAttentionWeights biased = plain;
  biased.q.bias = b_query.view();
  biased.k.bias = b_key.view();
  biased.v.bias = b_value.view();
  const Attended with_bias = lab.layer(three_heads, biased, x);
  lab.result(prefix + "multi_head_bias.pre_projection", "three heads with biases, joined",
             with_bias.context);
  lab.result(prefix + "multi_head_bias.context", "after the output projection", with_bias.y);
  lab.result(prefix + "torch_multihead_attention.context", "PyTorch's own class gives the same",
             with_bias.y);
  lab.result(prefix + "multi_head.context", "without biases of query, key and value",
             lab.layer(three_heads, plain, x).y);

  const Array fused_weight = lab.input(prefix + "combined_qkv.weight");
  const Array fused_bias = lab.input(prefix + "combined_qkv.bias");
  MultiHeadAttentionWeights fused;
  fused.qkv = {fused_weight.view(), fused_bias.view()};
  fused.out = plain.out;
  lab.result(prefix + "combined_qkv.context", "query, key and value weights in one matrix",
             lab.layer(three_heads, fused, x).y);

  std::vector<MultiHeadAttentionWeights> heads(3);  // rows of the weights, without copying them
  for (size_t h = 0; h < 3; ++h) {
    heads[h].q.weight = p.q.view().slice(0, h * 8, (h + 1) * 8);
    heads[h].k.weight = p.k.view().slice(0, h * 8, (h + 1) * 8);
    heads[h].v.weight = p.v.view().slice(0, h * 8, (h + 1) * 8);
  }
  const Array joined = lab.stacked_heads(heads, x);
  const Array y =
      lab.matmul(joined.view({14, 24}), out_weight.view().transpose(0, 1), out_bias.view());
  lab.result(prefix + "wrapper_with_out_proj.context", "three layers of one head, then projected",
             y.reshaped({2, 7, 24}));
}

}  // namespace

void many_heads(Lab& lab) {
  section_3_6_1(lab);
  exercise_3_2(lab);
  section_3_6_2(lab);
  exercise_3_3(lab);
  bonus_buffers(lab);
  bonus_variants(lab);
}

}  // namespace chapter3
