// heed run: one attention layer of a checkpoint on an input.
#include <cstdio>
#include <memory>
#include <utility>

#include "tools/checkpoint/safetensors.h"
#include "tools/command.h"
#include "tools/difference.h"
#include "tools/onednn_layer.h"
#include "tools/text.h"
#include "tools/weight_errors.h"

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

// The weights as they are stored, in f32.
struct StoredWeights {
  std::vector<float> numbers[5];
  MultiHeadAttentionWeights weights;
};

Result<StoredWeights> stored_weights(const LoadedLayer& loaded, Context& context) {
  StoredWeights stored;
  stored.weights = loaded.weights;
  MultiHeadAttentionWeights& w = stored.weights;
  std::vector<float>* numbers = stored.numbers;
  for (LinearWeights* linear : {&w.q, &w.k, &w.v, &w.qkv, &w.out}) {
    if (linear->weight.absent()) continue;
    Result<std::vector<float>> kept =
        stored_numbers(linear->weight, w.layout, linear->storage, context);
    if (!kept.ok()) return kept.status();
    *numbers = std::move(*kept);
    linear->weight = TensorView((numbers++)->data(), DType::kF32, linear->weight.shape, 2);
  }
  return stored;
}

Result<std::vector<float>> forward_on(const LoadedLayer& loaded, const RunArguments& arguments,
                                      bool onednn) {
  if (!onednn) return forward(loaded, arguments.layer);
  Result<Context> context = make_context(arguments.layer);
  if (!context.ok()) return context.status();
  const Result<StoredWeights> stored = stored_weights(loaded, *context);
  if (!stored.ok()) return stored.status();
  return onednn_forward(loaded.config.attention, stored->weights, loaded.input.values,
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
  const StorageOptions& storage = arguments.layer.storage;
  if ((onednn || arguments.check) && storage.compute() != Compute::kF32) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s computes with oneDNN, in f32, but --compute is int16",
                         onednn ? "--backend=onednn" : "--check");
  }
  if (onednn && storage.hadamard()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "--backend=onednn stores no keys, which --hadamard turns");
  }
  if ((onednn || arguments.check) &&
      (storage.keys() != DType::kF32 || storage.values() != DType::kF32)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s computes with oneDNN, whose keys and values are f32, but --keys is %s "
                         "and --values is %s",
                         onednn ? "--backend=onednn" : "--check", name_of(storage.keys()),
                         name_of(storage.values()));
  }
  return Status();
}

int run(const RunArguments& arguments) {
  if (const Status s = check_arguments(arguments); !s.ok()) return refused(s);
  const bool onednn = arguments.backend == "onednn";
  const Result<LoadedLayer> loaded = load(arguments.layer, {"--output", arguments.output, {}});
  if (!loaded.ok()) return refused(loaded.status());
  const Result<std::vector<float>> y = forward_on(*loaded, arguments, onednn);
  if (!y.ok()) return refused(y.status());
  if (arguments.check) {
    const Result<std::vector<float>> other = forward_on(*loaded, arguments, !onednn);
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
  command->get_option("--input")->required();
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
