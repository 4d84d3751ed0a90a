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

// Which query row (b * q_len + i) element `index` of a result belongs to.
size_t row_of(const Case& c, const std::string& name, const Tensor& t, size_t index) {
  if (name == "lse") {  // [batch, heads, q_len]
    return index / (c.num_heads * c.q_len) * c.q_len + index % c.q_len;
  }
  return index / (t.values.size() / (c.batch * c.q_len));  // [batch, q_len, ...]
}

// Infinities must be equal; anything that is not finite on one side only counts as an infinite
// error.
double error_of(float got, float expected) {
  if (std::isinf(expected) && got == expected) return 0;
  const double error = std::abs(static_cast<double>(got) - static_cast<double>(expected));
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

Worst compare(const Case& c, const std::string& name, const Tensor& got, const float* expected,
              const int32_t* check) {
  const bool lse = name == "lse";
  Worst worst;
  for (size_t i = 0; i < got.values.size(); ++i) {
    if (check != nullptr && check[row_of(c, name, got, i)] == 0) continue;
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
  const int32_t* check = nullptr;
  if (c.check_rows) {
    check = static_cast<const int32_t*>(inputs.i32("check", {c.batch, c.q_len}).data);
  }
  Outcome outcome{Verdict::kPassed, ""};
  for (const char* name : {"out", "lse", "context"}) {
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
  if (!c->missing_features.empty()) {
    Outcome outcome{Verdict::kSkipped, ""};
    for (const std::string& feature : c->missing_features) {
      outcome.text += (outcome.text.empty() ? "" : ", ") + feature;
    }
    return outcome;
  }
  Inputs inputs(file);
  auto results = compute(*c, inputs, context);
  if (!results.ok()) return failed(results.status().message());
  return compare_all(*c, *results, inputs);
}

}  // namespace heed::oracle
