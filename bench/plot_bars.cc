#include "bench/plot_bars.h"

#include <algorithm>

#include "bench/plot.h"
#include "bench/plot_scale.h"

namespace heed::bench {
namespace {

constexpr double kTop = 30, kGroupName = 16, kBarPitch = 15, kBarHeight = 11, kGroupGap = 7;

double HeightOf(const BarGroup& group) {
  return (group.name.empty() ? 0 : kGroupName) +
         kBarPitch * static_cast<double>(group.bars.size()) + kGroupGap;
}

double HeightOf(const BarPlot& plot) {
  double height = kTop;
  for (const BarGroup& group : plot.groups) {
    height += HeightOf(group);
  }
  return height;
}

struct Widths {
  double names = 0, texts = 0, largest = 0;
};

Widths WidthsOf(const BarPlot& plot) {
  Widths widths;
  widths.largest = plot.full;
  for (const BarGroup& group : plot.groups) {
    for (const Bar& bar : group.bars) {
      widths.names = std::max(widths.names, text_width(bar.name));
      widths.texts = std::max(widths.texts, text_width(bar.text));
      widths.largest = std::max(widths.largest, bar.value);
    }
  }
  return widths;
}

void DrawGroup(const BarGroup& group, const Scale& scale, double top, Drawing* drawing) {
  const double left = scale.at(0), right = scale.at(scale.high());
  const double name_font = 12;  // bold
  drawing->text({2, top + 11}, fitted(group.name, kDrawingWidth - 4, name_font),
                "label strong halo");
  double y = top + (group.name.empty() ? 0 : kGroupName);
  for (const Bar& bar : group.bars) {
    const double end = scale.at(bar.value);
    drawing->text({left - 6, y + 9.5}, fitted(bar.name, left - 8), kLabel, Anchor::kEnd);
    drawing->rect({left, y, std::max(end, left + (bar.value > 0 ? 1 : 0)), y + kBarHeight},
                  "bar " + style_class(bar.style), bar.tooltip);
    drawing->text({right + 7, y + 9.5}, bar.text, kLabel);
    y += kBarPitch;
  }
}

}  // namespace

std::string bar_plot(const BarPlot& plot) {
  const double height = HeightOf(plot);
  const Widths widths = WidthsOf(plot);
  const double left = std::min(widths.names, 130.0) + 10;
  const double right = kDrawingWidth - std::min(widths.texts, 130.0) - 10;
  const Scale scale(Scale::Kind::kLinear, 0, widths.largest, left, right);
  Drawing drawing(height);
  drawing.text({2, 11}, plot.axis, kSmall);
  double free = 0;
  for (const double tick : scale.ticks()) {
    const double x = scale.at(tick);
    drawing.line({x, kTop - 3}, {x, height - kGroupGap}, "grid");
    const std::string text = plot.tick_text(tick);
    if (x - text_width(text, 10) / 2 < free) continue;
    drawing.text({x, kTop - 6}, text, kSmall, Anchor::kMiddle);
    free = x + text_width(text, 10) / 2 + 4;
  }
  if (plot.full > 0) {
    const double x = scale.at(plot.full);
    drawing.line({x, kTop - 3}, {x, height - kGroupGap}, "limit plain");
  }
  double top = kTop;
  for (const BarGroup& group : plot.groups) {
    DrawGroup(group, scale, top, &drawing);
    top += HeightOf(group);
  }
  return drawing.svg(plot.title, plot.description);
}

}  // namespace heed::bench
