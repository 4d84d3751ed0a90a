// Attention over parts of the keys, computed apart and joined: see heed/c/attention_state.h.
#pragma once

#include <cstddef>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_attention_state.
struct AttentionState {
  MutableTensorView max;
  MutableTensorView sum;
  MutableTensorView acc;
};

// heed_attention_partial.
HEED_API Status attention_partial(const TensorView& q, const TensorView& k, const TensorView& v,
                                  size_t first_key, size_t kv_len, const AttentionState& state,
                                  const AttentionOptions& options, Context& context);

// heed_merge_attention.
HEED_API Status merge_attention(const AttentionState* parts, size_t num_parts,
                                const TensorView& sinks, const MutableTensorView& out,
                                const MutableTensorView& lse, Context& context);

// heed_merge_attention_results.
HEED_API Status merge_attention(const TensorView& out_a, const TensorView& lse_a,
                                const TensorView& out_b, const TensorView& lse_b,
                                const MutableTensorView& out, const MutableTensorView& lse,
                                Context& context);

}  // namespace heed::inline v1
