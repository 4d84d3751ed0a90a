// Compares what heed computed for a golden case with the float64 results stored in it.
#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

#include "test/oracle.h"

namespace heed::oracle {
namespace {

struct Worst {
  double error = 0;  // |got - expected|
  double ratio = 0;  // error / tolerance; infinite for a NaN or a wrong infinity
  size_t index = 0;  // of the element with that ratio
  size_t compared = 0;
};

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[200];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof buffer, format, args);
  va_end(args);
  return buffer;
}

bool is_lse(const std::string& name) { return name.rfind("lse", 0) == 0; }

// Which of all `rows` query rows element `index` of a result belongs to.
size_t row_of(const std::string& name, const Tensor& t, size_t rows, size_t index) {
  if (!is_lse(name)) return index / (t.values.size() / rows);  // [batch, q_len, ...], [rows, ...]
  const size_t q_len = t.shape.back(), heads = t.shape[t.shape.size() - 2];
  return index / (heads * q_len) * q_len + index % q_len;  // [batch, heads, q_len], [heads, rows]
}

// Infinities must be equal; anything that is not finite on one side only counts as an infinite
// error.
double error_of(float got, float expected) {
  if (std::isinf(expected) && got == expected) return 0;
  const double error = std::abs(static_cast<double>(got) - static_cast<double>(expected));
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

Worst compare(const Case& c, const std::string& name, const Tensor& got, const float* expected,
              const TensorView& check) {
  const bool lse = is_lse(name);
  Worst worst;
  for (size_t i = 0; i < got.values.size(); ++i) {
    if (!check.absent()) {
      const size_t row = row_of(name, got, check.num_elements(), i);
      if (static_cast<const int32_t*>(check.data)[row] == 0) continue;
    }
    const double magnitude =
        std::isfinite(expected[i]) ? std::abs(static_cast<double>(expected[i])) : 0.0;
    const double tolerance =
        lse ? c.lse_atol + c.lse_rtol * magnitude : c.atol + c.rtol * magnitude;
    const double error = error_of(got.values[i], expected[i]);
    const double ratio = error == 0 ? 0 : error / tolerance;
    if (ratio > worst.ratio) {
      worst.error = error;
      worst.ratio = ratio;
      worst.index = i;
    }
    ++worst.compared;
  }
  return worst;
}

std::string place(const std::vector<size_t>& shape, size_t index) {
  std::string result = "]";
  for (size_t d = shape.size(); d-- > 0;) {
    result = (d == 0 ? "[" : ", ") + std::to_string(index % shape[d]) + result;
    index /= shape[d];
  }
  return result;
}

Outcome failed(const std::string& why) { return {Verdict::kFailed, why}; }

Outcome compare_all(const Case& c, const Tensors& results, Inputs& inputs) {
  TensorView check;
  if (c.check_rows) {
    const Tensor& out = results.at("out");
    const std::vector<size_t> rows(out.shape.begin(), out.shape.end() - (c.is_layer() ? 1 : 2));
    check = inputs.i32("check", rows);
  }
  Outcome outcome{Verdict::kPassed, ""};
  for (const char* name : {"out", "lse", "lse_nosink", "context"}) {
    const auto result = results.find(name);
    if (result == results.end()) continue;
    const Tensor& got = result->second;
    const TensorView view = inputs.f32(std::string("expected.") + name, got.shape);
    if (!inputs.status().ok()) return failed(inputs.status().message());
    const auto* expected = static_cast<const float*>(view.data);
    const Worst worst = compare(c, name, got, expected, check);
    if (worst.compared == 0 && !got.values.empty())
      return failed(text("%s: nothing to compare", name));
    if (!outcome.text.empty()) outcome.text += ", ";
    outcome.text += text("%s %.1e (%.2f of tolerance)", name, worst.error, worst.ratio);
    if (!(worst.ratio <= 1)) {
      outcome.verdict = Verdict::kFailed;
      outcome.text += text(" at %s: %.9g, expected %.9g", place(got.shape, worst.index).c_str(),
                           static_cast<double>(got.values[worst.index]),
                           static_cast<double>(expected[worst.index]));
    }
  }
  if (auto name = inputs.unused()) return failed("tensor " + *name + " is unknown here");
  return outcome;
}

}  // namespace

Outcome judge(const tools::Safetensors& file, Context& context) {
  auto c = parse_case(file.metadata());
  if (!c.ok()) return failed(c.status().message());
  Inputs inputs(file);
  auto results = compute(*c, inputs, context);
  if (!results.ok()) return failed(results.status().message());
  return compare_all(*c, *results, inputs);
}

}  // namespace heed::oracle
