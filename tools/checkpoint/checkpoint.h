// A model's tensors in one safetensors file or in several with an index.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "heed/status.hpp"
#include "heed/tensor.hpp"
#include "tools/checkpoint/safetensors.h"

namespace heed::tools {

class Checkpoint {
 public:
  // `path`: a .safetensors file, an index of shards (*.index.json, with weight_map), or a directory
  // that holds model.safetensors.index.json or model.safetensors. Refused when it holds both and
  // the index names other files: which of them is the model cannot be known.
  static Result<Checkpoint> open(const std::string& path);

  const std::string& name() const { return name_; }
  std::string config_path() const;         // config.json beside the weights
  std::vector<std::string> files() const;  // the index and all shards, opened or not
  bool contains(const std::string& tensor) const { return shard_of_.count(tensor) != 0; }
  std::vector<std::string> names_with_prefix(const std::string& prefix) const;

  // A tensor; valid as long as the checkpoint. Maps its shard when it is the first one asked of it.
  Result<TensorView> view(const std::string& tensor);

 private:
  Checkpoint() = default;
  Status read_index(const std::string& path);
  Status check_one_model(const std::string& directory) const;

  std::string name_;
  std::string directory_;
  std::map<std::string, std::string> shard_of_;  // tensor -> file
  std::map<std::string, Safetensors> shards_;    // file -> the open ones
};

}  // namespace heed::tools
