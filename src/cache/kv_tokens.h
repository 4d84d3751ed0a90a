// New keys and values on their way into a cache.
#pragma once

#include <cstddef>

#include "heed/status.hpp"
#include "heed/tensor.hpp"
#include "src/base/context.h"
#include "src/base/heads_view.h"

namespace heed {

// In the caller's memory, whether or not batch was given.
struct KvTokens {
  HeadsView keys, values;
};

// Checks k [batch, seq, num_kv_heads, head_dim] and v [batch, seq, num_kv_heads, v_head_dim]; batch
// may be left out when it is 1.
Status CheckKvTokens(const TensorView& k, const TensorView& v, size_t batch, size_t num_kv_heads,
                     size_t head_dim, size_t v_head_dim, KvTokens* tokens);

// What it is worth to copy them with several threads.
size_t WorkersForTokens(const Context::Impl& context, size_t num_tasks, const KvTokens& tokens);

}  // namespace heed
