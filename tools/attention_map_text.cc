#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "tools/attention_map.h"
#include "tools/attention_map_scale.h"

namespace heed::tools {
namespace {

constexpr size_t kRowLabelLength = 12;
constexpr size_t kColumnLabelLength = 8;
constexpr size_t kCellColumns = 2;

using Characters = std::vector<std::string>;

std::vector<Characters> label_characters(const std::vector<std::string>& labels, size_t count,
                                         size_t max_length, size_t* longest) {
  std::vector<Characters> result(count);
  for (size_t i = 0; i < std::min(count, labels.size()); ++i) {
    result[i] = visible_characters(labels[i], max_length);
    *longest = std::max(*longest, result[i].size());
  }
  return result;
}

// Of the 256-colour palette, from nearly black over blue and green to yellow: most terminals are
// dark, so what is bright stands out.
int palette_index(double place) {
  constexpr int kRamp[] = {234, 17, 18, 19, 26, 32, 38, 43, 48, 83, 154, 226};
  constexpr int kMagenta = 201;  // NaN, as in the SVG
  if (std::isnan(place)) return kMagenta;
  return kRamp[std::min<size_t>(std::size(kRamp) - 1,
                                static_cast<size_t>(place * std::size(kRamp)))];
}

std::string cell(double place, bool drawn, bool colour) {
  if (!drawn) return std::string(kCellColumns, ' ');
  if (colour) {
    char text[32];
    std::snprintf(text, sizeof(text), "\x1b[48;5;%dm%*s\x1b[0m", palette_index(place),
                  int{kCellColumns}, "");
    return text;
  }
  if (std::isnan(place)) return "??";
  constexpr const char* kShades[] = {"\u00b7\u00b7", "\u2591\u2591", "\u2592\u2592", "\u2593\u2593",
                                     "\u2588\u2588"};
  return kShades[std::min<size_t>(4, static_cast<size_t>(place * 5))];
}

std::string legend(const MapScale& scale, bool colour) {
  std::string text = "weight:";
  for (const double share : kLegendShares) {
    char value[32];
    std::snprintf(value, sizeof(value), "%.2g", share * static_cast<double>(scale.max()));
    text.append(" ").append(cell(std::sqrt(share), true, colour)).append(" ").append(value);
  }
  return text + ", blank: none\n";
}

}  // namespace

std::string attention_map_text(const float* weights, size_t q_len, size_t kv_len,
                               const std::vector<std::string>& q_labels,
                               const std::vector<std::string>& k_labels, const std::string& title,
                               bool colour) {
  size_t row_width = 0;
  size_t column_height = 0;
  const auto rows = label_characters(q_labels, q_len, kRowLabelLength, &row_width);
  const auto columns = label_characters(k_labels, kv_len, kColumnLabelLength, &column_height);
  const MapScale scale(weights, q_len * kv_len);
  std::string text = title + "\n";
  for (size_t line = 0; line < column_height; ++line) {  // key labels, from top to bottom
    std::string labels(row_width + 1, ' ');
    for (const Characters& column : columns) {
      const size_t blank = column_height - column.size();
      labels += (line < blank ? " " : column[line - blank]) + " ";
    }
    text += labels + "\n";
  }
  for (size_t i = 0; i < q_len; ++i) {
    text += std::string(row_width - rows[i].size(), ' ');
    for (const std::string& character : rows[i]) text += character;
    text += " ";
    for (size_t j = 0; j < kv_len; ++j) {
      const float weight = weights[i * kv_len + j];
      text += cell(scale.place(weight), weight != 0, colour);
    }
    text += "\n";
  }
  return text + legend(scale, colour);
}

}  // namespace heed::tools
