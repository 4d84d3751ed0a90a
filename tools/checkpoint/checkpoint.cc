#include "tools/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "tools/file.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// The file to read of a directory.
Result<std::string> resolve(const fs::path& directory) {
  for (const char* name : {kIndex, kSingle}) {
    if (is_there(directory / name)) return (directory / name).string();
  }
  std::string problem = std::string("there is neither ") + kSingle + " nor " + kIndex;
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (is_there(directory / name)) {
      problem += std::string(", only ") + name + ", a checkpoint of pickles";
    }
  }
  return refuse(directory.string(), problem);
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

// Of a directory: an index and a single file are of one model only when the file is a shard.
Status Checkpoint::check_one_model(const std::string& directory) const {
  const fs::path single = fs::path(directory) / kSingle;
  const auto is_single = [](const auto& entry) { return entry.second == kSingle; };
  if (!is_there(single) || std::any_of(shard_of_.begin(), shard_of_.end(), is_single)) {
    return Status();
  }
  return refuse(directory, std::string("there are both ") + kSingle + " and " + kIndex +
                               ", which names other files: the one that is meant must be named");
}

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  Checkpoint result;
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  const Result<std::string> resolved = directory ? resolve(path) : Result<std::string>(path);
  if (!resolved.ok()) return resolved.status();
  const std::string& file = *resolved;
  result.name_ = file;
  result.directory_ = fs::path(file).parent_path().string();
  if (fs::path(file).extension() == ".json") {
    if (const Status s = result.read_index(file); !s.ok()) return s;
    if (directory) {
      if (const Status s = result.check_one_model(path); !s.ok()) return s;
    }
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

std::vector<std::string> Checkpoint::files() const {
  std::set<std::string> files = {name_};
  for (const auto& [tensor, file] : shard_of_) {
    files.insert((fs::path(directory_) / file).string());
  }
  return {files.begin(), files.end()};
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
