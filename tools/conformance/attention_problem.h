// A problem of attention that grows by options, and the ways to hand it to heed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "heed/attention.hpp"
#include "heed/kv_cache.hpp"
#include "tools/conformance/run.h"

namespace heed::bits {

struct AttentionShape {
  size_t heads() const { return num_kv_heads * group; }

  size_t batch = 1, q_len = 1, kv_len = 1, num_kv_heads = 1, group = 1;
  size_t head_dim = 16, v_head_dim = 16;
};

AttentionShape SmallShape(Run& run);
AttentionShape StreamShape(Run& run, size_t tokens);  // each with its query

class AttentionProblem {
 public:
  explicit AttentionProblem(Run& run) : AttentionProblem(run, SmallShape(run)) {}
  AttentionProblem(Run& run, const AttentionShape& shape, Layout layout = Layout::kContiguous);
  AttentionProblem(const AttentionProblem&) = delete;
  AttentionProblem& operator=(const AttentionProblem&) = delete;

  // Each draws what its option needs. In this order; what another option rules out is left alone.
  void AddPackedBatch();  // the batch of one becomes sequences one after the other
  void AddCausal();
  void AddWindow();
  void AddPrefix();
  void AddKvLens();
  void AddKeyMask();
  void AddMask(DType dtype);
  void AddTreeMask();
  void AddScale();
  void AddSoftCap();
  void AddAlibi(float slope = 0.05f);
  void AddSinks();
  void AddDropout();
  void AddWeights();
  void AddKeyScores();
  void AddTypes();  // of q, k, v and the output; q, k and v stay as they are from here on

  // Each calls heed once and adds all results: the output, the log-sum-exp and what was asked for.
  void Attend();
  void AttendCached();  // against a KvCache that got the keys in pieces
  void AttendPaged();   // against a PagedKvCache that holds kv_lens keys

  // A cache for all of the tokens.
  KvCacheConfig CacheConfig() const;
  // Gives the tokens to a cache in chunks, often of one, each with its queries; adds each output.
  void AttendStream(const KvCacheConfig& config, size_t longest_chunk);

  AttentionShape shape;
  AttentionOptions options;
  Tensor<float> q, k, v;
  DType k_cache_dtype = DType::kF32, v_cache_dtype = DType::kF32;  // of caches and pages
  bool values_in_keys = false;                                     // of a KvCache

 private:
  bool packed() const { return !options.cu_seqlens_q.absent(); }
  bool causal_at_the_end() const;
  size_t sequences() const { return packed() ? cu_q_.size() - 1 : shape.batch; }
  Tensor<int32_t> DrawOffsets(size_t total, size_t pieces);
  TensorView q_view() const { return stored_q_ ? stored_q_->view() : q.view(); }
  TensorView k_view() const { return stored_k_ ? stored_k_->view() : k.view(); }
  TensorView v_view() const { return stored_v_ ? stored_v_->view() : v.view(); }
  void Append(KvCache* cache, size_t begin, size_t end);
  template <class CallHeed>
  void Collect(CallHeed call);

  Run& run_;
  Tensor<int32_t> cu_q_{{0}}, cu_k_{{0}}, prefix_lens_{{0}}, kv_lens_{{0}};
  Tensor<int32_t> chosen_heads_{{0}}, chosen_queries_{{0}};
  std::vector<uint8_t> key_mask_, mask_, tree_mask_;
  Tensor<float> additive_{{0}}, alibi_{{0}}, sinks_{{0}}, multipliers_{{0}};
  Tensor<float> weights_{{0}}, key_scores_{{0}};
  std::optional<FloatTensor> stored_q_, stored_k_, stored_v_;
  DType out_dtype_ = DType::kF32;
};

}  // namespace heed::bits
