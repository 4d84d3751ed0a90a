// UTF-8 text that came from outside.
#pragma once

#include <string>
#include <vector>

namespace heed::tools {

// The characters of a text; an invalid byte is a character of its own.
std::vector<std::string> split_characters(const std::string& text);

}  // namespace heed::tools
