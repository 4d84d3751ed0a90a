// New keys and values on their way into a cache.
#pragma once

#include <cstddef>

#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed {

// [batch, seq, heads, dim] in the caller's memory, whether or not batch was given.
struct TokenRows {
  const float* data = nullptr;
  ptrdiff_t batch = 0, seq = 0, head = 0, dim = 0;

  const float* row(size_t b, size_t i, size_t h) const {
    return data + static_cast<ptrdiff_t>(b) * batch + static_cast<ptrdiff_t>(i) * seq +
           static_cast<ptrdiff_t>(h) * head;
  }
};

struct KvTokens {
  TokenRows keys, values;
  size_t seq = 0;
};

// Checks k [batch, seq, num_kv_heads, head_dim] and v [batch, seq, num_kv_heads, v_head_dim]; batch
// may be left out when it is 1.
Status CheckKvTokens(const TensorView& k, const TensorView& v, size_t batch, size_t num_kv_heads,
                     size_t head_dim, size_t v_head_dim, KvTokens* tokens);

}  // namespace heed
