// A case with its data, the specification's answer, and heed's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "test/cases/attention_case.h"
#include "test/support/contexts.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

// Row-major; what the case does not ask for is empty. Packed results are given as those of a batch.
struct AttentionAnswer {
  std::vector<float> out = {}, lse = {}, weights = {}, key_scores = {};
};
std::string Difference(const AttentionAnswer& got, const AttentionAnswer& want);

class AttentionProblem {
 public:
  explicit AttentionProblem(const AttentionCase& c);
  // The case c, but of this shape.
  AttentionProblem(const AttentionShape& shape, AttentionCase c);

  // The specification's answer for the data as it is now.
  AttentionAnswer Expected(Family family) const;

  // heed's. Fails the current test when heed refuses or writes outside the results.
  AttentionAnswer Run(Context& context) const;
  // The same with options of the caller's, which ask for no results.
  AttentionAnswer Run(const AttentionOptions& options, Context& context) const;
  AttentionOptions Options() const;  // of the case, without results

  // Empty when every runner gives the specification's bits, else the first that does not and how.
  std::string Fault() const;
  std::string FaultOn(const Runner& runner) const;

  size_t KvLen(size_t b) const;                                 // of sequence b
  size_t MaskAt(size_t b, size_t h, size_t i, size_t j) const;  // place in `mask` and `bias`
  // The multipliers of dropout, [batch, num_heads, q_len, kv_len]; empty: none.
  std::vector<float> Multipliers() const;
  double Scale() const;

  AttentionCase given;
  Tensor<float> q, k, v;  // [batch, q_len, num_heads, head_dim] and so on
  // What is appended to a cache where it stores other types than f32; k and v are what it then holds.
  Tensor<float> given_k, given_v;
  Tensor<float> dropout_mask;
  PlacedVector<float> slopes, sinks, bias;
  PlacedVector<int32_t> prefix_lens, kv_lens;
  PlacedVector<uint8_t> key_mask, mask, tree_mask;  // tree_mask: [1 or batch, q_len, q_len]

 private:
  struct Results;
  std::string Call(const AttentionOptions& options, Context& context,
                   AttentionAnswer* answer) const;
  Status CallOn(Source source, const AttentionOptions& options, Results* results,
                Context& context) const;
  Status CallCache(const KvCacheConfig& config, const AttentionOptions& options, Results* results,
                   Context& context) const;
  Status CallPages(const AttentionOptions& options, Results* results, Context& context) const;
  Status CallPacked(AttentionOptions options, Results* results, Context& context) const;
  Status CallParts(AttentionOptions options, Results* results, Context& context) const;
  std::vector<int32_t> Chosen(size_t step, size_t begin, size_t end) const;
  std::vector<int32_t> ChosenHeads() const { return Chosen(2, 0, given.shape.num_heads); }
  std::vector<int32_t> ChosenQueries() const { return Chosen(3, 1, given.shape.q_len); }
};

}  // namespace heed::test
