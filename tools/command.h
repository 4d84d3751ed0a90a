// What the subcommands of `heed` share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/checkpoint/checkpoint.h"
#include "tools/checkpoint/model_config.h"
#include "tools/storage_options.h"

namespace heed::tools {

enum ExitCode { kDone = 0, kCheckFailed = 1, kRefused = 2 };

// The whole command: parses the arguments (without the program's name) and does what they say.
int run_command(const std::vector<std::string>& arguments);

// Each adds its subcommand and returns what to do when it was chosen.
using Action = std::function<int()>;
Action add_check(CLI::App* app);
Action add_info(CLI::App* app);
Action add_run(CLI::App* app);
Action add_show(CLI::App* app);

// One sentence on standard error; returns kRefused.
int refused(const Status& status);

// Which layer meets which input, and where it runs.
struct LayerArguments {
  std::string weights;
  size_t layer = 0;
  std::string config;  // empty: config.json beside the weights
  std::string input;
  std::string tensor;  // empty: the only tensor of floats
  size_t threads = 0;
  std::string target;  // empty: the best
  StorageOptions storage;

  // A command that needs the input makes --input required.
  void add_to(CLI::App* command);
};

// The input of a layer: whole sequences.
struct Input {
  std::vector<float> values;
  std::vector<size_t> shape;  // [seq, d] or [batch, seq, d]
  size_t batch = 1;
  size_t seq = 0;
};

struct LoadedWeights {
  Checkpoint checkpoint;
  LayerConfig config;
  MultiHeadAttentionWeights weights;  // views into the checkpoint
};

struct LoadedLayer : LoadedWeights {
  MultiHeadAttention attention;
  Input input;  // its width checked
};

// The file that a command will write.
struct OutputFile {
  const char* option;
  std::string path;                    // empty: none
  std::vector<std::string> also_read;  // beside what the layer's arguments name
};

// Both refuse an output that would replace one of the files read, before anything is computed.
Result<LoadedWeights> load_weights(const LayerArguments& arguments, const OutputFile& output);
Result<LoadedLayer> load(const LayerArguments& arguments, const OutputFile& output);

// y [batch, seq, d_out] of the input, through a cache where the arguments name one's types.
// `asked`: what else the call shall do.
Result<std::vector<float>> forward(const LoadedLayer& loaded, const LayerArguments& arguments,
                                   ForwardOptions asked = {});

// Not ok when the threads or the target were refused.
Result<Context> make_context(const LayerArguments& arguments);

}  // namespace heed::tools
