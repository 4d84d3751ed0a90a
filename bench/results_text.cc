#include "bench/results_text.h"

#include <cmath>
#include <cstdio>

namespace heed::bench {
namespace {

std::string With(double value, const char* unit) { return short_number(value) + " " + unit; }

}  // namespace

std::string short_number(double value) {
  char text[32];
  const double size = std::fabs(value);
  const char* format = "%.3g";
  if (size >= 1e5) {
    format = "%.2e";
  } else if (size >= 99.95) {
    format = "%.0f";
  } else if (size >= 9.995) {
    format = "%.1f";
  } else if (size >= 0.9995) {
    format = "%.2f";
  }
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::string duration_text(double seconds) {
  if (seconds >= 0.9995) return With(seconds, "s");
  if (seconds >= 0.9995e-3) return With(seconds * 1e3, "ms");
  if (seconds >= 0.9995e-6) return With(seconds * 1e6, "us");
  return With(seconds * 1e9, "ns");
}

std::string flops_text(double flops) {
  return flops >= 9.995e12 ? With(flops / 1e12, "TFLOP/s") : With(flops / 1e9, "GFLOP/s");
}

std::string bandwidth_text(double bytes) {
  return bytes >= 9.995e12 ? With(bytes / 1e12, "TB/s") : With(bytes / 1e9, "GB/s");
}

std::string bytes_text(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; unit < 4 && bytes >= 1024; ++unit) bytes /= 1024;
  char text[32];
  const bool whole = bytes == std::floor(bytes) && bytes < 1e5;
  std::snprintf(text, sizeof(text), "%.0f", bytes);
  return (whole ? std::string(text) : short_number(bytes)) + " " + units[unit];
}

std::string percent_text(double share) {
  const double percent = share * 100;
  char text[32];
  std::snprintf(text, sizeof(text), percent < 9.95 ? "%.1f%%" : "%.0f%%", percent);
  return text;
}

std::string times_text(double factor) {
  char text[32];
  std::snprintf(text, sizeof(text), factor < 9.995 ? "%.2fx" : "%.3gx", factor);
  return text;
}

std::string readable(const std::string& shape) {
  std::string text;
  for (const char c : shape) {
    if (c == '/') {
      text += ", ";
    } else {
      text += c == ':' ? ' ' : c;
    }
  }
  return text;
}

std::string name_of(const Entry& entry) {
  return entry.operation + "/" + entry.shape + "/threads:" + std::to_string(entry.threads) + "/" +
         entry.library;
}

std::string threads_text(size_t threads) {
  return std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

std::string name_of(Bound bound) {
  return bound == Bound::kFlops ? "the fma peak"
         : bound == Bound::kL2  ? "L2 bandwidth"
                                : "memory bandwidth";
}

double rate_of(const Entry& entry) {
  const double best = best_seconds(entry);
  if (best <= 0) return 0;
  return units_of(entry) / best;
}

std::string rate_text(const Entry& entry) {
  const double rate = rate_of(entry);
  if (rate <= 0) return "";
  return bound_of(entry) == Bound::kFlops ? flops_text(rate) : bandwidth_text(rate);
}

}  // namespace heed::bench
