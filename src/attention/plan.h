// An attention call, checked and cut into tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "heed/attention.hpp"
#include "src/attention/operands.h"
#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/heads_view.h"
#include "src/base/rows.h"
#include "src/kernels/attention.h"
#include "src/kernels/pack.h"
#include "src/kernels/score_units.h"

namespace heed::inline v1 {

// Where keys and values come from: tensors, or a cache, or pages.
struct KeySource {
  TensorView k, v;
  const KvCache* cache = nullptr;
  const PagedKv* paged = nullptr;
  // Of tensors: they hold the keys from first_key on of total_keys; SIZE_MAX: all of them.
  size_t first_key = 0, total_keys = SIZE_MAX;
  size_t new_tokens = 0;  // of a cache, that will have been appended to it before the plan is run
};

// One sequence of the batch: the lengths and tables of the caller, read once.
struct Sequence {
  size_t q_begin = 0, q_len = 0;  // rows of q, out and lse
  ptrdiff_t kv_begin = 0;         // the row of key 0 in k and v; negative for a part of the keys
  size_t kv_len = 0;
  ptrdiff_t position = 0;           // of its first query
  size_t prefix_len = 0;            // AttentionOptions::prefix_lens
  const int32_t* blocks = nullptr;  // of pages: those that hold its keys
};

// The heads or queries whose weights are asked for, read once.
struct Chosen {
  bool all = true;
  std::span<const int32_t> indices = {};  // ascending
};

// Rows are the queries of one kv head, token by token and within a token head by head, so that all
// query heads that share keys meet them in one pass.
struct AttentionPlan {
  HeadsView q, k, v, out;  // k and v without data when a cache is read; [block, slot, ...] of pages
  KeySource source;
  KeyBlocks keys;
  const PackKernels* pack = nullptr;
  RowReader read_q;
  RowWriter write_out = nullptr;
  AttentionOptions options;
  ScoreUnits units;  // queries are multiplied by the factor
  size_t batch = 1, group = 1, acc_stride = 0;
  size_t q_len = 0, kv_len = 0;         // the longest sequence's
  const Sequence* sequences = nullptr;  // [batch], in the context until its next plan
  Chosen weights_heads, weights_queries;
  bool writes_nothing = false;  // all results are empty, so lengths and tables were not read

  size_t row_block = 0;   // rows of a task
  size_t row_blocks = 0;  // per sequence and kv head
  size_t first_key = 0;   // a multiple of kSegmentKeys
  size_t segments = 0;    // of the keys from there
  bool split = false;     // a task is one segment, and rows are merged afterwards
  bool prefetch = false;  // operands, which don't fit in L2 together

  size_t workers = 1;       // threads at most
  size_t bytes = 0;         // of memory that the run takes, see RunAttention
  size_t worker_bytes = 0;  // of them for each worker
  size_t lists_bytes = 0;   // of copies of the caller's lists, held since the plan was made

  bool empty() const { return batch == 0 || q_len == 0; }
  bool packed() const { return !options.cu_seqlens_q.absent(); }
  bool wants_weights() const { return !options.weights.absent() || !options.key_scores.absent(); }
  bool int16() const { return kCodesAreBuilt && options.compute == Compute::kInt16; }
  bool key_codes() const { return int16() && HasScales(keys.key_type()); }
  bool value_codes() const { return int16() && HasScales(keys.value_type()); }
  bool part() const { return source.total_keys != SIZE_MAX; }  // only some of the keys are there
  const Sequence& sequence(size_t b) const { return sequences[b]; }
  size_t all_rows() const { return batch * k.heads * q_len * group; }
};

// Checks everything and fills `plan`. `outputs`: `out` and what else the call writes beside the
// options' results. How rows are cut into tasks depends on the context's threads and caches; no
// row's arithmetic does.
Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     std::span<const NamedView> outputs, const AttentionOptions& options,
                     Context::Impl& context, AttentionPlan* plan);

// Refuses a size of 2^31 or more: lengths are i32, and no product of sizes overflows then.
Status CheckSize(const char* name, size_t size);

double AttentionFlops(const AttentionPlan& plan);

}  // namespace heed::inline v1
