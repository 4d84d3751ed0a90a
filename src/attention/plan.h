// An attention call, checked and cut into tasks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/attention.hpp"
#include "src/attention/operands.h"
#include "src/base/context.h"
#include "src/base/heads_view.h"
#include "src/kernels/attention.h"

namespace heed {

// Where keys and values come from: tensors, or a cache, or pages.
struct KeySource {
  TensorView k, v;
  const KvCache* cache = nullptr;
  const PagedKv* paged = nullptr;
  // Of tensors: they hold the keys from first_key on of total_keys; SIZE_MAX: all of them.
  size_t first_key = 0, total_keys = SIZE_MAX;
  size_t new_tokens = 0;  // of a cache, that will have been appended to it before the plan is run
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
  KeyBlocks keys;
  AttentionOptions options;
  float scale = 1.0f;
  size_t batch = 1, group = 1, acc_stride = 0;
  size_t q_len = 0, kv_len = 0;  // the longest sequence's

  size_t row_block = 0;   // rows of a task
  size_t row_blocks = 0;  // per sequence and kv head
  size_t first_key = 0;   // a multiple of kSegmentKeys
  size_t segments = 0;    // of the keys from there
  bool split = false;     // a task is one segment, and rows are merged afterwards
  bool prefetch = false;  // operands, which don't fit in L2 together

  size_t workers = 1;  // threads at most
  size_t bytes = 0;    // of memory that the run takes, see RunAttention

  bool empty() const { return batch == 0 || q_len == 0; }
  bool part() const { return source.total_keys != SIZE_MAX; }  // only some of the keys are there
  bool packed() const { return !options.cu_seqlens_q.absent(); }
  bool wants_weights() const { return !options.weights.absent() || !options.key_scores.absent(); }
  Sequence sequence(size_t b) const;
};

// Checks everything and fills `plan`. How rows are cut into tasks depends on the context's threads
// and caches; no row's arithmetic does.
Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     const AttentionOptions& options, const Context::Impl& context,
                     AttentionPlan* plan);

double AttentionFlops(const AttentionPlan& plan);

// Of PlanAttention: the options against the shapes that `plan` holds.
Status CheckAttentionOptions(const AttentionPlan& plan);

}  // namespace heed
