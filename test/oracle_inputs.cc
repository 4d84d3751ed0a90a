// The tensors of a golden case, each checked as it is asked for.
#include <algorithm>
#include <cmath>

#include "src/base/half.h"
#include "test/oracle.h"

namespace heed::oracle {

bool Inputs::check(const std::string& name, const std::vector<size_t>& shape) {
  used_.insert(name);
  if (!status_.ok()) return false;
  const tools::StoredTensor* stored = file_.find(name);
  if (stored == nullptr) {
    status_ = Status::Error(StatusCode::kInvalidArgument, "tensor %s is missing", name.c_str());
  } else if (!std::equal(shape.begin(), shape.end(), stored->shape.begin(), stored->shape.end())) {
    status_ =
        Status::Error(StatusCode::kInvalidArgument,
                      "tensor %s does not have the shape that the metadata implies", name.c_str());
  }
  return status_.ok();
}

TensorView Inputs::f32(const std::string& name, const std::vector<size_t>& shape) {
  if (!check(name, shape)) return {};
  auto values = file_.read_f32(name);
  if (!values.ok()) {
    status_ = values.status();
    return {};
  }
  std::vector<float>& kept = floats_[name] = std::move(*values);
  return {kept.data(), DType::kF32, shape.data(), shape.size()};
}

TensorView Inputs::operand(const std::string& name, const std::vector<size_t>& shape) {
  const TensorView floats = f32(name, shape);
  if (floats.absent() || input_dtype == DType::kF32) return floats;
  const std::vector<float>& values = floats_[name];
  std::vector<uint16_t>& kept = halves_[name];
  kept.clear();
  for (const float x : values) {
    const f16 half = ToF16(x);
    const bf16 upper = ToBf16(x);
    const bool is_half = input_dtype == DType::kF16;
    kept.push_back(is_half ? half.bits : upper.bits);
    const float back = is_half ? ToFloat(half) : ToFloat(upper);
    if (back == x || std::isnan(x)) continue;
    status_ = Status::Error(StatusCode::kInvalidArgument, "tensor %s: %g is no %s", name.c_str(),
                            static_cast<double>(x), name_of(input_dtype));
    return {};
  }
  return {kept.data(), input_dtype, shape.data(), shape.size()};
}

TensorView Inputs::i32(const std::string& name, const std::vector<size_t>& shape) {
  if (!check(name, shape)) return {};
  auto values = file_.read_i32(name);
  if (!values.ok()) {
    status_ = values.status();
    return {};
  }
  std::vector<int32_t>& kept = ints_[name] = std::move(*values);
  return {kept.data(), DType::kI32, shape.data(), shape.size()};
}

TensorView Inputs::u8(const std::string& name, const std::vector<size_t>& shape) {
  if (i32(name, shape).absent()) return {};
  std::vector<uint8_t>& kept = bytes_[name];
  kept.assign(ints_[name].begin(), ints_[name].end());
  return {kept.data(), DType::kU8, shape.data(), shape.size()};
}

size_t Inputs::size(const std::string& name, size_t dim) const {
  const tools::StoredTensor* stored = file_.find(name);
  return stored != nullptr && dim < stored->shape.size() ? stored->shape[dim] : 0;
}

std::optional<std::string> Inputs::unused() const {
  for (const auto& [name, tensor] : file_.tensors()) {
    if (used_.count(name) == 0) return name;
  }
  return std::nullopt;
}

}  // namespace heed::oracle
