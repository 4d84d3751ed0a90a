// The same attention layer on oneDNN's matrix product and softmax: an independent second opinion.
#pragma once

#include <cstddef>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"

namespace heed::tools {

bool onednn_available();

// y = Attention(x) of whole sequences, as MultiHeadAttention::forward without a cache computes it.
//   x  [batch, seq, d_in], the result [batch, seq, d_out]
// Weights as find_weights gives them: checked and contiguous. Simple rather than fast: it holds seq
// x seq scores. `num_threads` 0: as many as OpenMP would.
Result<std::vector<float>> onednn_forward(const MultiHeadAttentionConfig& config,
                                          const MultiHeadAttentionWeights& weights,
                                          const std::vector<float>& x, size_t batch, size_t seq,
                                          size_t num_threads);

}  // namespace heed::tools
