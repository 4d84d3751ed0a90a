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

bool is_quantized(DType dtype) { return dtype == DType::kInt8 || dtype == DType::kInt4; }

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

void add_compute(CLI::App* command, const char* name, Compute* to, const char* what) {
  command
      ->add_option_function<std::string>(
          name,
          [to](const std::string& compute) {
            *to = compute == "int16" ? Compute::kInt16 : Compute::kF32;
          },
          what)
      ->check(CLI::IsMember({"f32", "int16"}));
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
  add_compute(command, "--compute", &compute_,
              "what products with int8 and int4 weights are computed in: f32 or int16 [f32]");
  add_type(command, "--keys", &keys_,
           "how a cache stores keys: f32, bf16, f16, int8 or int4 [f32]");
  add_type(command, "--values", &values_, "how a cache stores values, likewise [f32]");
  add_compute(command, "--attention-compute", &attention_compute_,
              "what attention over int8 and int4 keys or values is computed in, likewise [f32]");
  command->add_flag("--hadamard", hadamard_,
                    "rotate queries and keys by a Hadamard matrix before keys are stored: for int8 "
                    "and int4 keys with outliers");
}

Result<PackOptions> StorageOptions::weights() const {
  const bool has_groups = is_quantized(weights_dtype_);
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
  if (attention_compute_ == Compute::kInt16 && !is_quantized(keys()) && !is_quantized(values())) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--attention-compute: int16 is for int8 and int4, not for --keys %s and "
                         "--values %s",
                         name_of(keys()), name_of(values()));
  }
  return PackOptions{
      .dtype = weights_dtype_,
      .group = weights_group_.value_or(weights_dtype_ == DType::kInt4 ? kUsualInt4Group : 0)};
}

}  // namespace heed::tools
