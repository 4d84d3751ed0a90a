#include "tools/attention_map_scale.h"

#include <algorithm>
#include <cmath>

#include "tools/attention_map.h"
#include "tools/utf8.h"

namespace heed::tools {
namespace {

std::string visible(const std::string& character) {
  if (character == " ") return "\u2423";
  if (character == "\n") return "\u21b5";
  if (character == "\t") return "\u21e5";
  const auto first = static_cast<unsigned char>(character[0]);
  const bool control = character.size() == 1 && (first < 0x20 || first >= 0x7f);
  const bool c1_control = first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
  const bool not_xml = character == "\uffff" || character == "\ufffe";
  return control || c1_control || not_xml ? "\ufffd" : character;
}

}  // namespace

MapScale::MapScale(const float* weights, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (std::isfinite(weights[i])) max_ = std::max(max_, weights[i]);
  }
}

double MapScale::place(float weight) const {
  if (!std::isfinite(weight)) return std::nan("");
  if (weight <= 0 || max_ == 0) return 0;
  return std::sqrt(static_cast<double>(weight) / static_cast<double>(max_));
}

Colour colour_at(double place) {
  if (std::isnan(place)) return {255, 0, 255};
  constexpr Colour kStops[] = {
      {255, 255, 255}, {198, 219, 239}, {107, 174, 214}, {33, 113, 181}, {8, 48, 107}};
  const double position = std::clamp(place, 0.0, 1.0) * 4;
  const auto low = std::min<size_t>(3, static_cast<size_t>(position));
  const double part = position - static_cast<double>(low);
  const auto mix = [part](int a, int b) {
    return static_cast<int>(std::lround(a + part * (b - a)));
  };
  const Colour& a = kStops[low];
  const Colour& b = kStops[low + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

std::vector<std::string> visible_characters(const std::string& label, size_t max_length) {
  std::vector<std::string> characters = split_characters(label);
  for (std::string& character : characters) character = visible(character);
  if (characters.size() > max_length) {
    characters.resize(max_length);
    if (max_length > 0) characters.back() = "\u2026";
  }
  return characters;
}

}  // namespace heed::tools
