#include "tools/attention_map.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tools/attention_map_scale.h"
#include "tools/svg.h"
#include "tools/utf8.h"

namespace heed::tools {
namespace {

constexpr size_t kLabelLength = 16;  // characters shown of a label
constexpr double kMargin = 16;

std::string join(const std::vector<std::string>& characters) {
  std::string text;
  for (const std::string& character : characters) text += character;
  return text;
}

struct Labels {
  std::vector<std::string> texts;  // visible and escaped
  size_t longest = 0;              // in characters

  Labels(const std::vector<std::string>& labels, size_t count) : texts(count) {
    for (size_t i = 0; i < std::min(count, labels.size()); ++i) {
      const std::vector<std::string> characters = visible_characters(labels[i], kLabelLength);
      texts[i] = xml_escape(join(characters));
      longest = std::max(longest, characters.size());
    }
  }
};

std::string hex(const Colour& colour) {
  char text[8];
  std::snprintf(text, sizeof(text), "#%02x%02x%02x", static_cast<unsigned>(colour.red) & 0xff,
                static_cast<unsigned>(colour.green) & 0xff,
                static_cast<unsigned>(colour.blue) & 0xff);
  return text;
}

struct Layout {
  double cell, font, left, top, grid_width, grid_height, width, height;

  Layout(size_t q_len, size_t kv_len, const Labels& rows, const Labels& columns, size_t title) {
    const auto most = static_cast<double>(std::max<size_t>({q_len, kv_len, 1}));
    cell = std::clamp(std::floor(760 / most), 8.0, 28.0);
    font = std::min(13.0, cell);
    const double character = 0.62 * font;  // width of a monospaced one
    left = kMargin + 22 + character * static_cast<double>(rows.longest) + 8;
    top = kMargin + 20 + 26 +
          (columns.longest > 1 ? character * static_cast<double>(columns.longest) : font) + 6;
    grid_width = cell * static_cast<double>(kv_len);
    grid_height = cell * static_cast<double>(q_len);
    const double title_width = 2 * kMargin + 9.6 * static_cast<double>(title);
    width = std::max({left + grid_width + kMargin, left + 300.0, title_width});
    height = top + grid_height + 72;
  }
};

std::string axes(const Layout& at, const Labels& rows, const Labels& columns) {
  std::string svg;
  const std::string label = "class=\"label\" font-size=\"" + svg_number(at.font) + "\"";
  for (size_t i = 0; i < rows.texts.size(); ++i) {
    const double y = at.top + at.cell * (static_cast<double>(i) + 0.5) + 0.35 * at.font;
    svg += svg_text(at.left - 6, y, rows.texts[i], label + " text-anchor=\"end\"");
  }
  for (size_t j = 0; j < columns.texts.size(); ++j) {
    const double x = at.left + at.cell * (static_cast<double>(j) + 0.5);
    const double y = at.top - 6;
    if (columns.longest <= 1) {
      svg += svg_text(x, y, columns.texts[j], label + " text-anchor=\"middle\"");
      continue;
    }
    const double base = x + 0.35 * at.font;
    svg += svg_text(
        base, y, columns.texts[j],
        label + " transform=\"rotate(-90 " + svg_number(base) + " " + svg_number(y) + ")\"");
  }
  const double x = kMargin + 10;
  const double y = at.top + std::min(at.grid_height / 2, 60.0);
  svg += svg_text(at.left, kMargin + 20 + 18, "key \u2192", "class=\"axis\"");
  svg += svg_text(x, y, "\u2190 query",
                  "class=\"axis\" text-anchor=\"middle\" transform=\"rotate(-90 " + svg_number(x) +
                      " " + svg_number(y) + ")\"");
  return svg;
}

std::string cells(const float* weights, const Layout& at, const MapScale& scale, const Labels& rows,
                  const Labels& columns) {
  std::string svg = "<rect class=\"none\" x=\"" + svg_number(at.left) + "\" y=\"" +
                    svg_number(at.top) + "\" width=\"" + svg_number(at.grid_width) +
                    "\" height=\"" + svg_number(at.grid_height) + "\"/>\n";
  const std::string size =
      "\" width=\"" + svg_number(at.cell) + "\" height=\"" + svg_number(at.cell);
  const size_t kv_len = columns.texts.size();
  for (size_t i = 0; i < rows.texts.size(); ++i) {
    for (size_t j = 0; j < kv_len; ++j) {
      const float weight = weights[i * kv_len + j];
      if (weight == 0) continue;  // the background says so
      svg += "<rect x=\"" + svg_number(at.left + at.cell * static_cast<double>(j)) + "\" y=\"" +
             svg_number(at.top + at.cell * static_cast<double>(i)) + size + "\" fill=\"" +
             hex(colour_at(scale.place(weight))) + "\"><title>query " + std::to_string(i) + " " +
             rows.texts[i] + ", key " + std::to_string(j) + " " + columns.texts[j] + ": " +
             svg_number(static_cast<double>(weight), "%.4g") + "</title></rect>\n";
    }
  }
  return svg + "<rect class=\"frame\" x=\"" + svg_number(at.left) + "\" y=\"" + svg_number(at.top) +
         "\" width=\"" + svg_number(at.grid_width) + "\" height=\"" + svg_number(at.grid_height) +
         "\"/>\n";
}

std::string legend(const Layout& at, const MapScale& scale) {
  constexpr double kWidth = 200;
  constexpr int kSteps = 40;
  const double y = at.top + at.grid_height + 20;
  std::string svg;
  for (int i = 0; i < kSteps; ++i) {
    svg += "<rect x=\"" + svg_number(at.left + kWidth * i / kSteps) + "\" y=\"" + svg_number(y) +
           "\" width=\"" + svg_number(kWidth / kSteps + 0.5) + "\" height=\"12\" fill=\"" +
           hex(colour_at((i + 0.5) / kSteps)) + "\"/>\n";
  }
  svg += "<rect class=\"frame\" x=\"" + svg_number(at.left) + "\" y=\"" + svg_number(y) +
         "\" width=\"" + svg_number(kWidth) + "\" height=\"12\"/>\n";
  for (const double share : kLegendShares) {
    svg += svg_text(at.left + kWidth * std::sqrt(share), y + 25,
                    svg_number(share * static_cast<double>(scale.max()), "%.2g"),
                    "class=\"tick\" text-anchor=\"middle\"");
  }
  svg += "<rect class=\"none\" x=\"" + svg_number(at.left + kWidth + 24) + "\" y=\"" +
         svg_number(y) + "\" width=\"12\" height=\"12\"/>\n";
  svg += svg_text(at.left + kWidth + 41, y + 10, "no weight", "class=\"tick\"");
  return svg + svg_text(at.left, y + 42, "attention weight", "class=\"tick\"");
}

}  // namespace

std::string attention_map_svg(const float* weights, size_t q_len, size_t kv_len,
                              const std::vector<std::string>& q_labels,
                              const std::vector<std::string>& k_labels, const std::string& title) {
  constexpr size_t kTitleLength = 100;
  const Labels rows(q_labels, q_len);
  const Labels columns(k_labels, kv_len);
  std::vector<std::string> shown;  // spaces of a title are no tokens
  for (const std::string& c : split_characters(title)) {
    if (shown.size() < kTitleLength) shown.push_back(c == " " ? c : join(visible_characters(c, 1)));
  }
  const Layout at(q_len, kv_len, rows, columns, shown.size());
  const MapScale scale(weights, q_len * kv_len);
  std::string svg =
      svg_begin(at.width, at.height,
                ".label { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace }\n"
                ".axis { font-size: 13px; fill: #555 }\n"
                ".none { fill: #e9e9e6 }\n"
                ".frame { fill: none; stroke: #999 }\n");
  svg += svg_text(kMargin, kMargin + 12, xml_escape(join(shown)), "class=\"title\"");
  svg += axes(at, rows, columns);
  svg += cells(weights, at, scale, rows, columns);
  svg += legend(at, scale);
  return svg + "</svg>\n";
}

}  // namespace heed::tools
