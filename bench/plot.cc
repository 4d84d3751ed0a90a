#include "bench/plot.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/svg.h"
#include "tools/utf8.h"

namespace heed::bench {
namespace {

using tools::xml_escape;

std::string At(double value) { return tools::svg_number(value, "%.1f"); }

std::string Attribute(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + value + "\"";
}

std::string Attribute(const char* name, double value) { return Attribute(name, At(value)); }

std::string PathOf(const std::vector<Place>& places) {
  std::string d;
  for (const Place& place : places) {
    d += (d.empty() ? "M" : "L") + At(place.x) + " " + At(place.y);
  }
  return d;
}

// The outline of a style's mark around a place: heed's disc is the only filled one.
std::string Outline(Place at, size_t style, double size) {
  const auto shape = [&](const std::vector<Place>& corners) {
    std::vector<Place> places;
    for (const Place& corner : corners) {
      places.push_back({at.x + size * corner.x, at.y + size * corner.y});
    }
    return "<path" + Attribute("d", PathOf(places) + "Z") + ">";
  };
  switch (style % kStyles) {
    case 1:
      return shape({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}});
    case 2:
      return shape({{0, -1.2}, {1.1, 0.8}, {-1.1, 0.8}});
    case 3:
      return shape({{0, -1.3}, {1.1, 0}, {0, 1.3}, {-1.1, 0}});
    case 4:
      return shape({{0, 1.2}, {1.1, -0.8}, {-1.1, -0.8}});
    case 5:
      return shape({{-1, -1}, {0, 0}, {1, -1}, {0, 0}, {1, 1}, {0, 0}, {-1, 1}, {0, 0}});
    case 6:
      return shape({{0, -1.2}, {0, 0}, {1.2, 0}, {0, 0}, {0, 1.2}, {0, 0}, {-1.2, 0}, {0, 0}});
    case 7:
      return shape({{-1.1, -0.6}, {1.1, -0.6}, {1.1, 0.6}, {-1.1, 0.6}});
    default:
      return "<circle" + Attribute("cx", at.x) + Attribute("cy", at.y) + Attribute("r", size) + ">";
  }
}

std::string Mark(Place at, size_t style, double size, const std::string& tooltip) {
  const std::string outline = Outline(at, style, size);
  const std::string element = outline.substr(1, outline.find(' ') - 1);
  std::string text = outline;
  text.insert(text.size() - 1,
              Attribute("class", "mark " + style_class(style) + (style == 0 ? " filled" : "")));
  if (!tooltip.empty()) text += "<title>" + xml_escape(tooltip) + "</title>";
  return text + "</" + element + ">\n";
}

}  // namespace

double text_width(const std::string& utf8, double font) {
  double ems = 0;
  for (const char c : utf8) {
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;  // inside a character
    const bool narrow = std::string(" ,.:;'|!ijlft/()[]").find(c) != std::string::npos;
    const bool wide = (c >= 'A' && c <= 'Z') || c == 'm' || c == 'w' || c == '%' || (c & 0x80) != 0;
    ems += narrow ? 0.36 : wide ? 0.8 : 0.61;
  }
  return ems * font;
}

std::string fitted(const std::string& utf8, double width, double font) {
  if (text_width(utf8, font) <= width) return utf8;
  std::string text;
  for (const std::string& character : tools::split_characters(utf8)) {
    if (text_width(text + character, font) + font > width) break;
    text += character;
  }
  return text + "\u2026";
}

void Drawing::line(Place from, Place to, const std::string& classes) {
  body_ += "<line" + Attribute("class", classes) + Attribute("x1", from.x) +
           Attribute("y1", from.y) + Attribute("x2", to.x) + Attribute("y2", to.y) + "/>\n";
}

void Drawing::path(const std::vector<Place>& places, const std::string& classes) {
  body_ += "<path" + Attribute("class", classes) + Attribute("d", PathOf(places)) + "/>\n";
}

void Drawing::rect(const Box& box, const std::string& classes, const std::string& tooltip) {
  body_ += "<rect" + Attribute("class", classes) + Attribute("x", box.left) +
           Attribute("y", box.top) + Attribute("width", std::max(0.0, box.right - box.left)) +
           Attribute("height", std::max(0.0, box.bottom - box.top)) + ">";
  if (!tooltip.empty()) body_ += "<title>" + xml_escape(tooltip) + "</title>";
  body_ += "</rect>\n";
}

void Drawing::text(Place at, const std::string& text, const std::string& classes, Anchor anchor,
                   double degrees) {
  std::string attributes = "class=\"" + classes + "\"";
  if (anchor == Anchor::kMiddle) attributes += " text-anchor=\"middle\"";
  if (anchor == Anchor::kEnd) attributes += " text-anchor=\"end\"";
  if (degrees != 0) {
    attributes += " transform=\"rotate(" + At(degrees) + " " + At(at.x) + " " + At(at.y) + ")\"";
  }
  body_ += tools::svg_text(std::round(at.x * 10) / 10, std::round(at.y * 10) / 10, xml_escape(text),
                           attributes);
}

void Drawing::mark(Place at, size_t style, double size, const std::string& tooltip) {
  body_ += Mark(at, style, size, tooltip);
}

std::string Drawing::svg(const std::string& title, const std::string& description) const {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 " +
         At(kDrawingWidth) + " " + At(height_) + "\">\n<title>" + xml_escape(title) +
         "</title>\n<desc>" + xml_escape(description) + "</desc>\n" + body_ + "</svg>\n";
}

std::string mark_svg(size_t style) {
  return "<svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">" +
         Mark({6, 6}, style, 4, "") + "</svg>";
}

std::string style_class(size_t style) { return "s" + std::to_string(style % kStyles); }

std::vector<double> spread(const std::vector<double>& wanted, double gap, double from, double to) {
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  std::vector<double> placed = wanted;
  double free = from;
  for (const size_t i : order) {  // down, where the one above is too near
    placed[i] = std::max(placed[i], free);
    free = placed[i] + gap;
  }
  free = to;
  for (auto i = order.rbegin(); i != order.rend(); ++i) {  // and up again from the end
    placed[*i] = std::min(placed[*i], free);
    free = placed[*i] - gap;
  }
  return placed;
}

}  // namespace heed::bench
