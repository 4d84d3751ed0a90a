// Pictures of attention weights: a row per query, a column per key.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace heed::tools {

// A self-contained SVG. `weights` is row-major [q_len, kv_len]; the labels are UTF-8, one for each
// row and column (missing ones are blank), with space, newline and tab made visible. Each cell has
// its numbers as a tooltip. The colour follows the square root of the weight, so that small ones
// can be told apart.
std::string attention_map_svg(const float* weights, size_t q_len, size_t kv_len,
                              const std::vector<std::string>& q_labels,
                              const std::vector<std::string>& k_labels, const std::string& title);

// The same for a terminal, two columns a cell: shades of the 256-colour palette, or block
// characters without escape sequences when `colour` is false. The marks have the same scale.
std::string attention_map_text(const float* weights, size_t q_len, size_t kv_len,
                               const std::vector<std::string>& q_labels,
                               const std::vector<std::string>& k_labels, const std::string& title,
                               bool colour);

// A label as its visible characters (UTF-8 each), at most `max_length` of them with the last one an
// ellipsis when cut: whitespace as a sign, what is no text as U+FFFD. Shared by both pictures.
std::vector<std::string> visible_characters(const std::string& label, size_t max_length);

}  // namespace heed::tools
