// The few words of SVG that heed's pictures are written in.
#pragma once

#include <string>

namespace heed::tools {

// Text for use between tags and in attributes.
std::string xml_escape(const std::string& text);

std::string svg_number(double value, const char* format = "%.6g");

// The beginning of a picture of this size in pixels, smaller where there is less room: CSS rules for
// it, and a white page.
std::string svg_begin(double width, double height, const std::string& rules);

// `text` is already escaped.
std::string svg_text(double x, double y, const std::string& text, const std::string& attributes);

}  // namespace heed::tools
