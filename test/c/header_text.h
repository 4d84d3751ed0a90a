// Reads the headers' text: just enough of C and C++ for what is written there.
#pragma once

#include <regex>
#include <string>
#include <utility>
#include <vector>

namespace heed::test {

using Match = std::vector<std::string>;  // the whole, then its groups

inline std::vector<Match> Matches(const std::string& text, const std::regex& what) {
  std::vector<Match> matches;
  for (std::sregex_iterator it(text.begin(), text.end(), what), end; it != end; ++it) {
    matches.emplace_back();
    for (const auto& group : *it) matches.back().push_back(group.str());
  }
  return matches;
}

// Without comments.
inline std::string Code(const std::string& text) {
  return std::regex_replace(text, std::regex("//[^\n]*"), "");
}

// What ends in `head`, whose group is a name, and goes on to the brace that closes it.
inline std::vector<std::pair<std::string, std::string>> Bodies(const std::string& text,
                                                               const std::regex& head) {
  std::vector<std::pair<std::string, std::string>> bodies;
  for (std::sregex_iterator it(text.begin(), text.end(), head), end; it != end; ++it) {
    const auto begin = static_cast<size_t>(it->position() + it->length());
    size_t at = begin;
    for (int depth = 1; at < text.size(); ++at) {
      depth += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
      if (depth == 0) break;
    }
    bodies.emplace_back((*it)[1].str(), text.substr(begin, at - begin));
  }
  return bodies;
}

// The names that a struct's body declares, without functions in it.
inline std::vector<std::string> FieldsOf(std::string body) {
  body = std::regex_replace(body, std::regex("\\{[^{}]*\\}"), "");
  std::vector<std::string> fields;
  for (const Match& declaration : Matches(body, std::regex("([^;]+);"))) {
    const std::string& text = declaration[1];
    std::smatch pointer;
    if (std::regex_search(text, pointer, std::regex("\\(\\*(\\w+)\\)"))) {  // to a function
      fields.push_back(pointer[1].str());
      continue;
    }
    if (text.find_first_not_of(" \n") == std::string::npos) continue;
    for (const Match& name :
         Matches(text, std::regex("(\\w+)(?:\\[\\w+\\])?(?: =\\s*[-\\w:.]*)?\\s*(?:,|$)"))) {
      fields.push_back(name[1]);
    }
  }
  return fields;
}

}  // namespace heed::test
