#include "bench/plot_roofline.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "bench/plot.h"
#include "bench/plot_scale.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

constexpr double kHeight = 300, kLeft = 42, kRight = kDrawingWidth - 8, kTop = 24,
                 kBottom = kHeight - 34;

struct Axes {
  Scale x, y;
  Place at(double intensity, double flops) const { return {x.at(intensity), y.at(flops)}; }
};

// Begins where even the fastest level is a slope, and holds every point and the peak.
Axes AxesOf(const RooflinePlot& plot) {
  const double peak = plot.limits.flops;
  double low_x = INFINITY, high_x = 0, low_y = peak / 10, high_y = peak;
  for (const RooflinePoint& point : plot.points) {
    low_x = std::min(low_x, point.flops_per_byte / 1.5);
    high_x = std::max(high_x, point.flops_per_byte * 2);
    low_y = std::min(low_y, point.flops_per_second / 1.6);
    high_y = std::max(high_y, point.flops_per_second);
  }
  for (const Bandwidth& level : plot.limits.bandwidth) {
    if (level.bytes_per_second <= 0) continue;
    low_x = std::min(low_x, peak / level.bytes_per_second / 6);
    high_x = std::max(high_x, peak / level.bytes_per_second * 6);
  }
  return {{Scale::Kind::kLog, low_x, high_x, kLeft, kRight},
          {Scale::Kind::kLog, low_y, high_y * 1.7, kBottom, kTop}};
}

void DrawAxes(const Axes& axes, Drawing* drawing) {
  for (const double tick : axes.y.ticks()) {
    const double y = axes.y.at(tick);
    drawing->line({kLeft, y}, {kRight, y}, "grid");
    drawing->text({kLeft - 5, y + 3.5}, tick_text(tick / 1e9), kSmall, Anchor::kEnd);
  }
  double free = 0;
  for (const double tick : axes.x.ticks()) {
    const double x = axes.x.at(tick), half = text_width(tick_text(tick), 10) / 2;
    drawing->line({x, kTop}, {x, kBottom}, "grid");
    if (x - half < free) continue;
    const double inside = std::min(x, kDrawingWidth - half - 2);
    drawing->text({inside, kBottom + 13}, tick_text(tick), kSmall, Anchor::kMiddle);
    free = x + half + 4;
  }
  drawing->text({2, 11}, "GFLOP/s", kSmall);
  drawing->text({(kLeft + kRight) / 2, kBottom + 27}, "flops per byte", kSmall, Anchor::kMiddle);
}

// A line as small boxes.
void Avoid(Place from, Place to, std::vector<Box>* taken) {
  const double steps = std::ceil(std::hypot(to.x - from.x, to.y - from.y) / 6);
  for (double i = 0; i <= steps && steps > 0; ++i) {
    const double x = from.x + (to.x - from.x) * i / steps, y = from.y + (to.y - from.y) * i / steps;
    taken->push_back({x - 3, y - 3, x + 3, y + 3});
  }
}

// Slopes are parallel here: where two lie too close for a line of text, they share the label of the
// lower one.
void DrawSlopes(const RooflinePlot& plot, const Axes& axes, Drawing* drawing,
                std::vector<Box>* taken) {
  const double peak = plot.limits.flops;
  std::string label;
  std::vector<Bandwidth> levels = plot.limits.bandwidth;
  std::erase_if(levels, [](const Bandwidth& level) { return !(level.bytes_per_second > 0); });
  for (size_t i = 0; i < levels.size(); ++i) {
    const double bytes = levels[i].bytes_per_second;
    const double begin = std::max(axes.x.low(), axes.y.low() / bytes);
    const Place from = axes.at(begin, begin * bytes), to = axes.at(peak / bytes, peak);
    drawing->line(from, to, "roof");
    Avoid(from, to, taken);
    label += (label.empty() ? "" : ", ") + levels[i].level + " " + bandwidth_text(bytes);
    const double slope = std::atan2(from.y - to.y, to.x - from.x);
    if (i + 1 < levels.size()) {
      const double next = levels[i + 1].bytes_per_second;
      const double apart = std::fabs(axes.x.at(peak / next) - to.x) * std::tan(slope);
      if (apart * std::cos(slope) < 11) continue;
    }
    const double along = 16, above = 3.5;
    const Place at{from.x + along * std::cos(slope) - above * std::sin(slope),
                   from.y - along * std::sin(slope) - above * std::cos(slope)};
    drawing->text(at, label, "small roofname", Anchor::kStart, -slope * 180 / std::numbers::pi);
    const double length = text_width(label, 10);
    Avoid({at.x - 4 * std::sin(slope), at.y - 4 * std::cos(slope)},
          {at.x + length * std::cos(slope), at.y - length * std::sin(slope)}, taken);
    label.clear();
  }
}

void DrawPeak(const RooflinePlot& plot, const Axes& axes, Drawing* drawing,
              std::vector<Box>* taken) {
  const double peak = plot.limits.flops;
  double begin = axes.x.high();
  for (const Bandwidth& level : plot.limits.bandwidth) {
    if (level.bytes_per_second > 0) begin = std::min(begin, peak / level.bytes_per_second);
  }
  const Place from = axes.at(std::max(begin, axes.x.low()), peak);
  const std::string label = "fma peak " + flops_text(peak);
  drawing->line(from, {kRight, from.y}, "roof");
  Avoid(from, {kRight, from.y}, taken);
  drawing->text({from.x, from.y - 5}, label, "small roofname");
  taken->push_back({from.x - 2, from.y - 15, from.x + text_width(label, 10) + 4, from.y - 2});
}

// Puts names where they cover nothing, near to what they name.
class Labeller {
 public:
  Labeller(Drawing* drawing, std::vector<Box> taken)
      : drawing_(drawing), taken_(std::move(taken)) {}

  void avoid(Place mark) { taken_.push_back({mark.x - 4, mark.y - 4, mark.x + 4, mark.y + 4}); }

  void label(const std::vector<Place>& places, const std::string& text) {
    constexpr double kStep = 4, kHigh = 11, kFont = 12;
    const double width = text_width(text, kFont);
    Box best;
    Place end;
    double least = INFINITY;
    for (double top = kTop; top + kHigh <= kBottom; top += kStep) {
      for (double left = kLeft + 2; left + width <= kRight; left += kStep) {
        const Box box{left, top, left + width, top + kHigh};
        const Place nearest = NearestOf(places, box);
        const double cost = DistanceOf(nearest, box) + 60 * CoveredBy(box);
        if (cost >= least) continue;
        least = cost;
        best = box;
        end = nearest;
      }
    }
    if (DistanceOf(end, best) > 9) {  // else it is clear what it belongs to
      const double x = std::clamp(end.x, best.left, best.right);
      drawing_->line({x, end.y < best.top ? best.top + 1 : best.bottom}, end, "leader s0");
    }
    drawing_->text({best.left, best.bottom - 2}, text, "label name s0 halo");
    taken_.push_back({best.left - 3, best.top, best.right + 3, best.bottom});
  }

 private:
  static double DistanceOf(Place place, const Box& box) {
    return std::hypot(place.x - std::clamp(place.x, box.left, box.right),
                      place.y - std::clamp(place.y, box.top, box.bottom));
  }

  static Place NearestOf(const std::vector<Place>& places, const Box& box) {
    return *std::min_element(places.begin(), places.end(), [&](Place a, Place b) {
      return DistanceOf(a, box) < DistanceOf(b, box);
    });
  }

  double CoveredBy(const Box& box) const {
    return static_cast<double>(std::count_if(
        taken_.begin(), taken_.end(), [&](const Box& other) { return box.overlaps(other); }));
  }

  Drawing* drawing_;
  std::vector<Box> taken_;
};

// Points of one name, in groups of those near another of the group.
std::vector<std::vector<Place>> Clusters(const std::vector<Place>& places) {
  constexpr double kNear = 60;
  std::vector<std::vector<Place>> clusters;
  for (const Place& place : places) {
    const auto near = [&](const std::vector<Place>& cluster) {
      return std::any_of(cluster.begin(), cluster.end(), [&](const Place& other) {
        return std::hypot(place.x - other.x, place.y - other.y) < kNear;
      });
    };
    std::vector<Place> joined{place};
    for (std::vector<Place>& cluster : clusters) {
      if (!near(cluster)) continue;
      joined.insert(joined.end(), cluster.begin(), cluster.end());
      cluster.clear();
    }
    std::erase_if(clusters, [](const std::vector<Place>& cluster) { return cluster.empty(); });
    clusters.push_back(std::move(joined));
  }
  return clusters;
}

void DrawPoints(const RooflinePlot& plot, const Axes& axes, Drawing* drawing,
                std::vector<Box> taken) {
  Labeller labeller(drawing, std::move(taken));
  std::vector<std::pair<std::string, std::vector<Place>>> names;  // of style 0, in order
  for (const bool front : {false, true}) {
    for (const RooflinePoint& point : plot.points) {
      if ((point.style == 0) != front) continue;
      const Place at = axes.at(point.flops_per_byte, point.flops_per_second);
      drawing->mark(at, point.style, front ? 3.5 : 2.5, point.tooltip);
      labeller.avoid(at);
      if (!front) continue;
      const auto found = std::find_if(names.begin(), names.end(),
                                      [&](const auto& name) { return name.first == point.name; });
      if (found == names.end()) {
        names.push_back({point.name, {at}});
      } else {
        found->second.push_back(at);
      }
    }
  }
  for (const auto& [name, places] : names) {
    for (const std::vector<Place>& cluster : Clusters(places)) labeller.label(cluster, name);
  }
}

}  // namespace

std::string roofline_plot(const RooflinePlot& plot) {
  const Axes axes = AxesOf(plot);
  Drawing drawing(kHeight);
  std::vector<Box> taken;
  DrawAxes(axes, &drawing);
  DrawSlopes(plot, axes, &drawing, &taken);
  DrawPeak(plot, axes, &drawing, &taken);
  DrawPoints(plot, axes, &drawing, std::move(taken));
  return drawing.svg(plot.title, plot.description);
}

}  // namespace heed::bench
