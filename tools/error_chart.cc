#include "tools/error_chart.h"

#include <algorithm>
#include <cmath>

#include "tools/svg.h"

namespace heed::tools {
namespace {

constexpr double kWidth = 420, kMargin = 14, kRow = 21, kHead = 34, kTop = 96, kBottom = 40;
constexpr double kShares = 168;                      // right edge of the shares of bytes
constexpr double kLeft = 188, kRight = kWidth - 64;  // the scale
constexpr int kLeastPower = -4, kMostPower = 0;      // of ten, in shares of the weights' RMS

const char* colour_of(DType dtype) {
  return dtype == DType::kInt4 ? "#c2570c" : dtype == DType::kInt8 ? "#1f6fb4" : "#4d7c3a";
}

double place(double share) {
  const double power = std::clamp(std::log10(share), double{kLeastPower}, double{kMostPower});
  return kLeft + (kRight - kLeft) * (power - kLeastPower) / (kMostPower - kLeastPower);
}

// Whether the scale has a place for it; what lies beyond is left out.
bool has_place(double share) {
  return share >= std::pow(10.0, kLeastPower) && share <= std::pow(10.0, kMostPower);
}

std::string percent(double share) {
  if (share > 0 && share < 1e-6) return "&lt; 0.0001 %";
  return share == 0 ? "0" : svg_number(100 * share, share < 1e-3 ? "%.1g" : "%.2g") + " %";
}

std::string line(double x0, double y0, double x1, double y1, const std::string& attributes) {
  return "<line x1=\"" + svg_number(x0) + "\" y1=\"" + svg_number(y0) + "\" x2=\"" +
         svg_number(x1) + "\" y2=\"" + svg_number(y1) + "\" " + attributes + "/>\n";
}

// The scale's lines from `top` to `bottom`, and their labels above.
std::string grid(double top, double bottom) {
  std::string svg;
  for (int power = kLeastPower; power <= kMostPower; ++power) {
    const double x = place(std::pow(10.0, power));
    svg += line(x, top, x, bottom, "class=\"grid\"");
    svg += svg_text(x, top - 5, svg_number(std::pow(10.0, power + 2)) + " %",
                    "class=\"tick\" text-anchor=\"middle\"");
  }
  return svg;
}

std::string row(const StorageError& error, double y) {
  const std::string colour = colour_of(error.storage.dtype);
  const std::string stroke = "stroke=\"" + colour + "\" stroke-width=\"2\"";
  const double base = y + 4.5;
  const std::string problem = problem_of(error);
  const std::string costs = "RMS error " + percent(error.rms) + ", largest " +
                            percent(error.largest) + ", " + std::to_string(error.bytes) + " bytes";
  std::string svg = "<g><title>" + error.projection + ", " + text_of(error.storage) + ": " +
                    (problem.empty() ? costs : problem) + "</title>\n";
  svg += svg_text(kMargin, base, text_of(error.storage), "class=\"label\"");
  if (!problem.empty()) {
    return svg + svg_text(kWidth - kMargin, base, problem, "class=\"label\" text-anchor=\"end\"") +
           "</g>\n";
  }
  svg += svg_text(kShares, base, svg_number(error.of_f32, "%.2f"),
                  "class=\"label\" text-anchor=\"end\"");
  if (has_place(error.rms) || has_place(error.largest)) {
    svg += line(place(error.rms), y, place(error.largest), y, stroke + " opacity=\"0.45\"");
  }
  if (has_place(error.largest)) {
    const double x = place(error.largest);
    svg += line(x, y - 5, x, y + 5, stroke);
  }
  if (has_place(error.rms)) {
    svg += "<circle cx=\"" + svg_number(place(error.rms)) + "\" cy=\"" + svg_number(y) +
           "\" r=\"4.5\" fill=\"" + colour + "\"/>\n";
  }
  svg += svg_text(kWidth - kMargin, base, error.rms == 0 ? "exact" : percent(error.rms),
                  "class=\"label\" text-anchor=\"end\"");
  return svg + "</g>\n";
}

}  // namespace

std::string error_chart_svg(const std::vector<StorageError>& errors, const std::string& title) {
  std::string rows;
  double y = kTop;
  for (size_t i = 0, end; i < errors.size(); i = end) {
    end = i;
    std::string panel;
    const double top = y + kHead - 8;
    double at = y + kHead + 4;
    for (; end < errors.size() && errors[end].projection == errors[i].projection; ++end) {
      if (errors[end].storage.dtype == DType::kF32) continue;
      panel += row(errors[end], at);
      at += kRow;
    }
    rows += svg_text(kMargin, y + 18, errors[i].projection + " projection", "class=\"head\"");
    rows += grid(top, at - kRow + 10) + panel;
    y = at;
  }
  const double height = y + kBottom;
  std::string svg = svg_begin(kWidth, height,
                              ".head { font-size: 14px; font-weight: bold }\n"
                              ".label { font-size: 13px }\n"
                              ".note { font-size: 12px; fill: #555 }\n"
                              ".grid { stroke: #ddd }\n");
  svg += svg_text(kMargin, kMargin + 12, xml_escape(title), "class=\"title\"");
  svg += svg_text(kMargin, kMargin + 34,
                  "Errors in shares of the weights' root mean square:", "class=\"note\"");
  svg +=
      svg_text(kMargin, kMargin + 52, "\u25cf root mean square, \u2502 largest.", "class=\"note\"");
  svg += svg_text(kShares, kTop - 6, "bytes of f32's", "class=\"note\" text-anchor=\"end\"");
  svg += svg_text(kWidth - kMargin, kTop - 6, "RMS error", "class=\"note\" text-anchor=\"end\"");
  return svg + rows + "</svg>\n";
}

}  // namespace heed::tools
