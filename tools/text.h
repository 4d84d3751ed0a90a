// Small helpers for text that came from outside: names in files, JSON, messages.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "heed/status.hpp"

namespace heed::tools {

// A name from a file, fit for a message: in quotes, control characters as '?', cut when long.
std::string quote(std::string_view name);

// "where: problem", the usual refusal of a tool.
Status refuse(const std::string& where, const std::string& problem);

// "[2, 3]"
template <class Sizes>
std::string shape_text(const Sizes& sizes) {
  std::string text = "[";
  for (const auto size : sizes) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    if (text.size() > 60) return text + ", ...]";
  }
  return text + "]";
}

// JSON with what makes files ambiguous or hostile refused: a key twice in an object, more than 32
// levels, anything after the value. `what` names the source in the Status.
Result<nlohmann::json> parse_json(std::string_view text, const std::string& what);

}  // namespace heed::tools
