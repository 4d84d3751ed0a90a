#include "tools/checkpoint/checkpoint.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "tools/file.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

namespace fs = std::filesystem;

// The file to read for what the user named.
std::string resolve(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return path;
  const fs::path index = fs::path(path) / "model.safetensors.index.json";
  return fs::exists(index, error) ? index.string()
                                  : (fs::path(path) / "model.safetensors").string();
}

// A shard must lie beside its index: an index from elsewhere cannot name other files of this
// machine.
bool plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

}  // namespace

Status Checkpoint::read_index(const std::string& path) {
  constexpr size_t kLargest = 256 << 20;
  const Result<std::string> text = read_text(path, kLargest);
  if (!text.ok()) return text.status();
  const Result<nlohmann::json> index = parse_json(*text, path);
  if (!index.ok()) return index.status();
  if (!index->is_object() || !index->contains("weight_map") ||
      !(*index)["weight_map"].is_object()) {
    return refuse(path, "this is not an index of a checkpoint: it has no object weight_map");
  }
  for (const auto& [tensor, file] : (*index)["weight_map"].items()) {
    if (!file.is_string() || !plain_file_name(file.get<std::string>())) {
      return refuse(path,
                    "weight_map of " + quote(tensor) + " is not the name of a file beside it");
    }
    shard_of_[tensor] = file.get<std::string>();
  }
  return Status();
}

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  Checkpoint result;
  const std::string file = resolve(path);
  result.name_ = file;
  result.directory_ = fs::path(file).parent_path().string();
  if (fs::path(file).extension() == ".json") {
    if (const Status s = result.read_index(file); !s.ok()) return s;
    return result;
  }
  Result<Safetensors> single = Safetensors::load(file);
  if (!single.ok()) return single.status();
  const std::string base = fs::path(file).filename().string();
  for (const auto& [tensor, stored] : single->tensors()) result.shard_of_[tensor] = base;
  result.shards_.emplace(base, std::move(*single));
  return result;
}

std::string Checkpoint::config_path() const {
  return (fs::path(directory_) / "config.json").string();
}

std::vector<std::string> Checkpoint::names_with_prefix(const std::string& prefix) const {
  std::vector<std::string> names;
  for (auto it = shard_of_.lower_bound(prefix);
       it != shard_of_.end() && it->first.compare(0, prefix.size(), prefix) == 0; ++it) {
    names.push_back(it->first);
  }
  return names;
}

Result<TensorView> Checkpoint::view(const std::string& tensor) {
  const auto found = shard_of_.find(tensor);
  if (found == shard_of_.end()) return refuse(name_, "there is no tensor " + quote(tensor));
  auto shard = shards_.find(found->second);
  if (shard == shards_.end()) {
    Result<Safetensors> loaded = Safetensors::load((fs::path(directory_) / found->second).string());
    if (!loaded.ok()) return loaded.status();
    shard = shards_.emplace(found->second, std::move(*loaded)).first;
  }
  return shard->second.view(tensor);
}

}  // namespace heed::tools
