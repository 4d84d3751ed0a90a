// Attention problems drawn at random: every option in legal combinations, from one seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tools/conformance/tensor.h"

namespace heed::test {

enum class Source { kTensors, kCache, kPaged, kPacked };

// What was drawn. The data follow from it and `seed`, so a smaller copy is a smaller problem.
struct Draw {
  uint64_t seed = 0;
  size_t runner = 0;
  Source source = Source::kTensors;
  size_t batch = 1, q_len = 1, kv_len = 1, num_kv_heads = 1, group = 1, head_dim = 1;
  size_t v_head_dim = 1, block_size = 1;
  Layout layout = Layout::kContiguous;
  float scale = 0.0f;  // 0: unset
  float soft_cap = 0.0f;
  bool alibi = false, sinks = false;
  bool causal = false, top_left = false;
  size_t window = 0, sink_tokens = 0;
  bool prefix = false, lengths = false, key_mask = false, tree = false;
  DType mask_dtype = DType::kI32;                 // u8 or f32; i32: no mask
  bool mask_heads = false, mask_queries = false;  // else broadcast
  float dropout = 0.0f;
  bool weights = false, chosen = false, key_scores = false;
};
std::string Text(const Draw& draw);

Draw DrawFrom(uint64_t seed);

// Empty when heed's results are the specification's bits and within the bound of a float64
// computation, else what differs.
std::string FaultOf(const Draw& draw);

// The smallest problem found from `draw` by halving sizes and dropping options that still fails.
Draw Shrink(Draw draw);

}  // namespace heed::test
