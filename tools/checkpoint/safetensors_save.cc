#include <bit>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tools/checkpoint/bytes.h"
#include "tools/checkpoint/safetensors.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;

// Checks a tensor and finds its size.
Status check_array(const NamedArray& tensor, const json& header, const std::string& path,
                   uint64_t* bytes) {
  if (tensor.name == "__metadata__" || header.contains(tensor.name)) {
    return refuse(path, "a tensor cannot be named " + quote(tensor.name) + ", the name is taken");
  }
  if (!count_bits(tensor.shape, 8 * sizeof(float), bytes)) {
    return refuse(path, "tensor " + quote(tensor.name) + " has a shape whose product overflows");
  }
  *bytes /= 8;
  if (tensor.data == nullptr && *bytes != 0) {
    return refuse(path, "tensor " + quote(tensor.name) + " has no data");
  }
  return Status();
}

}  // namespace

Status save_safetensors(const std::string& path, const std::vector<NamedArray>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::vector<std::vector<unsigned char>> swapped;
  std::vector<std::string_view> pieces(2);  // length and header, below
  uint64_t offset = 0;
  for (const NamedArray& tensor : tensors) {
    uint64_t bytes = 0;
    if (const Status s = check_array(tensor, header, path, &bytes); !s.ok()) return s;
    header[tensor.name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
    if (bytes == 0) continue;
    const auto* data = reinterpret_cast<const unsigned char*>(tensor.data);
    if constexpr (std::endian::native == std::endian::big) {
      swapped.emplace_back(data, data + bytes);
      reverse_elements(swapped.back().data(), bytes, sizeof(float));
      data = swapped.back().data();
    }
    pieces.emplace_back(reinterpret_cast<const char*>(data), bytes);
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format pads so that the data is aligned
  char length[kLengthBytes];
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i) & 0xff);
  }
  pieces[0] = std::string_view(length, kLengthBytes);
  pieces[1] = text;
  return write_file(path, pieces);
}

}  // namespace heed::tools
