// One call of each function that computes, for tests of what all of them must do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/conformance/tensor.h"

namespace heed::test {

// A call, and where its result goes.
struct Operation {
  std::string name;
  std::function<Status(Context&)> call;
  std::vector<float>* out;
};

// On numbers of which some are subnormal, or become so.
class Operations {
 public:
  Operations();
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  const std::vector<Operation>& all() const { return all_; }

 private:
  void Add(const char* name, size_t floats, std::function<Status(Context&, float* out)> call);
  void AddAttention();
  void AddCaches();
  void AddPacked();
  void AddOthers();
  // Of x_ with a matrix that was packed.
  Status Product(const Result<PackedMatrix>& packed, float* out, Context& context);

  static constexpr size_t kKeys = 1300;  // two segments
  Random random_{5};
  Tensor<float> q_{{1, 40, 4, 16}}, k_{{1, kKeys, 2, 16}}, v_{{1, kKeys, 2, 16}};
  Tensor<float> x_{{40, 64}}, weight_{{64, 64}};
  int32_t positions_[40] = {};
  std::vector<std::unique_ptr<std::vector<float>>> outputs_;
  std::vector<Operation> all_;
};

}  // namespace heed::test
