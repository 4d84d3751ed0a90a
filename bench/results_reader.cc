// Reads what results_to_json wrote, from files that anyone may have written.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "bench/results_json.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::bench {
namespace {

using nlohmann::json;

constexpr size_t kLargestFile = size_t{32} << 20;  // some 40000 repetitions
constexpr size_t kMostElements = 100000;
constexpr double kLargestNumber = 1e24;  // far above any count of a run, far below overflow
constexpr double kLargestSize = 1e15;    // of what becomes a size_t; exact in double
constexpr double kShortest = 1e-12, kLongest = 1e9;  // seconds: rates stay finite
constexpr size_t kLongestText = 1000;

std::string ShownPath(const std::string& path) {
  constexpr size_t kMost = 100;  // leaves room for the problem in a Status
  return path.size() <= kMost ? path : "..." + path.substr(path.size() - kMost);
}

// Control characters, also the two-byte ones of Latin-1, could rewrite a terminal. `text` is UTF-8.
std::string Printable(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) text[i] = '?';
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      text.replace(i, 2, "?");
    }
  }
  return text;
}

// Takes members out of one object; the first that is wrong stays in the shared status.
class Members {
 public:
  Members(const json& object, std::string where, std::string path, Status* status)
      : object_(object), where_(std::move(where)), path_(std::move(path)), status_(status) {
    if (!object_.is_object()) Refuse(where_ + " must be an object");
  }

  std::string text(const char* key) {
    const json* value = Find(key, "a string");
    if (value == nullptr) return "";
    if (!value->is_string()) return Wrong(key, "a string"), "";
    const auto& text = value->get_ref<const std::string&>();
    if (text.size() > kLongestText) return Wrong(key, "a string of at most 1000 bytes"), "";
    return Printable(text);
  }

  double number(const char* key) {
    const json* value = Find(key, "a number");
    if (value == nullptr) return 0;
    const double number = value->is_number() ? value->get<double>() : -1;
    if (number >= 0 && number <= kLargestNumber) return number;
    Wrong(key, "a number from 0 to 1e24");
    return 0;
  }

  size_t size(const char* key, size_t lowest) {
    const double value = number(key);
    if (!status_->ok()) return lowest;
    if (value >= static_cast<double>(lowest) && value <= kLargestSize &&
        value == std::floor(value)) {
      return static_cast<size_t>(value);
    }
    Wrong(key, lowest == 0 ? "a whole number from 0 to 1e15" : "a whole number from 1 to 1e15");
    return lowest;
  }

  bool has(const char* key) const { return object_.is_object() && object_.contains(key); }

  bool flag(const char* key) {
    if (!has(key)) return false;
    const json& value = object_.at(key);
    if (!value.is_boolean()) Wrong(key, "true or false");
    return value.is_boolean() && value.get<bool>();
  }

  // Calls `read` with the Members of each element of an array of objects.
  template <class Read>
  void each(const char* key, const Read& read) {
    const json* array = Find(key, "an array");
    if (array == nullptr) return;
    if (!array->is_array()) return Wrong(key, "an array");
    if (array->size() > kMostElements) return Wrong(key, "an array of at most 100000 elements");
    for (size_t i = 0; i < array->size() && status_->ok(); ++i) {
      Members element((*array)[i], Name(key) + "[" + std::to_string(i) + "]", path_, status_);
      if (status_->ok()) read(element);
    }
  }

  Members object(const char* key) {
    static const json kEmpty = json::object();
    const json* value = Find(key, "an object");
    return Members(value == nullptr ? kEmpty : *value, Name(key), path_, status_);
  }

  void Wrong(const char* key, const char* wanted) { Refuse(Name(key) + " must be " + wanted); }

 private:
  std::string Name(const char* key) const { return where_.empty() ? key : where_ + "." + key; }

  const json* Find(const char* key, const char* wanted) {
    if (!status_->ok()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    Refuse(Name(key) + " is missing, and must be " + wanted);
    return nullptr;
  }

  void Refuse(const std::string& problem) {
    if (status_->ok()) *status_ = tools::refuse(path_, problem);
  }

  const json& object_;
  std::string where_, path_;
  Status* status_;
};

void ReadHeed(Members from, Results* results) {
  results->heed = from.text("version");
  results->compiler = from.text("compiler");
  results->cpu = from.text("cpu");
  results->target = from.text("target");
  results->family = from.text("family");
  from.each("rivals", [&](Members& rival) {
    results->rivals.emplace_back(rival.text("name"), rival.text("version"));
  });
  from.each("limits", [&](Members& of) {
    Limits limits;
    limits.threads = of.size("threads", 1);
    limits.flops = of.number("flops");
    of.each("bandwidth", [&](Members& level) {
      limits.bandwidth.push_back(
          {level.text("level"), level.size("bytes", 0), level.number("bytes_per_second")});
    });
    if (limits_of(*results, limits.threads) != nullptr) {
      of.Wrong("threads", "unlike that of the other limits");
    }
    results->limits.push_back(std::move(limits));
  });
}

void ReadContext(Members from, Results* results) {
  results->date = from.text("date");
  results->num_cpus = from.size("num_cpus", 1);
  from.each("caches", [&](Members& cache) {
    results->caches.emplace_back(cache.text("name"), cache.size("size", 0));
  });
  ReadHeed(from.object("heed"), results);
}

class Collector {
 public:
  explicit Collector(Results* results) : results_(results) {}

  void add(Members& from) {
    if (from.has("run_type") && from.text("run_type") != "iteration") return;  // Google's means
    Entry entry;
    entry.operation = from.text("operation");
    entry.shape = from.text("shape");
    entry.library = from.text("library");
    entry.threads = from.size("threads", 1);
    entry.flops = from.number("flops");
    entry.bytes = from.number("bytes");
    entry.workspace_bytes = from.number("workspace_bytes");
    entry.vs_causal = from.number("vs_causal");
    const bool failed = from.flag("error_occurred");
    if (failed) entry.error = from.text("error_message");
    if (failed && entry.error.empty()) entry.error = "failed";
    const double seconds = from.number("seconds");
    const bool timed = seconds >= kShortest && seconds <= kLongest;
    if (!timed && !(failed && seconds == 0)) from.Wrong("seconds", "from 1e-12 to 1e9");
    const Key key{entry.operation, entry.shape, entry.library, entry.threads};
    const auto [place, is_new] = index_.emplace(key, results_->entries.size());
    if (is_new) {
      results_->entries.push_back(std::move(entry));
      repetitions_.push_back(0);
    }
    if (from.size("repetition_index", 0) != repetitions_[place->second]++) {
      from.Wrong("repetition_index", "the number of those before it: each comes once");
    }
    if (!timed) return;
    results_->entries[place->second].seconds.push_back(seconds);
    if (from.has("limit_per_second")) {
      const double limit = from.number("limit_per_second");
      if (limit < 1) from.Wrong("limit_per_second", "a number from 1 to 1e24");
      results_->entries[place->second].limits.push_back(limit);
    }
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string, size_t>;
  Results* results_;
  std::map<Key, size_t> index_;      // of entries
  std::vector<size_t> repetitions_;  // read so far, by entry
};

}  // namespace

Result<Results> read_results(const std::string& path) {
  const std::string shown = ShownPath(Printable(path));
  const Result<std::string> text = tools::read_text(path, kLargestFile);
  if (!text.ok()) return text.status();
  const Result<json> document = tools::parse_json(*text, shown);
  if (!document.ok()) return document.status();
  Status status;
  Results results;
  Members members(*document, "", shown, &status);
  if (!document->is_object()) return tools::refuse(shown, "it must hold a JSON object");
  ReadContext(members.object("context"), &results);
  Collector collector(&results);
  members.each("benchmarks", [&](Members& repetition) { collector.add(repetition); });
  if (!status.ok()) return status;
  return results;
}

}  // namespace heed::bench
