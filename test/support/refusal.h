// For tests that a call is refused.
#pragma once

#include <cctype>
#include <cstring>
#include <string>

#include "heed/status.hpp"

namespace heed::test {

// Whether `name` stands in `text` as a word of its own.
inline bool Names(const char* text, const char* name) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  for (const char* at = std::strstr(text, name); at != nullptr; at = std::strstr(at + 1, name)) {
    if ((at == text || !is_word(at[-1])) && !is_word(at[std::strlen(name)])) return true;
  }
  return false;
}

// Empty when `status` has the code and its message names the argument, else what it was instead.
inline std::string WrongRefusal(const Status& status, StatusCode code, const char* argument) {
  if (status.code() == code && Names(status.message(), argument)) return "";
  return "code " + std::to_string(static_cast<int>(status.code())) + " instead of " +
         std::to_string(static_cast<int>(code)) + ", or no word '" + argument + "' in: '" +
         status.message() + "'";
}

}  // namespace heed::test
