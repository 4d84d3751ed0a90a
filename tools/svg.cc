#include "tools/svg.h"

#include <cstdio>

namespace heed::tools {

std::string xml_escape(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string svg_number(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::string svg_begin(double width, double height, const std::string& rules) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + svg_number(width) + "\" height=\"" +
         svg_number(height) + "\" viewBox=\"0 0 " + svg_number(width) + " " + svg_number(height) +
         "\" style=\"max-width: 100%; height: auto\">\n<style>\n"
         "text { font-family: sans-serif; fill: #222 }\n"
         ".title { font-size: 16px; font-weight: bold }\n"
         ".tick { font-size: 11px; fill: #555 }\n" +
         rules + "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
}

std::string svg_text(double x, double y, const std::string& text, const std::string& attributes) {
  return "<text x=\"" + svg_number(x) + "\" y=\"" + svg_number(y) + "\" " + attributes + ">" +
         text + "</text>\n";
}

}  // namespace heed::tools
