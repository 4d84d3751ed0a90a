// Drawings of reports: SVG that takes its colours from the page it stands in. A unit is a pixel of a
// phone; wider pages scale it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace heed::bench {

constexpr double kDrawingWidth = 360;

struct Place {
  double x = 0, y = 0;
};

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;

  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

// Colours and marks that are told apart by each other, for libraries or files of results: in any
// print and by any eye.
constexpr size_t kStyles = 8;
constexpr size_t kPlainStyle = 1;  // grey

enum class Anchor { kStart, kMiddle, kEnd };

// Class names of texts; the page has their fonts and colours.
inline constexpr const char* kLabel = "label";  // 11 high, as all below
inline constexpr const char* kSmall = "small";  // 10, of axes
inline constexpr double kLabelHeight = 12;

double text_width(const std::string& utf8, double font = 11);  // about

// With an ellipsis where it is too wide.
std::string fitted(const std::string& utf8, double width, double font = 11);

class Drawing {
 public:
  explicit Drawing(double height) : height_(height) {}

  void line(Place from, Place to, const std::string& classes);
  void path(const std::vector<Place>& places, const std::string& classes);
  void rect(const Box& box, const std::string& classes, const std::string& tooltip = "");
  void text(Place at, const std::string& text, const std::string& classes,
            Anchor anchor = Anchor::kStart, double degrees = 0);
  void mark(Place at, size_t style, double size, const std::string& tooltip);

  // The whole, with a name and a description for who cannot see it.
  std::string svg(const std::string& title, const std::string& description) const;

 private:
  double height_;
  std::string body_;
};

// A small drawing of a mark, to stand in text.
std::string mark_svg(size_t style);

// Class of a style's colour: "s3".
std::string style_class(size_t style);

// Moves the centres of labels as little as needed for `gap` between any two, within the range.
std::vector<double> spread(const std::vector<double>& wanted, double gap, double from, double to);

}  // namespace heed::bench
