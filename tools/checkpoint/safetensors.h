// Reading and writing the safetensors format: an 8-byte little-endian length, a JSON header that
// names type, shape and place of each tensor, then the data. Nothing in a file is trusted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "heed/status.hpp"
#include "heed/tensor.hpp"
#include "tools/file.h"

namespace heed::tools {

// The types heed's tools can read; kOther: another, which does not matter until it is asked for.
enum class StoredType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool, kOther };

// A tensor of a loaded file, row-major. The data lives as long as the Safetensors.
struct StoredTensor {
  StoredType type = StoredType::kOther;
  std::string type_name;  // as the format spells it: "F32"
  std::vector<uint64_t> shape;
  const unsigned char* data = nullptr;  // aligned to the element, in this machine's byte order
  uint64_t bytes = 0;
};

class Safetensors {
 public:
  // Both check everything: header, types, and that the tensors fill the data without gap or
  // overlap.
  static Result<Safetensors> load(const std::string& path);  // maps the file
  // `name` stands for the file in messages.
  static Result<Safetensors> parse(std::vector<unsigned char> file, const std::string& name);

  const std::string& name() const { return name_; }
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const StoredTensor* find(const std::string& name) const;  // null: none

  // F32, F16 or BF16 as f32, exactly.
  Result<std::vector<float>> read_f32(const std::string& name) const;
  // I32, I64 (when every value fits), U8 or BOOL.
  Result<std::vector<int32_t>> read_i32(const std::string& name) const;
  // The stored bytes as heed sees them: F32, F16, BF16, I32 or U8, rank at most 4.
  Result<TensorView> view(const std::string& name) const;

 private:
  Safetensors() = default;
  static Result<Safetensors> create(Bytes file, const std::string& name);
  Result<const StoredTensor*> require(const std::string& name) const;
  Status wrong_type(const std::string& name, const StoredTensor& tensor, const char* wanted) const;

  std::string name_;
  Bytes file_;
  std::vector<std::unique_ptr<unsigned char[]>>
      copies_;  // of tensors that could not be used in place
  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to write, as F32. `data` may be null when some size is 0.
struct NamedArray {
  std::string name;
  std::vector<uint64_t> shape;
  const float* data = nullptr;
};

// Replaces `path` as a whole, or leaves it as it was (see write_file).
Status save_safetensors(const std::string& path, const std::vector<NamedArray>& tensors,
                        const std::map<std::string, std::string>& metadata = {});

}  // namespace heed::tools
