#include "tools/checkpoint/config_reader.h"

#include <cmath>

#include "tools/text.h"

namespace heed::tools {

using nlohmann::json;

void ConfigReader::refuse(const std::string& problem) {
  if (status_.ok()) status_ = tools::refuse(name_, problem);
}

const json* ConfigReader::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void ConfigReader::wrong(const char* key, const json& value, const char* wanted) {
  refuse(std::string(key) + " is " + value_text(value) + ", and must be " + wanted);
}

std::optional<size_t> ConfigReader::size(const char* key, size_t lowest) {
  constexpr uint64_t kLargest = uint64_t{1} << 24;  // far above any model; products stay in range
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (number >= lowest && number <= kLargest) return static_cast<size_t>(number);
  }
  wrong(key, *value,
        lowest == 0 ? "a whole number from 0 to 16777216" : "a whole number from 1 to 16777216");
  return std::nullopt;
}

std::optional<double> ConfigReader::number(const char* key) {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (std::isfinite(number) && number > 0) return number;
  }
  wrong(key, *value, "a number > 0");
  return std::nullopt;
}

std::optional<std::string> ConfigReader::text(const char* key) {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  wrong(key, *value, "a string");
  return std::nullopt;
}

bool ConfigReader::flag(const char* key, bool otherwise) {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  wrong(key, *value, "true or false");
  return otherwise;
}

size_t ConfigReader::required_size(const char* key) {
  const std::optional<size_t> value = size(key);
  if (!value.has_value()) refuse(std::string(key) + " is missing");  // unless it was wrong
  return value.value_or(1);
}

std::string value_text(const json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace heed::tools
