// Sections 3.3 to 3.5 of "Build a Large Language Model (From Scratch)", section by section,
// through heed's public functions. Names in quotes are tensors of test/data/chapter3.safetensors.
#include <cmath>
#include <limits>

#include "examples/chapter3/lab.h"

namespace chapter3 {
namespace {

using heed::AttentionOptions;
using heed::MultiHeadAttentionWeights;
using heed::WeightLayout;

Array row(const Array& x, size_t i) {
  const size_t width = x.shape[1];
  const auto begin = x.values.begin() + static_cast<std::ptrdiff_t>(i * width);
  return {{1, width}, {begin, begin + static_cast<std::ptrdiff_t>(width)}};
}

// Rows divided by their plain sums, which are a product with a column of ones.
Array rows_over_sums(Lab& lab, Array x) {
  const Array ones{{x.shape[1], 1}, std::vector<float>(x.shape[1], 1.0f)};
  const Array sums = lab.matmul(x.view(), ones.view());
  for (size_t i = 0; i < x.values.size(); ++i) x.values[i] /= sums.values[i / x.shape[1]];
  return x;
}

void section_3_3_1(Lab& lab) {
  lab.section("3.3.1 A simple self-attention mechanism without trainable weights");
  const Array x = lab.input("3.3.1/inputs");
  const Array query = row(x, 1);
  const Array scores = lab.matmul(query.view(), x.view().transpose(0, 1));
  lab.result("3.3.1/attn_scores_2", "scores of token 2: a dot product with every token",
             scores.reshaped({6}));
  const Array dot = lab.matmul(row(x, 0).view(), query.view().transpose(0, 1));
  lab.result("3.3.1/dot_1_2", "dot product of tokens 1 and 2", dot.reshaped({}));
  lab.result("3.3.1/attn_weights_2_tmp", "scores over their sum",
             rows_over_sums(lab, scores).reshaped({6}));
  Array exps = scores;  // overflows for scores above 88, which is why softmax subtracts the maximum
  for (float& e : exps.values) e = std::exp(e);
  lab.result("3.3.1/attn_weights_2_naive", "naive softmax: exp over the sum of exp",
             rows_over_sums(lab, exps).reshaped({6}));
  const Array weights = lab.softmax(scores, 1.0f);
  lab.result("3.3.1/attn_weights_2", "softmax", weights.reshaped({6}));
  lab.result("3.3.1/context_vec_2", "context vector of token 2: weights times inputs",
             lab.matmul(weights.view(), x.view()).reshaped({3}));
  AttentionOptions options;
  options.scale = 1.0f;
  const Attended one_call = lab.attention(query, x, x, options);
  lab.result("3.3.1/attn_weights_2", "the weights by heed::attention",
             one_call.weights.reshaped({6}));
  lab.result("3.3.1/context_vec_2", "the context vector by heed::attention",
             one_call.y.reshaped({3}));
}

void section_3_3_2(Lab& lab) {
  lab.section("3.3.2 Computing attention weights for all input tokens");
  const Array x = lab.input("3.3.1/inputs");
  const Array scores = lab.matmul(x.view(), x.view().transpose(0, 1));
  lab.result("3.3.2/attn_scores", "all scores", scores);
  const Array weights = lab.softmax(scores, 1.0f);
  lab.result("3.3.2/attn_weights", "all weights", weights);
  const Array ones{{6, 1}, std::vector<float>(6, 1.0f)};
  lab.result("3.3.2/row_sums", "sum of every row",
             lab.matmul(weights.view(), ones.view()).reshaped({6}));
  lab.result("3.3.2/all_context_vecs", "all context vectors", lab.matmul(weights.view(), x.view()));
  AttentionOptions options;
  options.scale = 1.0f;
  const Attended one_call = lab.attention(x, x, x, options);
  lab.result("3.3.2/attn_weights", "all weights by heed::attention",
             one_call.weights.reshaped({6, 6}));
  lab.result("3.3.2/all_context_vecs", "all context vectors by heed::attention",
             one_call.y.reshaped({6, 3}));
}

void section_3_4_1(Lab& lab) {
  lab.section("3.4.1 Computing the attention weights step by step");
  const Array x = lab.input("3.3.1/inputs");
  const Array w_query = lab.input("3.4.1/W_query");
  const Array w_key = lab.input("3.4.1/W_key");
  const Array w_value = lab.input("3.4.1/W_value");
  const Array query_2 = lab.matmul(row(x, 1).view(), w_query.view());
  const Array key_2 = lab.matmul(row(x, 1).view(), w_key.view());
  lab.result("3.4.1/query_2", "query of token 2", query_2.reshaped({2}));
  lab.result("3.4.1/key_2", "key of token 2", key_2.reshaped({2}));
  lab.result("3.4.1/value_2", "value of token 2",
             lab.matmul(row(x, 1).view(), w_value.view()).reshaped({2}));
  const Array keys = lab.matmul(x.view(), w_key.view());
  const Array values = lab.matmul(x.view(), w_value.view());
  lab.result("3.4.1/queries", "all queries", lab.matmul(x.view(), w_query.view()));
  lab.result("3.4.1/keys", "all keys", keys);
  lab.result("3.4.1/values", "all values", values);
  lab.result("3.4.1/attn_score_22", "score of token 2 with itself",
             lab.matmul(query_2.view(), key_2.view().transpose(0, 1)).reshaped({}));
  const Array scores = lab.matmul(query_2.view(), keys.view().transpose(0, 1));
  lab.result("3.4.1/attn_scores_2", "scores of token 2", scores.reshaped({6}));
  const Array weights = lab.softmax(scores, 1.0f / std::sqrt(2.0f));
  lab.result("3.4.1/attn_weights_2", "softmax of scores / sqrt(2)", weights.reshaped({6}));
  lab.result("3.4.1/context_vec_2", "context vector of token 2",
             lab.matmul(weights.view(), values.view()).reshaped({2}));
  const Attended one_call = lab.attention(query_2, keys, values, {});
  lab.result("3.4.1/attn_weights_2", "the weights by heed::attention",
             one_call.weights.reshaped({6}));
  lab.result("3.4.1/context_vec_2", "the context vector by heed::attention",
             one_call.y.reshaped({2}));
}

void section_3_4_2(Lab& lab) {
  lab.section("3.4.2 Implementing a compact self-attention class");
  const Array x = lab.input("3.3.1/inputs");
  const Projections v1(lab, "3.4.2/self_attention_v1.");
  lab.result("3.4.2/self_attention_v1.context", "parameters as x W, [in, out]",
             lab.layer(layer_config(3, 1, 2, false), v1.weights(WeightLayout::kInOut), x)
                 .y.reshaped({6, 2}));
  const Projections v2(lab, "3.4.2/self_attention_v2.");
  lab.result("3.4.2/self_attention_v2.context", "linear layers, [out, in]",
             lab.layer(layer_config(3, 1, 2, false), v2.weights(), x).y.reshaped({6, 2}));
}

void exercise_3_1(Lab& lab) {
  lab.section("Exercise 3.1 Comparing the two classes");
  const Array x = lab.input("3.3.1/inputs");
  const Projections v2(lab, "exercise-3.1/self_attention_v2.");
  MultiHeadAttentionWeights v1 = v2.weights(WeightLayout::kInOut);
  for (heed::LinearWeights* w : {&v1.q, &v1.k, &v1.v}) w->weight = w->weight.transpose(0, 1);
  lab.result("exercise-3.1/self_attention_v1.context", "first class, given the transposed weights",
             lab.layer(layer_config(3, 1, 2, false), v1, x).y.reshaped({6, 2}));
  lab.result("exercise-3.1/self_attention_v2.context", "second class",
             lab.layer(layer_config(3, 1, 2, false), v2.weights(), x).y.reshaped({6, 2}));
}

// What 3.5.1 and 3.5.2 start from.
struct Causal {
  explicit Causal(Lab& lab) {
    const Array x = lab.input("3.3.1/inputs");
    const Projections p(lab, "3.4.2/self_attention_v2.");
    queries = lab.matmul(x.view(), p.q.view().transpose(0, 1));
    keys = lab.matmul(x.view(), p.k.view().transpose(0, 1));
    values = lab.matmul(x.view(), p.v.view().transpose(0, 1));
  }
  Attended attend(Lab& lab, bool causal, const heed::DropoutOptions& dropout) const {
    AttentionOptions options;
    options.causal = causal;
    options.dropout = dropout;
    return lab.attention(queries, keys, values, options);
  }
  Array queries, keys, values;
};

void section_3_5_1(Lab& lab) {
  lab.section("3.5.1 Applying a causal attention mask");
  const Causal c(lab);
  lab.result("3.5.1/queries", "queries of the second class", c.queries);
  lab.result("3.5.1/keys", "keys", c.keys);
  lab.result("3.5.1/values", "values", c.values);
  const Array scores = lab.matmul(c.queries.view(), c.keys.view().transpose(0, 1));
  lab.result("3.5.1/attn_scores", "scores", scores);
  const float scale = 1.0f / std::sqrt(2.0f);
  lab.result("3.5.1/attn_weights_unmasked", "weights without a mask", lab.softmax(scores, scale));
  const Attended causal = c.attend(lab, true, {});
  Array mask = causal.weights.reshaped({6, 6});  // what heed lets a query see
  for (float& m : mask.values) m = m > 0 ? 1.0f : 0.0f;
  lab.result("3.5.1/mask_simple", "the mask", mask);
  // Multiplying the weights by a mask after softmax is what dropout does.
  heed::DropoutOptions multiply;
  multiply.mask = mask.view({1, 1, 6, 6});
  const Array masked = c.attend(lab, false, multiply).weights.reshaped({6, 6});
  lab.result("3.5.1/masked_simple", "weights times the mask", masked);
  lab.result("3.5.1/masked_simple_norm", "rows divided by their sums", rows_over_sums(lab, masked));
  Array hidden = scores;
  for (size_t i = 0; i < hidden.values.size(); ++i) {
    if (mask.values[i] == 0) hidden.values[i] = -std::numeric_limits<float>::infinity();
  }
  lab.result("3.5.1/masked_scores", "scores with -inf for later tokens", hidden);
  lab.result("3.5.1/attn_weights", "their softmax", lab.softmax(hidden, scale));
  lab.result("3.5.1/attn_weights", "the same by causal heed::attention",
             causal.weights.reshaped({6, 6}));
  lab.result("3.5.1/context", "causal context vectors", causal.y.reshaped({6, 2}));
}

void section_3_5_2(Lab& lab) {
  lab.section("3.5.2 Masking additional attention weights with dropout");
  const Causal c(lab);
  for (const std::string drawn : {"notebook", "local"}) {
    const std::string prefix = "3.5.2/" + drawn + ".";
    Array mask = lab.input(prefix + "dropout_keep_mask");
    for (float& m : mask.values) m /= 1.0f - 0.5f;
    lab.result(prefix + "dropout_scaled_mask", "keep flags (" + drawn + ") over 1 - p", mask);
    heed::DropoutOptions dropout;
    dropout.mask = mask.view({1, 1, 6, 6});
    const Attended dropped = c.attend(lab, true, dropout);
    lab.result(prefix + "attn_weights_dropout", "causal weights with that mask",
               dropped.weights.reshaped({6, 6}));
    lab.result(prefix + "context_dropout", "context vectors", dropped.y.reshaped({6, 2}));
  }
  Array mask = Array::zeros({1, 1, 6, 6});
  lab.check(heed::dropout_mask(0.5f, 123, mask.view()));
  lab.show("heed's own mask, p = 0.5, seed 123", mask.reshaped({6, 6}));
  heed::DropoutOptions dropout;
  dropout.probability = 0.5f;
  dropout.seed = 123;
  const Attended dropped = c.attend(lab, true, dropout);
  lab.show("causal weights with it", dropped.weights.reshaped({6, 6}));
  lab.show("context vectors", dropped.y.reshaped({6, 2}));
}

void section_3_5_3(Lab& lab) {
  lab.section("3.5.3 Implementing a compact causal self-attention class");
  const Array batch = lab.input("3.5.3/batch");
  const Projections p(lab, "3.5.3/causal_attention.");
  const Attended causal = lab.layer(layer_config(3, 1, 2, true), p.weights(), batch);
  lab.result("3.5.3/causal_attention.attn_weights", "weights, two texts",
             causal.weights.reshaped({2, 6, 6}));
  lab.result("3.5.3/causal_attention.context", "context vectors", causal.y);
  const Array mask = lab.input("3.5.3/causal_attention.train.dropout_scaled_mask");
  heed::DropoutOptions dropout;
  dropout.mask = mask.view({2, 1, 6, 6});
  lab.result("3.5.3/causal_attention.train.context", "in training, with a dropout mask",
             lab.layer(layer_config(3, 1, 2, true), p.weights(), batch, dropout).y);
}

}  // namespace

void one_head(Lab& lab) {
  section_3_3_1(lab);
  section_3_3_2(lab);
  section_3_4_1(lab);
  section_3_4_2(lab);
  exercise_3_1(lab);
  section_3_5_1(lab);
  section_3_5_2(lab);
  section_3_5_3(lab);
}

}  // namespace chapter3
