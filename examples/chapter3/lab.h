// What the sections of the chapter work with: numbers of the book, heed's operations on them, and a
// notebook of results.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/checkpoint/safetensors.h"

namespace chapter3 {

struct Array {  // row-major
  std::vector<size_t> shape;
  std::vector<float> values;

  static Array zeros(const std::vector<size_t>& shape);
  heed::TensorView view() const { return view(shape); }
  heed::MutableTensorView view() { return view(shape); }
  // The same numbers under another shape.
  heed::TensorView view(const std::vector<size_t>& sizes) const {
    return {values.data(), heed::DType::kF32, sizes.data(), sizes.size()};
  }
  heed::MutableTensorView view(const std::vector<size_t>& sizes) {
    return {values.data(), heed::DType::kF32, sizes.data(), sizes.size()};
  }
  Array reshaped(const std::vector<size_t>& sizes) const { return {sizes, values}; }
};

struct Entry {
  std::string name;  // of the tensor in chapter3.safetensors that holds the same; empty: none
  std::string what;  // for the reader
  Array value;
};

struct Section {
  std::string title;
  std::vector<Entry> entries;
};

// Results of an attention call or a layer.
struct Attended {
  Array y;        // of attention: [1, q_len, 1, v_head_dim]; of a layer: [batch, seq, d_out]
  Array weights;  // [batch, num_heads, q_len, kv_len]
  Array context;  // layers only: [batch, seq, num_heads * v_head_dim]
};

// Throws std::runtime_error with heed's message when a call is refused.
class Lab {
 public:
  Lab(const heed::tools::Safetensors& book, heed::Context& context)
      : book_(book), context_(context) {}

  Array input(const std::string& name);  // a tensor of the book, widened to f32

  void section(const std::string& title) { sections_.push_back({title, {}}); }
  // A result that the book holds too, and one that it does not.
  void result(const std::string& name, const std::string& what, const Array& value);
  void show(const std::string& what, const Array& value) { result("", what, value); }

  Array matmul(const heed::TensorView& a, const heed::TensorView& b,
               const heed::TensorView& bias = {});
  Array softmax(Array x, float scale);
  // Queries, keys and values of one head: [tokens, width] each.
  Attended attention(const Array& q, const Array& k, const Array& v,
                     const heed::AttentionOptions& options);
  // x: [tokens, d_in] or [batch, tokens, d_in].
  Attended layer(const heed::MultiHeadAttentionConfig& config,
                 const heed::MultiHeadAttentionWeights& weights, const Array& x,
                 const heed::DropoutOptions& dropout = {});
  // One-head causal layers side by side: head h writes its columns of the result. Weights are [out,
  // in].
  Array stacked_heads(const std::vector<heed::MultiHeadAttentionWeights>& heads, const Array& x);
  static void check(const heed::Status& status);

  const std::vector<Section>& sections() const { return sections_; }
  const std::set<std::string>& inputs() const { return inputs_; }

 private:
  const heed::tools::Safetensors& book_;
  heed::Context& context_;
  std::vector<Section> sections_;
  std::set<std::string> inputs_;
};

// Query, key and value weights of the book, kept alive while a layer is made.
struct Projections {
  Projections(Lab& lab, const std::string& prefix)
      : q(lab.input(prefix + "w_query")),
        k(lab.input(prefix + "w_key")),
        v(lab.input(prefix + "w_value")) {}
  heed::MultiHeadAttentionWeights weights(
      heed::WeightLayout layout = heed::WeightLayout::kOutIn) const;
  Array q, k, v;
};

heed::MultiHeadAttentionConfig layer_config(size_t d_in, size_t num_heads, size_t head_dim,
                                            bool causal);

// The chapter in its order: 3.3 to 3.5, then 3.6 and the bonus material.
void one_head(Lab& lab);
void many_heads(Lab& lab);

}  // namespace chapter3
