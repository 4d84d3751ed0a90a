#include "tools/text.h"

#include <set>
#include <utility>
#include <vector>

#include "tools/file_format.h"

namespace heed::tools {
namespace {

constexpr int kMaxDepth = 32;  // real headers have 3 levels, real configurations up to 4

// Builds the document while watching what a finished one no longer shows: keys given twice.
class Watcher {
 public:
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (too_deep_ || duplicate_) return false;
    if (event == Event::object_start || event == Event::array_start) {
      too_deep_ = depth >= kMaxDepth;
      keys_.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        duplicate_ = true;
        duplicate_key_ = key;
      }
    }
    return !too_deep_ && !duplicate_;
  }

  Status status(const std::string& what) const {
    if (too_deep_) {
      return Status::Error(StatusCode::kInvalidArgument, "%s: JSON is nested deeper than %d levels",
                           what.c_str(), kMaxDepth);
    }
    if (duplicate_) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "%s: JSON has the key %s twice in one object", what.c_str(),
                           quote(duplicate_key_).c_str());
    }
    return Status();
  }

 private:
  std::vector<std::set<std::string>> keys_;  // of the open objects and arrays
  bool too_deep_ = false;
  bool duplicate_ = false;
  std::string duplicate_key_;
};

}  // namespace

std::string quote(std::string_view name) {
  constexpr size_t kLongest = 64;
  std::string text = "'";
  for (const char c : name.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    text += (byte < 0x20 || byte == 0x7f) ? '?' : c;
  }
  return text + (name.size() > kLongest ? "...'" : "'");
}

Status refuse(const std::string& where, const std::string& problem) {
  return Status::Error(StatusCode::kInvalidArgument, "%s: %s", where.c_str(), problem.c_str());
}

Result<nlohmann::json> parse_json(std::string_view text, const std::string& what) {
  Watcher watcher;
  const auto watch = [&watcher](int depth, nlohmann::json::parse_event_t event,
                                nlohmann::json& parsed) { return watcher(depth, event, parsed); };
  nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), watch, false);
  if (const Status s = watcher.status(what); !s.ok()) return s;
  if (value.is_discarded()) {
    const std::string other = other_format(text);
    return refuse(
        what, other.empty() ? "this is not valid JSON" : "this is " + other + "; it must be JSON");
  }
  return value;
}

}  // namespace heed::tools
