#include "tools/command.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "tools/checkpoint/layer_loader.h"
#include "tools/checkpoint/safetensors.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::tools {
namespace {

bool is_float(const StoredTensor& tensor) {
  return tensor.type == StoredType::kF32 || tensor.type == StoredType::kF16 ||
         tensor.type == StoredType::kBF16;
}

// The tensor asked for, or the only one of floats.
Result<std::string> choose_tensor(const Safetensors& file, const std::string& asked) {
  if (!asked.empty()) return asked;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors()) {
    if (is_float(tensor)) names.push_back(name);
  }
  if (names.size() == 1) return names[0];
  return refuse(file.name(), "it has " + std::to_string(names.size()) +
                                 " tensors of floats, so --tensor must name one" +
                                 (names.empty() ? "" : ", like " + quote(names[0])));
}

Result<Input> load_input(const std::string& path, const std::string& asked, size_t width) {
  const Result<Safetensors> file = Safetensors::load(path);
  if (!file.ok()) return file.status();
  const Result<std::string> name = choose_tensor(*file, asked);
  if (!name.ok()) return name.status();
  Result<std::vector<float>> values = file->read_f32(*name);
  if (!values.ok()) return values.status();
  const StoredTensor& tensor = *file->find(*name);
  const size_t rank = tensor.shape.size();
  if ((rank != 2 && rank != 3) || tensor.shape.back() != width) {
    return refuse(path, "tensor " + quote(*name) + " is " + shape_text(tensor.shape) +
                            ", and must be [seq, " + std::to_string(width) + "] or [batch, seq, " +
                            std::to_string(width) + "]");
  }
  Input input;
  input.values = std::move(*values);
  input.shape.assign(tensor.shape.begin(), tensor.shape.end());
  input.batch = rank == 3 ? input.shape[0] : 1;
  input.seq = input.shape[rank - 2];
  return input;
}

Status check(const OutputFile& output, std::vector<std::string> read) {
  if (output.path.empty()) return Status();
  read.insert(read.end(), output.also_read.begin(), output.also_read.end());
  return check_output(output.option, output.path, read);
}

}  // namespace

int refused(const Status& status) {
  std::fprintf(stderr, "heed: %s\n", status.message());
  return kRefused;
}

int run_command(const std::vector<std::string>& arguments) {
  CLI::App app("heed: attention for CPUs", "heed");
  app.set_version_flag("--version", std::string("heed ") + version());
  app.require_subcommand(1);
  const std::pair<const char*, Action> actions[] = {{"info", add_info(&app)},
                                                    {"check", add_check(&app)},
                                                    {"run", add_run(&app)},
                                                    {"show", add_show(&app)}};
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // it pops the last
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::string command = "heed";
    for (const CLI::App* chosen : app.get_subcommands()) command += " " + chosen->get_name();
    std::fprintf(stderr, "heed: %s (%s --help lists the options)\n", error.what(), command.c_str());
    return kRefused;
  }
  for (const auto& [name, action] : actions) {
    if (app.got_subcommand(name)) return action();
  }
  return kRefused;
}

void LayerArguments::add_to(CLI::App* command) {
  command->add_option("--weights", weights, "checkpoint: .safetensors, its index, or a directory")
      ->required();
  command->add_option("--layer", layer, "number of the layer, from 0")
      ->required()
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--config", config, "config.json [beside the weights]");
  command->add_option("--input", input, "safetensors with [seq, d] or [batch, seq, d]");
  command->add_option("--tensor", tensor, "name of the input [the only tensor of floats]");
  command->add_option("--threads", threads, "threads to use [all]")->check(CLI::Range(1, 4096));
  command->add_option("--target", target, "instruction set, as heed info names it [the best]");
  storage.add_to(command);
}

Result<LoadedWeights> load_weights(const LayerArguments& arguments, const OutputFile& output) {
  Result<Checkpoint> checkpoint = Checkpoint::open(arguments.weights);
  if (!checkpoint.ok()) return checkpoint.status();
  const std::string config_path =
      arguments.config.empty() ? checkpoint->config_path() : arguments.config;
  std::vector<std::string> read = checkpoint->files();
  read.insert(read.end(), {config_path, arguments.input});
  if (const Status s = check(output, std::move(read)); !s.ok()) return s;
  Result<LayerConfig> config = load_layer_config(config_path, arguments.layer);
  if (!config.ok()) return config.status();
  Result<MultiHeadAttentionWeights> weights = find_weights(*checkpoint, *config, arguments.layer);
  if (!weights.ok()) return weights.status();
  return LoadedWeights{std::move(*checkpoint), std::move(*config), *weights};
}

Result<LoadedLayer> load(const LayerArguments& arguments, const OutputFile& output) {
  const Result<PackOptions> storage = arguments.storage.weights();
  if (!storage.ok()) return storage.status();
  Result<LoadedWeights> loaded = load_weights(arguments, output);
  if (!loaded.ok()) return loaded.status();
  loaded->config.attention.k_cache_dtype = arguments.storage.keys();
  loaded->config.attention.v_cache_dtype = arguments.storage.values();
  loaded->config.attention.hadamard = arguments.storage.hadamard();
  loaded->config.attention.attention_compute = arguments.storage.attention_compute();
  MultiHeadAttentionWeights& weights = loaded->weights;
  for (LinearWeights* linear : {&weights.q, &weights.k, &weights.v, &weights.qkv, &weights.out}) {
    linear->storage = *storage;
    linear->compute = arguments.storage.compute();
  }
  const MultiHeadAttentionConfig& config = loaded->config.attention;
  Result<Input> input = load_input(arguments.input, arguments.tensor, config.d_in);
  if (!input.ok()) return input.status();
  Result<Context> context = make_context(arguments);
  if (!context.ok()) return context.status();
  Result<MultiHeadAttention> attention = MultiHeadAttention::create(config, weights, *context);
  if (!attention.ok()) return attention.status();
  return LoadedLayer{std::move(*loaded), std::move(*attention), std::move(*input)};
}

Result<std::vector<float>> forward(const LoadedLayer& loaded, const LayerArguments& arguments,
                                   ForwardOptions asked) {
  Result<Context> context = make_context(arguments);
  if (!context.ok()) return context.status();
  const Input& input = loaded.input;
  std::optional<KvCache> cache;
  if (arguments.storage.names_cache()) {
    Result<KvCache> created =
        loaded.attention.create_cache(input.batch, std::max<size_t>(input.seq, 1));
    if (!created.ok()) return created.status();
    asked.cache = &cache.emplace(std::move(*created));
  }
  const size_t d_in = loaded.config.attention.d_in, d_out = loaded.attention.d_out();
  std::vector<float> y(input.batch * input.seq * d_out);
  const Status s = loaded.attention.forward(
      TensorView(input.values.data(), {input.batch, input.seq, d_in}),
      MutableTensorView(y.data(), {input.batch, input.seq, d_out}), asked, *context);
  if (!s.ok()) return s;
  return y;
}

Result<Context> make_context(const LayerArguments& arguments) {
  ContextOptions options;
  options.num_threads = arguments.threads;
  options.target = arguments.target.empty() ? nullptr : arguments.target.c_str();
  Context context(options);
  if (!context.status().ok()) return context.status();
  return context;
}

}  // namespace heed::tools
