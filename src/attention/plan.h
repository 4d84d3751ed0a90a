// An attention call, checked and cut into tasks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/attention.hpp"
#include "src/base/context.h"
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

// Element (i, j, ...) of a view; its dtype is T.
template <class T, class... Index>
const T& At(const TensorView& view, Index... index) {
  ptrdiff_t offset = 0;
  size_t dim = 0;
  ((offset += static_cast<ptrdiff_t>(index) * view.strides[dim++]), ...);
  return static_cast<const T*>(view.data)[offset];
}

template <class T, class... Index>
T& MutableAt(const TensorView& view, Index... index) {
  return const_cast<T&>(At<T>(view, index...));
}

// Where keys and values come from: tensors, or a cache, or pages.
struct KeySource {
  TensorView k, v;
  const KvCache* cache = nullptr;
  const PagedKv* paged = nullptr;
  // Of tensors: they hold the keys from first_key on of total_keys; SIZE_MAX: all of them.
  size_t first_key = 0, total_keys = SIZE_MAX;
};

// One sequence of the batch.
struct Sequence {
  size_t q_begin = 0, q_len = 0;  // rows of q, out and lse
  // Key j is row kv_begin + j of k and v, modulo 2^64: of a part of the keys kv_begin is negative.
  size_t kv_begin = 0, kv_len = 0;
  ptrdiff_t position = 0;  // of its first query
};

// Rows are the queries of one kv head, token by token and within a token head by head, so that all
// query heads that share keys meet them in one pass.
struct AttentionPlan {
  HeadsView q, k, v, out;  // k and v without data when a cache is read; [block, slot, ...] of pages
  KeySource source;
  AttentionOptions options;
  float scale = 1.0f;
  size_t batch = 1, group = 1, v_panels = 0, acc_stride = 0;
  size_t q_len = 0, kv_len = 0;  // the longest sequence's

  size_t row_block = 0;   // rows of a task
  size_t row_blocks = 0;  // per sequence and kv head
  size_t first_key = 0;   // a multiple of kSegmentKeys
  size_t segments = 0;    // of the keys from there
  bool split = false;     // a task is one segment, and rows are merged afterwards
  bool far = false;       // operands don't fit in L2 together, and are asked for ahead of their use

  size_t workers = 1;  // threads at most
  size_t bytes = 0;    // of memory that the run takes, see RunAttention

  bool empty() const { return batch == 0 || q_len == 0; }
  bool part() const { return source.total_keys != SIZE_MAX; }  // only some of the keys are there
  bool packed() const { return !options.cu_seqlens_q.absent(); }
  bool wants_weights() const { return !options.weights.absent() || !options.key_scores.absent(); }
  Sequence sequence(size_t b) const;
};

// Checks everything and fills `plan`. How rows are cut into tasks depends on the context's threads and
// caches; no row's arithmetic does.
Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     const AttentionOptions& options, const Context::Impl& context,
                     AttentionPlan* plan);

double AttentionFlops(const AttentionPlan& plan);

// Of PlanAttention: the options against the shapes that `plan` holds.
Status CheckAttentionOptions(const AttentionPlan& plan);

}  // namespace heed
