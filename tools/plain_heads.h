// RMSNorm and RoPE of one head in double, from the formulas alone: nothing shared with the library.
#pragma once

#include <cstddef>
#include <vector>

#include "heed/rope.hpp"

namespace heed::tools {

// x[i] * (offset + weight[i]) / sqrt(mean of x^2 + eps), in place.
void plain_norm(const std::vector<float>& weight, float offset, float eps, float* x);

class PlainRope {
 public:
  PlainRope(const RopeOptions& options, size_t head_dim);
  void rotate(size_t position, float* x) const;

 private:
  std::vector<double> frequencies_;
  double factor_ = 1.0;  // of cosine and sine
  bool interleaved_;
};

}  // namespace heed::tools
