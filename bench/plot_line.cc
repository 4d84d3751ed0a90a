#include "bench/plot_line.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

namespace heed::bench {
namespace {

constexpr double kHeight = 230, kTop = 22, kBottom = kHeight - 36;

constexpr double kNameFont = 12, kWidestName = 130;  // bold, so wider than the font is high

bool Usable(const Point& point) {
  return std::isfinite(point.x) && std::isfinite(point.y) && point.x > 0 && point.y > 0;
}

struct Range {
  double low = INFINITY, high = 0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct Frame {
  double left, right;
  Scale x, y;
};

// Only as wide as the names of axis and lines need.
Frame FrameOf(const LinePlot& plot) {
  Range xs, ys;
  double names = 0;
  for (const Series& series : plot.series) {
    names = std::max(names, text_width(series.name, kNameFont));
    for (const Point& point : series.points) {
      xs.add(point.x);
      ys.add(point.y);
    }
  }
  const bool linear = plot.y_kind == Scale::Kind::kLinear;
  const Scale y(plot.y_kind, linear ? 0 : ys.low / 1.3, ys.high * (linear ? 1.08 : 1.3), kBottom,
                kTop);
  double left = 0;
  for (const double tick : y.ticks()) left = std::max(left, text_width(plot.y_text(tick), 10));
  left += 10;
  const double right = kDrawingWidth - std::min(names, kWidestName) - 14;
  return {left, right, {Scale::Kind::kLog, xs.low, xs.high, left + 6, right - 4}, y};
}

void DrawAxes(const LinePlot& plot, const Frame& frame, Drawing* drawing) {
  for (const double tick : frame.y.ticks()) {
    const double y = frame.y.at(tick);
    drawing->line({frame.left, y}, {frame.right, y}, "grid");
    drawing->text({frame.left - 5, y + 3.5}, plot.y_text(tick), kSmall, Anchor::kEnd);
  }
  std::set<double> values;
  for (const Series& series : plot.series) {
    for (const Point& point : series.points) values.insert(point.x);
  }
  double free = -INFINITY;
  for (const double value : values) {
    const double x = frame.x.at(value);
    drawing->line({x, kBottom}, {x, kBottom + 3}, "axis");
    char text[32];
    std::snprintf(text, sizeof(text), "%.12g", value);
    const double half = text_width(text, 10) / 2;
    if (x - half < free) continue;
    drawing->text({x, kBottom + 14}, text, kSmall, Anchor::kMiddle);
    free = x + half + 5;
  }
  drawing->line({frame.left, kBottom}, {frame.right, kBottom}, "axis");
  drawing->text({2, 11}, plot.y_name, kSmall);
  drawing->text({(frame.left + frame.right) / 2, kBottom + 28}, plot.x_name, kSmall,
                Anchor::kMiddle);
}

void DrawNames(const LinePlot& plot, const Frame& frame, Drawing* drawing) {
  std::vector<double> wanted;
  for (const Series& series : plot.series) wanted.push_back(frame.y.at(series.points.back().y));
  const std::vector<double> placed = spread(wanted, kLabelHeight, kTop - 4, kBottom);
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    const Place end{frame.x.at(series.points.back().x), wanted[i]};
    if (std::fabs(placed[i] - wanted[i]) > 3) {
      drawing->line({end.x + 5, end.y}, {frame.right + 7, placed[i]}, "leader");
    }
    drawing->text({frame.right + 9, placed[i] + 4}, fitted(series.name, kWidestName, kNameFont),
                  std::string(kLabel) + " name " + style_class(series.style));
  }
}

}  // namespace

std::string line_plot(const LinePlot& asked) {
  LinePlot plot = asked;
  for (Series& series : plot.series) std::erase_if(series.points, std::not_fn(Usable));
  std::erase_if(plot.series, [](const Series& series) { return series.points.empty(); });
  Drawing drawing(kHeight);
  if (!plot.series.empty()) {
    const Frame frame = FrameOf(plot);
    DrawAxes(plot, frame, &drawing);
    for (const Series& series : plot.series) {
      std::vector<Place> places;
      for (const Point& p : series.points) places.push_back({frame.x.at(p.x), frame.y.at(p.y)});
      drawing.path(places, (series.limit ? "line limit " : "line ") + style_class(series.style));
      for (size_t i = 0; i < places.size() && !series.limit; ++i) {
        drawing.mark(places[i], series.style, 3, series.points[i].tooltip);
      }
    }
    DrawNames(plot, frame, &drawing);
  }
  return drawing.svg(plot.title, plot.description);
}

}  // namespace heed::bench
