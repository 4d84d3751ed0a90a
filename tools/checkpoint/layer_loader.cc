#include "tools/checkpoint/layer_loader.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tools/text.h"

namespace heed::tools {
namespace {

struct StyleNames {
  std::vector<const char*> bases;  // what stands before the layer's number
  const char* attention;           // and after it
  std::vector<std::string> known;  // tensors that are used or change nothing
};

StyleNames names_of(WeightStyle style) {
  if (style == WeightStyle::kGpt2) {
    // bias and masked_bias are the causal mask as older programs stored it.
    return {
        {"transformer.h.", "h."},
        ".attn.",
        {"c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias", "bias", "masked_bias"}};
  }
  // inv_freq is what rope_theta gives.
  // The longer ones are of models that also see.
  return {
      {"model.layers.", "layers.", "language_model.model.layers.", "model.language_model.layers."},
      ".self_attn.",
      {"q_proj.weight", "k_proj.weight", "v_proj.weight", "qkv_proj.weight", "o_proj.weight",
       "q_proj.bias", "k_proj.bias", "v_proj.bias", "qkv_proj.bias", "o_proj.bias", "q_norm.weight",
       "k_norm.weight", "sinks", "rotary_emb.inv_freq"}};
}

// "model.layers.3.self_attn.", of the form that the checkpoint uses.
Result<std::string> find_prefix(const Checkpoint& checkpoint, const StyleNames& names,
                                size_t layer) {
  std::vector<std::string> found;
  for (const char* base : names.bases) {
    std::string prefix = base + std::to_string(layer) + names.attention;
    if (!checkpoint.names_with_prefix(prefix).empty()) found.push_back(std::move(prefix));
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1) {
    return refuse(checkpoint.name(), "layer " + std::to_string(layer) + " is there twice, as " +
                                         quote(found[0]) + " and " + quote(found[1]));
  }
  return refuse(checkpoint.name(), "there is no attention of layer " + std::to_string(layer) +
                                       ": no tensor begins with '" + names.bases[0] +
                                       std::to_string(layer) + names.attention + "' or '" +
                                       names.bases[1] + std::to_string(layer) + names.attention +
                                       "'");
}

class WeightFinder {
 public:
  WeightFinder(Checkpoint* checkpoint, std::string prefix)
      : checkpoint_(checkpoint), prefix_(std::move(prefix)) {}

  const Status& status() const { return status_; }
  bool has(const std::string& name) const { return checkpoint_->contains(prefix_ + name); }
  void refuse(const std::string& problem) {
    if (status_.ok()) status_ = tools::refuse(checkpoint_->name(), problem);
  }

  void refuse_unknown(const std::vector<std::string>& known) {
    for (const std::string& name : checkpoint_->names_with_prefix(prefix_)) {
      if (std::find(known.begin(), known.end(), name.substr(prefix_.size())) == known.end()) {
        refuse("tensor " + quote(name) +
               " belongs to this attention, and heed does not compute it");
      }
    }
  }

  LinearWeights linear(const std::string& name, size_t in, size_t out, bool bias,
                       WeightLayout layout) {
    const bool in_out = layout == WeightLayout::kInOut;
    LinearWeights result;
    result.weight = tensor(name + ".weight", {in_out ? in : out, in_out ? out : in});
    result.bias = vector(name + ".bias", out, bias);
    return result;
  }

  // Absent unless `wanted`; refused when it is there all the same.
  TensorView vector(const std::string& name, size_t size, bool wanted) {
    if (wanted) return tensor(name, {size});
    if (has(name)) {
      refuse("there is a tensor " + quote(prefix_ + name) + ", but the configuration has no such " +
             (name.ends_with("bias") ? "bias" : "part"));
    }
    return TensorView();
  }

 private:
  TensorView tensor(const std::string& name, const std::vector<size_t>& wanted) {
    const Result<TensorView> view = checkpoint_->view(prefix_ + name);
    if (!view.ok()) {
      if (status_.ok()) status_ = view.status();
      return TensorView();
    }
    const std::vector<size_t> shape(view->shape, view->shape + view->rank);
    if (shape != wanted) {
      refuse("tensor " + quote(prefix_ + name) + " is " + shape_text(shape) +
             ", and the configuration needs " + shape_text(wanted));
    }
    if (view->dtype != DType::kF32 && view->dtype != DType::kF16 && view->dtype != DType::kBF16) {
      refuse("tensor " + quote(prefix_ + name) + " is " + name_of(view->dtype) +
             ", and must be f32, f16 or bf16");
    }
    return *view;
  }

  Checkpoint* checkpoint_;
  std::string prefix_;
  Status status_;
};

}  // namespace

Result<MultiHeadAttentionWeights> find_weights(Checkpoint& checkpoint, const LayerConfig& config,
                                               size_t layer) {
  const StyleNames names = names_of(config.style);
  const Result<std::string> prefix = find_prefix(checkpoint, names, layer);
  if (!prefix.ok()) return prefix.status();
  WeightFinder finder(&checkpoint, *prefix);
  finder.refuse_unknown(names.known);

  const MultiHeadAttentionConfig& shape = config.attention;
  const size_t q_out = shape.num_heads * shape.head_dim;
  const size_t kv_out = shape.num_kv_heads * shape.head_dim;
  const bool gpt2 = config.style == WeightStyle::kGpt2;
  const std::string fused = gpt2 ? "c_attn" : "qkv_proj";
  MultiHeadAttentionWeights weights;
  weights.layout = gpt2 ? WeightLayout::kInOut : WeightLayout::kOutIn;
  const auto linear = [&](const std::string& name, size_t in, size_t out, bool bias) {
    return finder.linear(name, in, out, bias, weights.layout);
  };
  if (gpt2 || finder.has("qkv_proj.weight")) {
    weights.qkv = linear(fused, shape.d_in, q_out + 2 * kv_out, config.qkv_bias);
    for (const char* name : {"q_proj.weight", "k_proj.weight", "v_proj.weight"}) {
      if (finder.has(name))
        finder.refuse("there is both a fused qkv_proj and a " + std::string(name));
    }
  } else {
    weights.q = linear("q_proj", shape.d_in, q_out, config.qkv_bias);
    weights.k = linear("k_proj", shape.d_in, kv_out, config.qkv_bias);
    weights.v = linear("v_proj", shape.d_in, kv_out, config.qkv_bias);
  }
  weights.out = linear(gpt2 ? "c_proj" : "o_proj", q_out, shape.d_in, config.out_bias);
  weights.q_norm = finder.vector("q_norm.weight", shape.head_dim, config.qk_norm);
  weights.k_norm = finder.vector("k_norm.weight", shape.head_dim, config.qk_norm);
  weights.sinks = finder.vector("sinks", shape.num_heads, config.sinks);
  if (!finder.status().ok()) return finder.status();
  return weights;
}

Result<MultiHeadAttention> load_layer(Checkpoint& checkpoint, const LayerConfig& config,
                                      size_t layer, Context& context) {
  const Result<MultiHeadAttentionWeights> weights = find_weights(checkpoint, config, layer);
  if (!weights.ok()) return weights.status();
  return MultiHeadAttention::create(config.attention, *weights, context);
}

}  // namespace heed::tools
