#include "tools/storage_options.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace heed::tools {
namespace {

constexpr size_t kUsualInt4Group = 32;  // of weights

// Null: no type that is stored.
const DType* stored_type(const std::string& name) {
  const auto named = [&name](DType dtype) { return name == name_of(dtype); };
  const auto found = std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes), named);
  return found == std::end(kStorageTypes) ? nullptr : found;
}

template <class To>  // DType or an optional one
void add_type(CLI::App* command, const char* name, To* to, const char* what) {
  command
      ->add_option_function<std::string>(
          name, [to](const std::string& type) { *to = *stored_type(type); }, what)
      ->type_name("TYPE")
      ->check([](const std::string& type) {
        return stored_type(type) != nullptr ? std::string()
                                            : "must be f32, bf16, f16, int8 or int4, not " + type;
      });
}

}  // namespace

void StorageOptions::add_to(CLI::App* command) {
  add_type(command, "--weights-dtype", &weights_dtype_,
           "how weights are stored: f32, bf16, f16, int8 or int4 [f32]");
  command
      ->add_option("--weights-group", weights_group_,
                   "elements along the depth that share a scale: 16, 32, 64 or 128 [int8: all, "
                   "int4: 32]")
      ->check(CLI::IsMember({16, 32, 64, 128}));
  command
      ->add_option_function<std::string>(
          "--compute",
          [this](const std::string& name) {
            compute_ = name == "int16" ? Compute::kInt16 : Compute::kF32;
          },
          "what products with int8 and int4 weights are computed in: f32 or int16 [f32]")
      ->check(CLI::IsMember({"f32", "int16"}));
  add_type(command, "--keys", &keys_,
           "how a cache stores keys: f32, bf16, f16, int8 or int4 [f32]");
  add_type(command, "--values", &values_, "how a cache stores values, likewise [f32]");
  command->add_flag("--hadamard", hadamard_,
                    "rotate queries and keys by a Hadamard matrix before keys are stored: for int8 "
                    "and int4 keys with outliers");
}

Result<PackOptions> StorageOptions::weights() const {
  const bool has_groups = weights_dtype_ == DType::kInt8 || weights_dtype_ == DType::kInt4;
  if (weights_group_ && !has_groups) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--weights-group: is for int8 and int4, not for --weights-dtype %s",
                         name_of(weights_dtype_));
  }
  if (compute_ == Compute::kInt16 && !has_groups) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--compute: int16 is for int8 and int4, not for --weights-dtype %s",
                         name_of(weights_dtype_));
  }
  return PackOptions{
      .dtype = weights_dtype_,
      .group = weights_group_.value_or(weights_dtype_ == DType::kInt4 ? kUsualInt4Group : 0)};
}

}  // namespace heed::tools
