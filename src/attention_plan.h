// An attention call, checked and cut into tasks.
#pragma once

#include <cstddef>

#include "heed/attention.hpp"
#include "src/kernels/attention.h"

namespace heed {

// [batch, len, heads, dim] with or without the batch.
struct HeadsView {
  const float* data = nullptr;
  size_t batch = 1, len = 0, heads = 0, dim = 0;
  ptrdiff_t batch_stride = 0, len_stride = 0, head_stride = 0, dim_stride = 0;

  const float* row(size_t b, size_t i, size_t h) const {
    return data + static_cast<ptrdiff_t>(b) * batch_stride +
           static_cast<ptrdiff_t>(i) * len_stride + static_cast<ptrdiff_t>(h) * head_stride;
  }
};

HeadsView AsHeads(const TensorView& view);  // rank 3 or 4

struct KeyRange {
  size_t begin, end;
};

// Rows are the queries of one kv head, token by token and within a token head by head, so that all
// query heads that share keys meet them in one pass.
struct AttentionPlan {
  HeadsView q, k, v, out;  // k and v without data when a cache is read
  const KvCache* cache = nullptr;
  AttentionOptions options;
  float scale = 1.0f;
  size_t kv_len = 0, group = 1, v_panels = 0, acc_stride = 0;

  size_t row_block = 0;   // rows of a task
  size_t row_blocks = 0;  // per sequence and kv head
  size_t segments = 0;    // of the keys
  bool split = false;     // a task is one segment, and rows are merged afterwards

  size_t rows() const { return q.len * group; }
  // The keys that query i sees: every mask rule is decided here.
  KeyRange Visible(size_t i) const;
};

// Checks everything and fills `plan`. `cache` null: k and v are read.
Status PlanAttention(const TensorView& q, const TensorView& k, const TensorView& v,
                     const KvCache* cache, const MutableTensorView& out,
                     const AttentionOptions& options, AttentionPlan* plan);

}  // namespace heed
