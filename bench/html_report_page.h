// The frame of every HTML file: one file that needs no network and no script, for wide and narrow
// screens, light and dark, and paper.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace heed::bench {

struct Figure {
  std::string title;  // says what it shows
  std::string svg;
};

// What stands for one library or file in all figures.
struct Key {
  std::string name;
  size_t style = 0;
};

// `body` is HTML; `title` is text.
std::string html_page(const std::string& title, const std::string& body);

// A heading, a paragraph (both text), the keys, and the figures in two or three columns where
// the width allows.
// Empty without figures.
std::string html_section(const std::string& heading, const std::string& text,
                         const std::vector<Key>& keys, const std::vector<Figure>& figures,
                         size_t columns);

// <td>s or <th>s; cells are text.
std::string html_row(const std::vector<std::string>& cells, bool header = false);

}  // namespace heed::bench
