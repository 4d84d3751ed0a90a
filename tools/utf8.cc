#include "tools/utf8.h"

#include <string_view>

namespace heed::tools {
namespace {

// Bytes of the UTF-8 character at the start of `text`; 0: not valid there.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Longer than needed, a surrogate, or past the last code point.
  const bool wrong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xed && byte(1) >= 0xa0) ||
                     (byte(0) == 0xf0 && byte(1) < 0x90) || (byte(0) == 0xf4 && byte(1) >= 0x90);
  return wrong ? 0 : length;
}

}  // namespace

std::vector<std::string> split_characters(const std::string& text) {
  std::vector<std::string> characters;
  for (size_t i = 0; i < text.size();) {
    const size_t length = character_bytes(std::string_view(text).substr(i));
    characters.push_back(text.substr(i, length == 0 ? 1 : length));
    i += length == 0 ? 1 : length;
  }
  return characters;
}

}  // namespace heed::tools
