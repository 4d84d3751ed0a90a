// Layers with random weights: the specification's answers, and heed's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "test/spec/layer.h"
#include "test/support/contexts.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

// What a layer is, and how its weights are handed over.
struct LayerForm {
  size_t d_in = 30, num_heads = 4;
  size_t num_kv_heads = 0, head_dim = 16, v_head_dim = 0;  // 0: the default
  size_t d_out = 21;
  bool has_output = true;
  bool causal = true;
  std::optional<float> scale = {};
  std::optional<RopeOptions> rope = {};
  bool hadamard = false;
  bool values_in_keys = false;
  float dropout = 0.0f;
  bool mask = false;
  bool q_norm = false, k_norm = false;
  float norm_weight_offset = 0.0f;
  size_t window = 0, sink_tokens = 0;
  float logits_soft_cap = 0.0f;
  bool sinks = false, alibi_slopes = false;
  bool kv_lens = false, key_mask = false;  // of the call

  bool fused = false;
  WeightLayout layout = WeightLayout::kOutIn;
  bool bias = false;
  DType dtype = DType::kF32;
  PackOptions q_storage, k_storage, v_storage, out_storage;  // fused: q_storage of all three
  DType k_cache_dtype = DType::kF32, v_cache_dtype = DType::kF32;
  Layout weight_layout = Layout::kContiguous;
  Layout x_layout = Layout::kContiguous;
};
std::ostream& operator<<(std::ostream& out, const LayerForm& form);

class LayerProblem {
 public:
  LayerProblem(const LayerForm& form, size_t batch, size_t seq);

  const MultiHeadAttention& layer() const { return *layer_; }
  size_t d_out() const;

  // Without a cache, or with keys and values as a cache stores them.
  spec::LayerResult Expected(Family family, bool cached = false) const;
  std::vector<double> Reference() const;  // y in float64 by the definition

  // Empty when every runner gives the specification's y, context, lse and weights.
  std::string Fault() const;

  // y, with the sequence given to a new cache in chunks.
  std::vector<float> RunWithCache(size_t chunk, Context& context) const;

  LayerForm form;
  size_t batch, seq;
  Tensor<float> x;
  std::vector<int32_t> positions;  // [batch, seq], at first 0, 1, 2 ...
  bool give_positions = false;     // to heed; the specification always has them

 private:
  std::string FaultOf(const spec::LayerResult& want, Context& context) const;

  spec::Layer spec_;
  Tensor<float> mask_;
  PlacedVector<int32_t> kv_lens_;   // [batch], or empty
  PlacedVector<uint8_t> key_mask_;  // [batch, seq], or empty
  std::optional<MultiHeadAttention> layer_;
};

}  // namespace heed::test
