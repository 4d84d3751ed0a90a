#include "tools/show_errors.h"

#include <cstdio>

#include "tools/error_chart.h"
#include "tools/file.h"
#include "tools/weight_errors.h"

namespace heed::tools {
namespace {

void print(const std::vector<StorageError>& errors) {
  std::printf("%-10s  %-19s  %12s  %6s  %11s  %13s\n", "projection", "type", "bytes", "of f32",
              "RMS error", "largest error");
  for (size_t i = 0; i < errors.size(); ++i) {
    const StorageError& e = errors[i];
    if (i > 0 && e.projection != errors[i - 1].projection) std::printf("\n");
    if (e.too_large_for != nullptr) {
      std::printf("%-10s  %-19s  %s\n", e.projection.c_str(), text_of(e.storage).c_str(),
                  problem_of(e).c_str());
      continue;
    }
    std::printf("%-10s  %-19s  %12zu  %6.3f  %9.4f %%  %11.4f %%\n", e.projection.c_str(),
                text_of(e.storage).c_str(), e.bytes, e.of_f32, 100 * e.rms, 100 * e.largest);
  }
}

}  // namespace

int show_errors(const LayerArguments& arguments, const std::string& svg) {
  Result<LoadedWeights> loaded = load_weights(arguments, {"--svg", svg, {}});
  if (!loaded.ok()) return refused(loaded.status());
  Result<Context> context = make_context(arguments);
  if (!context.ok()) return refused(context.status());
  const Result<std::vector<StorageError>> errors =
      storage_errors(loaded->config.attention, loaded->weights, *context);
  if (!errors.ok()) return refused(errors.status());
  const std::string layer = "layer " + std::to_string(arguments.layer);
  if (!svg.empty()) {
    const std::string picture = error_chart_svg(*errors, "What storing " + layer + " costs");
    if (const Status s = write_file(svg, {picture}); !s.ok()) return refused(s);
  }
  std::printf(
      "What storing the weights of %s costs; errors in shares of their root mean square\n\n",
      layer.c_str());
  print(*errors);
  return kDone;
}

}  // namespace heed::tools
