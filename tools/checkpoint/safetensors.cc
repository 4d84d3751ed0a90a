#include "tools/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "heed/convert.hpp"
#include "tools/checkpoint/bytes.h"
#include "tools/file_format.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kLengthBytes = 8;

// Types of the format. Of one that is newer than this list only its place in the file is checked.
struct TypeRow {
  std::string_view name;
  StoredType type;
  unsigned bits;
};
constexpr TypeRow kTypes[] = {
    {"F64", StoredType::kF64, 64},      {"F32", StoredType::kF32, 32},
    {"F16", StoredType::kF16, 16},      {"BF16", StoredType::kBF16, 16},
    {"I64", StoredType::kI64, 64},      {"I32", StoredType::kI32, 32},
    {"I16", StoredType::kI16, 16},      {"I8", StoredType::kI8, 8},
    {"U8", StoredType::kU8, 8},         {"BOOL", StoredType::kBool, 8},
    {"U64", StoredType::kOther, 64},    {"U32", StoredType::kOther, 32},
    {"U16", StoredType::kOther, 16},    {"C64", StoredType::kOther, 64},
    {"F8_E4M3", StoredType::kOther, 8}, {"F8_E5M2", StoredType::kOther, 8},
    {"F8_E8M0", StoredType::kOther, 8}, {"F6_E2M3", StoredType::kOther, 6},
    {"F6_E3M2", StoredType::kOther, 6}, {"F4", StoredType::kOther, 4},
};

const TypeRow* find_type(std::string_view name) {
  const auto* row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                 [&](const TypeRow& r) { return r.name == name; });
  return row == std::end(kTypes) ? nullptr : row;
}

uint64_t read_length(const unsigned char* bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

struct Place {  // of a tensor in the data
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string name;
};

// One entry of the header, everything but its data checked. Empty: fine.
std::string read_entry(const json& entry, uint64_t data_bytes, StoredTensor* tensor, Place* place) {
  if (!entry.is_object()) return "is not described by an object";
  const auto dtype = entry.find("dtype");
  const auto shape = entry.find("shape");
  const auto offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) return "has no dtype";
  if (shape == entry.end() || !shape->is_array()) return "has no shape";
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return "has no pair of data_offsets";
  }
  tensor->type_name = dtype->get<std::string>();
  const TypeRow* type = find_type(tensor->type_name);
  if (type != nullptr) tensor->type = type->type;
  for (const json& size : *shape) {
    if (!size.is_number_unsigned()) return "has a size that is not a whole number >= 0";
    tensor->shape.push_back(size.get<uint64_t>());
  }
  uint64_t bits = 0;
  if (!count_bits(tensor->shape, type != nullptr ? type->bits : 1, &bits)) {
    return "has a shape whose product overflows";
  }
  place->begin = (*offsets)[0].get<uint64_t>();
  place->end = (*offsets)[1].get<uint64_t>();
  if (place->begin > place->end || place->end > data_bytes) {
    return "lies at bytes " + std::to_string(place->begin) + " to " + std::to_string(place->end) +
           ", but the data has " + std::to_string(data_bytes);
  }
  tensor->bytes = place->end - place->begin;
  if (type != nullptr && (bits % 8 != 0 || bits / 8 != tensor->bytes)) {
    return "of shape " + shape_text(tensor->shape) + " and dtype " + tensor->type_name + " has " +
           std::to_string(tensor->bytes) + " bytes, but its shape needs " +
           std::to_string(bits / 8);
  }
  return "";
}

Status read_metadata(const json& entry, const std::string& file,
                     std::map<std::string, std::string>* metadata) {
  if (!entry.is_object()) return refuse(file, "__metadata__ is not an object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) return refuse(file, "__metadata__ " + quote(key) + " is not a string");
    (*metadata)[key] = value.get<std::string>();
  }
  return Status();
}

// The tensors, in the order of their places, must fill the data without gap or overlap.
Status check_places(std::vector<Place> places, uint64_t data_bytes, const std::string& file) {
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t next = 0;
  for (const Place& place : places) {
    if (place.begin != next) {
      return refuse(file, "tensor " + quote(place.name) + " begins at byte " +
                              std::to_string(place.begin) + " of the data, which " +
                              (place.begin < next ? "overlaps" : "leaves a gap after") +
                              " the one before it that ends at " + std::to_string(next));
    }
    next = place.end;
  }
  if (next == data_bytes) return Status();
  return refuse(file, "the tensors end at byte " + std::to_string(next) +
                          " of the data, but it has " + std::to_string(data_bytes));
}

Result<std::string_view> header_of(const Bytes& file, const std::string& name) {
  const uint64_t length = file.size < kLengthBytes ? 0 : read_length(file.data);
  const bool cut = file.size < kLengthBytes || length > file.size - kLengthBytes;
  if (cut || length > kMaxHeader) {
    const std::string other = other_format({reinterpret_cast<const char*>(file.data), file.size});
    if (!other.empty()) return refuse(name, "this is " + other + "; it must be safetensors");
  }
  if (file.size < kLengthBytes) {
    return refuse(name, "this is not a safetensors file: it has " + std::to_string(file.size) +
                            " bytes, fewer than the " + std::to_string(kLengthBytes) +
                            " of the header's length");
  }
  if (cut || length > kMaxHeader) {
    return refuse(name,
                  "this is not a safetensors file, or it is cut off: its header should have " +
                      std::to_string(length) + " bytes, the file has " +
                      std::to_string(file.size - kLengthBytes) + " after the length (limit " +
                      std::to_string(kMaxHeader) + ")");
  }
  return std::string_view(reinterpret_cast<const char*>(file.data + kLengthBytes), length);
}

size_t element_bytes(const StoredTensor& tensor) {
  const TypeRow* type = find_type(tensor.type_name);
  return type == nullptr ? 1 : std::max<size_t>(1, type->bits / 8);
}

// A name that is not one of the format's may hold anything.
std::string shown_type(const StoredTensor& tensor) {
  const bool known = find_type(tensor.type_name) != nullptr;
  return known ? tensor.type_name : "of the unknown dtype " + quote(tensor.type_name);
}

bool dtype_of(StoredType type, DType* dtype) {
  switch (type) {
    case StoredType::kF32:
      *dtype = DType::kF32;
      return true;
    case StoredType::kF16:
      *dtype = DType::kF16;
      return true;
    case StoredType::kBF16:
      *dtype = DType::kBF16;
      return true;
    case StoredType::kI32:
      *dtype = DType::kI32;
      return true;
    case StoredType::kU8:
      *dtype = DType::kU8;
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<Safetensors> Safetensors::load(const std::string& path) {
  Result<Bytes> file = map_file(path);
  if (!file.ok()) return file.status();
  return create(std::move(*file), path);
}

Result<Safetensors> Safetensors::parse(std::vector<unsigned char> file, const std::string& name) {
  const auto owner = std::make_shared<std::vector<unsigned char>>(std::move(file));
  return create(Bytes{owner, owner->data(), owner->size()}, name);
}

Result<Safetensors> Safetensors::create(Bytes file, const std::string& name) {
  const Result<std::string_view> text = header_of(file, name);
  if (!text.ok()) return text.status();
  const Result<json> header = parse_json(*text, name + " (header)");
  if (!header.ok()) return header.status();
  if (!header->is_object() || text->front() != '{')
    return refuse(name, "its header is not an object");

  Safetensors result;
  result.name_ = name;
  const unsigned char* data = file.data + kLengthBytes + text->size();
  const uint64_t data_bytes = file.size - kLengthBytes - text->size();
  std::vector<Place> places;
  for (const auto& [key, entry] : header->items()) {
    if (key == "__metadata__") {
      if (const Status s = read_metadata(entry, name, &result.metadata_); !s.ok()) return s;
      continue;
    }
    StoredTensor tensor;
    Place place{0, 0, key};
    const std::string problem = read_entry(entry, data_bytes, &tensor, &place);
    if (!problem.empty()) return refuse(name, "tensor " + quote(key) + " " + problem);
    tensor.data = data + place.begin;
    places.push_back(std::move(place));
    result.tensors_.emplace(key, std::move(tensor));
  }
  if (const Status s = check_places(std::move(places), data_bytes, name); !s.ok()) return s;

  for (auto& [key, tensor] : result.tensors_) {
    const size_t element = element_bytes(tensor);
    const bool swap = std::endian::native == std::endian::big && element > 1;
    if (!swap && reinterpret_cast<uintptr_t>(tensor.data) % element == 0) continue;
    if (tensor.bytes == 0) continue;
    auto copy = std::make_unique<unsigned char[]>(tensor.bytes);
    std::memcpy(copy.get(), tensor.data, tensor.bytes);
    if (swap) reverse_elements(copy.get(), tensor.bytes, element);
    tensor.data = copy.get();
    result.copies_.push_back(std::move(copy));
  }
  result.file_ = std::move(file);
  return result;
}

const StoredTensor* Safetensors::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Result<const StoredTensor*> Safetensors::require(const std::string& name) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) return refuse(name_, "there is no tensor " + quote(name));
  return tensor;
}

Status Safetensors::wrong_type(const std::string& name, const StoredTensor& tensor,
                               const char* wanted) const {
  return Status::Error(StatusCode::kUnsupported, "%s: tensor %s is %s, and must be %s",
                       name_.c_str(), quote(name).c_str(), shown_type(tensor).c_str(), wanted);
}

Result<std::vector<float>> Safetensors::read_f32(const std::string& name) const {
  const Result<const StoredTensor*> found = require(name);
  if (!found.ok()) return found.status();
  const StoredTensor& tensor = **found;
  DType dtype = DType::kU8;
  if (!dtype_of(tensor.type, &dtype) || dtype == DType::kI32 || dtype == DType::kU8) {
    return wrong_type(name, tensor, "F32, F16 or BF16");
  }
  const size_t count = tensor.bytes / size_of(dtype);
  std::vector<float> values(count);
  const MutableTensorView to(values.data(), DType::kF32, &count, 1);
  Context context;
  if (const Status s = convert(TensorView(tensor.data, dtype, &count, 1), to, context); !s.ok()) {
    return s;
  }
  return values;
}

Result<std::vector<int32_t>> Safetensors::read_i32(const std::string& name) const {
  const Result<const StoredTensor*> found = require(name);
  if (!found.ok()) return found.status();
  const StoredTensor& tensor = **found;
  std::vector<int32_t> values;
  if (tensor.type == StoredType::kU8 || tensor.type == StoredType::kBool) {
    values.assign(tensor.data, tensor.data + tensor.bytes);
  } else if (tensor.type == StoredType::kI32) {
    values.resize(tensor.bytes / sizeof(int32_t));
    if (tensor.bytes != 0) std::memcpy(values.data(), tensor.data, tensor.bytes);
  } else if (tensor.type == StoredType::kI64) {
    for (uint64_t i = 0; i < tensor.bytes; i += sizeof(int64_t)) {
      int64_t value = 0;
      std::memcpy(&value, tensor.data + i, sizeof(value));
      if (value != static_cast<int32_t>(value)) {
        return refuse(name_, "tensor " + quote(name) + " holds " + std::to_string(value) +
                                 ", which does not fit 32 bits");
      }
      values.push_back(static_cast<int32_t>(value));
    }
  } else {
    return wrong_type(name, tensor, "I32, I64, U8 or BOOL");
  }
  return values;
}

Result<TensorView> Safetensors::view(const std::string& name) const {
  const Result<const StoredTensor*> found = require(name);
  if (!found.ok()) return found.status();
  const StoredTensor& tensor = **found;
  DType dtype = DType::kU8;
  if (!dtype_of(tensor.type, &dtype)) {
    return wrong_type(name, tensor, "F32, F16, BF16, I32 or U8");
  }
  if (tensor.shape.size() > kMaxRank) {
    return refuse(name_, "tensor " + quote(name) + " has rank " +
                             std::to_string(tensor.shape.size()) + ", and must have at most " +
                             std::to_string(kMaxRank));
  }
  const std::vector<size_t> sizes(tensor.shape.begin(), tensor.shape.end());
  return TensorView(tensor.data, dtype, sizes.data(), sizes.size());
}

}  // namespace heed::tools
