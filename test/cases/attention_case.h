// What one call of attention computes and how heed is asked for it: the shape, every option, where
// keys and values lie. The data follow from it (attention_problem.h), so that a smaller case is a
// smaller problem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <span>
#include <string>

#include "tools/conformance/tensor.h"

namespace heed::test {

struct AttentionShape {
  size_t batch = 1, q_len = 1, kv_len = 1, num_heads = 1, num_kv_heads = 1;
  size_t head_dim = 16;
  size_t v_head_dim = 16;
};
std::ostream& operator<<(std::ostream& out, const AttentionShape& shape);

// Where heed finds keys and values. kParts: attention_partial() over parts of the keys, then
// merge_attention(). kPacked: sequences one after the other, by cu_seqlens.
enum class Source { kTensors, kCache, kRing, kPages, kPacked, kParts };
inline constexpr size_t kNumSources = 6;

enum class MaskType { kNone, kBoolean, kAdditive };

struct AttentionCase {
  AttentionShape shape = {};
  Source source = Source::kTensors;
  size_t block_size = 16;  // of pages

  bool causal = false, top_left = false;
  size_t window = 0, sink_tokens = 0;
  bool prefix_lens = false, kv_lens = false, key_mask = false;
  MaskType mask = MaskType::kNone;
  bool mask_batch = false, mask_heads = false, mask_queries = false;  // false: shared by all
  bool mask_strided = false;                                          // gaps between its elements
  bool tree_mask = false, tree_batch = false;                         // one for each sequence

  std::optional<float> scale = {};
  float soft_cap = 0.0f;
  bool alibi = false, sinks = false;

  bool lse = false, weights = false;
  bool chosen = false;  // weights of some heads and queries alone
  bool key_scores = false;

  float dropout = 0.0f;       // by Philox
  uint64_t seed = 0;          // of dropout and of the data
  bool dropout_mask = false;  // random multipliers instead

  // In which heed is given the tensors: f32, f16 or bf16, keys and values also int8 or int4. A
  // cache is given the numbers of those in f32, and stores them as codes.
  DType q_dtype = DType::kF32, k_dtype = DType::kF32, v_dtype = DType::kF32;
  DType out_dtype = DType::kF32;

  bool int16 = false;  // Compute::kInt16, for keys or values of int8 or int4

  float q_scale = 1.0f;                     // 1: gentle scores, 30: exp underflows
  Layout layout = Layout::kContiguous;      // of q, k, v and the dropout mask
  Layout out_layout = Layout::kContiguous;  // of the results
};
std::ostream& operator<<(std::ostream& out, const AttentionCase& c);
std::string Text(const AttentionCase& c);

// Everything beside the shape that a case may have.
struct Feature {
  const char* name;
  bool (*has)(const AttentionCase& c);
  void (*drop)(AttentionCase* c);
};
std::span<const Feature> Features();

}  // namespace heed::test
