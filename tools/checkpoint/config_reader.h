// Typed reading of a JSON object that keeps the first thing that was wrong with it.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "heed/status.hpp"

namespace heed::tools {

class ConfigReader {
 public:
  // `object` must be an object and outlive the reader. `name` stands for it in messages.
  ConfigReader(const nlohmann::json& object, std::string name)
      : object_(object), name_(std::move(name)) {}

  const Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }
  void refuse(const std::string& problem);  // unless something was refused before

  // Null and missing are the same: not set.
  const nlohmann::json* find(const char* key) const;
  // A whole number in [lowest, 2^24].
  std::optional<size_t> size(const char* key, size_t lowest = 1);
  std::optional<double> number(const char* key);  // finite and > 0
  std::optional<std::string> text(const char* key);
  bool flag(const char* key, bool otherwise);
  size_t required_size(const char* key);  // 1 when refused

 private:
  void wrong(const char* key, const nlohmann::json& value, const char* wanted);

  const nlohmann::json& object_;
  std::string name_;
  Status status_;
};

// A value for a message, cut when long.
std::string value_text(const nlohmann::json& value);

}  // namespace heed::tools
