// Attention problems: random inputs, the specification's answers, and heed's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "heed/attention.hpp"
#include "test/support/contexts.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

struct AttentionShape {
  size_t batch = 1, q_len = 1, kv_len = 1, num_heads = 1, num_kv_heads = 1;
  size_t head_dim = 16;
  size_t v_head_dim = 16;
};
std::ostream& operator<<(std::ostream& out, const AttentionShape& shape);

struct AttentionSettings {
  bool causal = false;
  std::optional<float> scale = {};
  bool lse = false;
  bool weights = false;
  float dropout = 0.0f;  // by Philox
  uint64_t seed = 0;
  bool mask = false;                    // a random dropout mask instead
  float q_scale = 1.0f;                 // size of the scores: 1 is gentle, 30 makes exp underflow
  Layout layout = Layout::kContiguous;  // of q, k, v and the mask
  Layout out_layout = Layout::kContiguous;  // of out, lse and weights
};
std::ostream& operator<<(std::ostream& out, const AttentionSettings& settings);

struct AttentionAnswer {
  std::vector<float> out, lse, weights;
};

class AttentionProblem {
 public:
  AttentionProblem(const AttentionShape& shape, const AttentionSettings& settings);

  // The specification's answer for the data as it is now.
  AttentionAnswer Expected(Family family) const;

  // heed's. Fails the current test when heed refuses or writes outside the results.
  AttentionAnswer Run(Context& context) const;
  AttentionOptions Options() const;  // without results

  // Empty when every runner gives the specification's bits, else the first that does not and how.
  std::string Fault() const;

  AttentionShape shape;
  AttentionSettings settings;
  Tensor<float> q, k, v, mask;
};

std::string Difference(const AttentionAnswer& got, const AttentionAnswer& want);

}  // namespace heed::test
