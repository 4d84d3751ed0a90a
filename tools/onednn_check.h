// Problems computed by heed and by oneDNN.
#pragma once

#include <string>
#include <vector>

#include "heed/context.hpp"
#include "heed/status.hpp"

namespace heed::tools {

struct CrossCheck {
  bool passed() const { return relative <= bound; }

  std::string problem;
  double relative;  // the largest difference, as a share of the largest result
  double bound;
};

// A matrix product, softmax, and an attention layer. Errors: a refusal, and kUnsupported without
// oneDNN.
Result<std::vector<CrossCheck>> cross_check(Context& context);

}  // namespace heed::tools
