// heed run: one attention layer of a checkpoint on an input.
#include <cstdio>
#include <memory>
#include <utility>

#include "tools/checkpoint/safetensors.h"
#include "tools/command.h"
#include "tools/difference.h"
#include "tools/onednn_layer.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

// --check: largest difference allowed, as a share of the largest output. Both sides round f32 sums
// of thousands of terms, which costs about 1e-6 of it; scores that are large before softmax cost up
// to ten times more. A wrong scale, mask or rotation shows at 1e-2 and above.
constexpr double kCheckBound = 1e-4;

struct RunArguments {
  LayerArguments layer;
  std::string output;
  std::string backend = "heed";
  bool check = false;
};

Result<std::vector<float>> heed_forward(const LoadedLayer& loaded,
                                        const LayerArguments& arguments) {
  Result<Context> context = make_context(arguments);
  if (!context.ok()) return context.status();
  const Input& input = loaded.input;
  std::vector<float> y(input.batch * input.seq * loaded.attention.d_out());
  const size_t x_shape[] = {input.batch, input.seq, loaded.config.attention.d_in};
  const size_t y_shape[] = {input.batch, input.seq, loaded.attention.d_out()};
  const Status s = loaded.attention.forward(
      TensorView(input.values.data(), DType::kF32, x_shape, 3),
      MutableTensorView(y.data(), DType::kF32, y_shape, 3), ForwardOptions(), *context);
  if (!s.ok()) return s;
  return y;
}

Result<std::vector<float>> forward(const LoadedLayer& loaded, const RunArguments& arguments,
                                   bool on_onednn) {
  if (!on_onednn) return heed_forward(loaded, arguments.layer);
  return onednn_forward(loaded.config.attention, loaded.weights, loaded.input.values,
                        loaded.input.batch, loaded.input.seq, arguments.layer.threads);
}

int report_check(const std::vector<float>& heed, const std::vector<float>& onednn) {
  const Difference worst = compare(heed, onednn);
  if (worst.not_finite != 0) {
    std::printf("check: %zu of %zu results are NaN or infinite, so nothing can be said: FAILED\n",
                worst.not_finite, heed.size());
    return kCheckFailed;
  }
  const bool passed = worst.relative() <= kCheckBound;
  std::printf(
      "check: heed and oneDNN differ by at most %.3g, %.3g of the largest output %.3g: %s (bound "
      "%.0e)\n",
      worst.absolute, worst.relative(), worst.scale, passed ? "passed" : "FAILED", kCheckBound);
  return passed ? kDone : kCheckFailed;
}

Status check_arguments(const RunArguments& arguments) {
  const bool onednn = arguments.backend == "onednn";
  if ((onednn || arguments.check) && !onednn_available()) {
    return Status::Error(StatusCode::kUnsupported,
                         "%s needs oneDNN, and this heed was built without it",
                         onednn ? "--backend=onednn" : "--check");
  }
  if (onednn && !arguments.check && !arguments.layer.target.empty()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--target chooses heed's instruction set, but --backend is onednn");
  }
  return Status();
}

int run(const RunArguments& arguments) {
  if (const Status s = check_arguments(arguments); !s.ok()) return refused(s);
  const bool onednn = arguments.backend == "onednn";
  const Result<LoadedLayer> loaded = load(arguments.layer, {"--output", arguments.output, {}});
  if (!loaded.ok()) return refused(loaded.status());
  const Result<std::vector<float>> y = forward(*loaded, arguments, onednn);
  if (!y.ok()) return refused(y.status());
  if (arguments.check) {
    const Result<std::vector<float>> other = forward(*loaded, arguments, !onednn);
    if (!other.ok()) return refused(other.status());
    const int code = onednn ? report_check(*other, *y) : report_check(*y, *other);
    if (code != kDone) return code;
  }
  std::vector<uint64_t> shape(loaded->input.shape.begin(), loaded->input.shape.end());
  shape.back() = loaded->attention.d_out();
  const Status saved = save_safetensors(arguments.output, {{"out", shape, y->data()}});
  if (!saved.ok()) return refused(saved);
  std::printf("%s: out %s\n", arguments.output.c_str(), shape_text(shape).c_str());
  return kDone;
}

}  // namespace

Action add_run(CLI::App* app) {
  CLI::App* command = app->add_subcommand("run", "one attention layer of a checkpoint on an input");
  const auto arguments = std::make_shared<RunArguments>();
  arguments->layer.add_to(command);
  command->add_option("--output", arguments->output, "safetensors to write, tensor 'out'")
      ->required();
  command->add_option("--backend", arguments->backend, "what computes: heed or onednn [heed]")
      ->check(CLI::IsMember({"heed", "onednn"}));
  command->add_flag(
      "--check", arguments->check,
      "compute with heed and oneDNN; exit 1 and write nothing when they differ by more "
      "than 1e-4 of the largest output");
  return [arguments] { return run(*arguments); };
}

}  // namespace heed::tools
